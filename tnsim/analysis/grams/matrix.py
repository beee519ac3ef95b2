"""Gram: inner products of models with each other, and what follows from them."""

from dataclasses import dataclass, replace
from typing import Any

import autoray as ar

from tnsim.analysis.asking.problem import Method
from tnsim.analysis.asking.sizes import check_range
from tnsim.analysis.asking.statistics import cosines
from tnsim.analysis.grams.keeping import Kept
from tnsim.common.absent import OutputError
from tnsim.common.digits import counted
from tnsim.common.notebook import Plotted
from tnsim.common.scaled import Scaled
from tnsim.measure.pairings.measure import Measure
from tnsim.sampling.estimate import Estimate, How
from tnsim.sampling.run import Means, SampledRun

__all__ = ["Gram"]

Array = Any


@dataclass(frozen=True, eq=False)
class Gram(Plotted, Kept):
    """Inner products of N models with each other.

    Attributes:
        mantissas: shape ``(n_out, N, N)``: inner products for every output apart, in units of their models. Shape
            ``(1, N, N)`` for the whole, where outputs were not asked for.
        labels: one for every model.
        under: the law of the input.
        method: ``"exact"``, ``"layerwise"``, or ``"sampled"``.
        apart: whether outputs are apart.
        units: shape ``(N,)``: ⟨f_i, f_j⟩ is a mantissa times 2^(u_i + u_j). Similarities are those of mantissas, so
            models may be larger or smaller than their dtype can say. 0 for inner products as they are.
        drawn: where it was sampled, sums over draws, replicate by replicate, and what was seen of norms.
        notes: what is not exact in the models themselves, by name.

    Example:
        >>> import tnsim
        >>> gram = tnsim.gram([tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(5)], progress=False)
        >>> gram
        Gram(5 models, 3 outputs, Gaussian(), exact)
        >>> gram.similarity().shape, gram.slices().shape
        (torch.Size([5, 5]), torch.Size([3, 5, 5]))
    """

    mantissas: Array
    labels: tuple[Any, ...]
    under: Measure
    method: Method | How
    apart: bool = True
    units: Array = 0.0
    notes: tuple[str, ...] = ()
    drawn: SampledRun | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        outputs = counted(ar.shape(self.mantissas)[0], "output") if self.apart else "outputs together"
        said = f"Gram({counted(len(self), 'model')}, {outputs}, {self.under!r}, {self.method})"
        return "\n".join([said, *(f"  approximation: {note}" for note in self.notes)])

    @property
    def products(self) -> Array:
        """Inner products ⟨f_i, f_j⟩, shape ``(n_out, N, N)``; they add up to :attr:`matrix`.

        Raises:
            ScaleError: if one does not fit into the dtype.
        """
        return ar.do("stack", [self._scaled(m).value("an inner product") for m in self.mantissas], axis=0)

    @property
    def matrix(self) -> Array:
        """The Gram matrix itself, shape ``(N, N)``: inner products summed over outputs.

        Raises:
            ScaleError: if an entry does not fit into the dtype.
        """
        return self._scaled(self._of(None)).value("an inner product")

    def similarity(self, output: int | None = None) -> Array:
        """Cosines, shape ``(N, N)``; of one output if given. A zero model gives nan.

        Raises:
            ScaleError: if a norm overflowed or underflowed on the way.
        """
        return _cosine(self._of(output))

    def estimate(self, output: int | None = None) -> Estimate:
        """Cosines with the standard error of every entry; as :meth:`similarity`.

        Raises:
            ValueError: layer by layer, where errors are not known, and where they were not kept with the matrix.
        """
        if self.method == "exact":
            return Estimate.exact(self.similarity(output))
        if self.drawn is None:
            raise ValueError(f"the errors of this matrix ({self.method}) are not known.")
        whole = output is None
        return self.drawn.estimate(lambda means: cosines(means[0].sum(0) if whole else means[0][output]))

    def estimated_distance(self, output: int | None = None) -> Estimate:
        """As :meth:`distance`, with the standard error of every entry.

        Raises:
            ValueError: where :meth:`estimate` does.
        """
        distance = self.distance(output)
        if self.method == "exact":
            return Estimate.exact(distance)
        if self.drawn is None:
            raise ValueError(f"the errors of this matrix ({self.method}) are not known.")

        def of(means: Means) -> Array:
            return replace(self, mantissas=means[0], drawn=None).distance(output)

        return self.drawn.estimate(of)

    def slices(self) -> Array:
        """Cosines of every output apart, shape ``(n_out, N, N)``."""
        self._check_apart()
        return _cosine(self.mantissas)

    def distance(self, output: int | None = None) -> Array:
        """‖f_i − f_j‖ in function space, shape ``(N, N)``; of one output if given.

        A squared distance is a difference of inner products. So distances below √ε of the norms (1.5e-8 in float64,
        3.5e-4 in float32) are rounding, and may be zero; at zero their gradient is zero. The norm of
        ``difference(a, b)`` has the same floor.

        Raises:
            ScaleError: if one does not fit into the dtype.
        """
        return self.scaled_distance(output).value("a distance")

    def scaled_distance(self, output: int | None = None) -> Scaled:
        """As :meth:`distance`, as mantissa and power of two, which fit in any case."""
        g = self._of(output)
        d = ar.do("diagonal", g)
        twice = 2 * self.units + g * 0
        mine = Scaled(d[:, None] + g * 0, ar.do("transpose", twice, (1, 0)))
        other = Scaled(d[None, :] + g * 0, twice)
        return Scaled.total([(1.0, mine), (1.0, other), (-2.0, self._scaled(g))]).root()

    def centred(self, output: int | None = None) -> Scaled:
        """⟨f_i − f̄, f_j − f̄⟩ with the mean f̄ of all models, in the units of the largest, shape ``(N, N)``."""
        g = self._of(output)
        units = self.units + ar.do("diagonal", g) * 0
        top = ar.do("max", units)
        m = self._scaled(g).at(2 * top)
        m = m - ar.do("mean", m, axis=0) - ar.do("mean", m, axis=1)[:, None] + ar.do("mean", m)
        return Scaled(m, 2 * top)

    def squares(self, output: int | None = None) -> Scaled:
        """⟨f_i, f_i⟩ as mantissa and power of two, shape ``(N,)``."""
        d = ar.do("diagonal", self._of(output))
        return Scaled(d, 2 * self.units + d * 0)

    def _scaled(self, g: Array) -> Scaled:
        units = self.units + ar.do("diagonal", g) * 0
        return Scaled(g, units[:, None] + units[None, :])

    def _of(self, output: int | None) -> Array:
        """Mantissas of one output, or of all together."""
        if output is None:
            return ar.do("sum", self.mantissas, axis=0)
        self._check_apart()
        if not -len(self.mantissas) <= output < len(self.mantissas):
            raise OutputError(f"output {output} of {len(self.mantissas)}.")
        return self.mantissas[output]

    def _check_apart(self) -> None:
        if not self.apart:
            raise ValueError("outputs were summed up on the way; ask for them with gram(..., slices=True).")


def _cosine(g: Array) -> Array:
    """Norms are divided one after the other: their product may overflow where they do not."""
    squares = ar.do("diagonal", g, axis1=-2, axis2=-1)
    check_range(squares, "a model", "its cosines")
    norm = squares**0.5
    return g / norm[..., :, None] / norm[..., None, :]
