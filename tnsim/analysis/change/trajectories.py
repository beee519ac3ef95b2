"""Trajectory: a run as a path in function space, from its Gram matrix alone."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from tqdm.auto import tqdm

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, as_network, comparable, together
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sampled import Options, check_error, exactly
from tnsim.analysis.asking.sizes import check_range
from tnsim.analysis.asking.tensors import tensor
from tnsim.analysis.compare.similarities import product
from tnsim.analysis.grams.gramdraws import sampled_gram
from tnsim.analysis.grams.grams import Gram, gram
from tnsim.common.notebook import Plotted
from tnsim.common.scaled import Scaled
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.pairings.measure import Measure
from tnsim.sampling.estimate import Estimate

__all__ = ["Nearest", "Trajectory", "nearest", "trajectory"]

Array = Any


@dataclass(frozen=True, eq=False)
class Trajectory(Plotted):
    """A run as a path: what :func:`trajectory` returns. Lengths are those of functions, ‖f‖² = E[f(x)·f(x)].

    Attributes:
        points: shape ``(N, r)``: the models in the principal axes of the run, about their mean, as far apart as the
            functions are. Axes come in the order of their variance; the last model has no negative coordinate.
        explained: shape ``(r,)``: every axis's share of the variance; they add up to 1.
        steps: shape ``(N − 1,)``: distances between neighbours.
        from_start: shape ``(N,)``: distances to the first model.
        labels: one for every model, such as training steps.
        estimate: where it was sampled, all distances between models with their errors, shape ``(N, N)``.

    Example:
        >>> import tnsim
        >>> gram = tnsim.gram([tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(4)], progress=False)
        >>> way = tnsim.trajectory(gram)
        >>> way.steps.shape, round(float(way.explained.sum()), 6)
        (torch.Size([3]), 1.0)
    """

    points: Array
    explained: Array
    steps: Array
    from_start: Array
    labels: tuple[Any, ...]
    estimate: Estimate | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        plane = float(self.explained[:2].sum())
        return (
            f"Trajectory({len(self)} models, {float(self.travelled[-1]):.4g} travelled, "
            f"{float(self.from_start[-1]):.4g} from start to end, {plane:.0%} of the variance in two axes)"
        )

    @property
    def travelled(self) -> Array:
        """The way travelled up to every model, shape ``(N,)``; at the end it is at least ``from_start``."""
        return torch.cat([self.steps.new_zeros(1), self.steps.cumsum(0)])

    @property
    def speed(self) -> Array:
        """Distance travelled per unit of the labels, from each model to the next, shape ``(N − 1,)``.

        Raises:
            ValueError: if the labels are no increasing numbers.
        """
        if not all(isinstance(x, int | float) for x in self.labels):
            raise ValueError("speed needs numbers as labels, such as gram(models, labels=run.steps).")
        time = torch.tensor([float(x) for x in self.labels], dtype=self.steps.dtype, device=self.steps.device)
        if not bool((time.diff() > 0).all()):
            raise ValueError(f"speed needs labels that increase; got {list(self.labels)}.")
        return self.steps / time.diff()


@question
def trajectory(
    run: Gram | Array | Sequence[Model], output: int | None = None, error: float | None = None, seed: int = 0
) -> Trajectory:
    """A run as a path in function space: principal components, distances, speed. Exact, from inner products.

    Functions f_1 … f_N with mean f̄ have inner products G_ij = ⟨f_i, f_j⟩; those of f_i − f̄ are the doubly centred
    matrix JGJ with J = 1 − 11ᵀ/N. With its eigenvectors u_a and eigenvalues λ_a, model i has the coordinate √λ_a u_ai
    on principal axis a. This is the principal component analysis of all values on all inputs, weighted by the law.

    Args:
        run: :func:`tnsim.gram` of the checkpoints, in order; or these themselves, such as :func:`tnsim.checkpoints`,
            whose Gram matrix is then computed exactly under the standard normal law.
        output: one output; all by default.
        error: of models: a standard error of their similarities that will do; see :func:`tnsim.gram`. A Gram matrix that
            was sampled has its own.
        seed: of the draws.

    Returns:
        A :class:`Trajectory` with as many axes as carry more than rounding.

    Raises:
        ScaleError: if a distance does not fit into the dtype.
        ValueError: if there are fewer than two models.

    References:
        Schölkopf, Smola and Müller, Nonlinear component analysis as a kernel eigenvalue problem (1998).

    Example:
        >>> import torch, tnsim
        >>> a, b = torch.eye(2, dtype=torch.float64)
        >>> models = [tnsim.poly("W[out,in0]", W=(s * a + s**2 * b)[None]) for s in (0.0, 1.0, 2.0)]
        >>> path = trajectory(tnsim.gram(models))
        >>> [round(x, 3) for x in path.steps.tolist()]  # |(1, 1)| and |(1, 3)|
        [1.414, 3.162]
    """
    if len(run) < 2:
        raise ValueError("a trajectory needs at least two models.")
    if isinstance(run, Gram) and error is not None:
        raise ValueError(
            "error= is for models; this Gram matrix is made. Write it there: gram(models, error=...)."
        )
    run = _compared(run, output, error, seed)
    centred = run.centred(output)
    m = tensor(centred.mantissa).detach()
    values, vectors = torch.linalg.eigh((m + m.T) / 2)
    values, vectors = values.flip(0), vectors.flip(1)
    largest = tensor(run.squares(output).at(centred.exponent)).max()
    kept = max(1, int((values > len(run) * torch.finfo(m.dtype).eps * largest).sum()))
    values, vectors = values[:kept].clamp_min(0), vectors[:, :kept]
    vectors = torch.where(vectors[-1] < 0, -vectors, vectors)
    distance = tensor(run.distance(output)).detach()
    total = values.sum()
    explained = values / total if total > 0 else values
    points = Scaled(vectors * values**0.5, centred.exponent / 2).value("a coordinate of the path")
    estimate = run.estimated_distance(output) if run.drawn is not None else None
    return Trajectory(points, explained, distance.diagonal(1), distance[0], run.labels, estimate)


def _compared(
    run: Gram | Array | Sequence[Model], output: int | None, error: float | None, seed: int
) -> Gram:
    if isinstance(run, Gram):
        return run
    if not hasattr(run, "shape"):
        return gram(run, slices=output is not None, error=error, seed=seed)
    if output is not None or error is not None:
        raise ValueError("a matrix knows no outputs and no models; pass these, or the Gram that it is from.")
    matrix = tensor(run)
    return Gram(matrix[None], tuple(range(len(matrix))), Gaussian(), "exact")


@dataclass(frozen=True, eq=False)
class Nearest:
    """The checkpoint of a run that is closest to a model: the result of :func:`nearest`.

    Attributes:
        index: its position in the run.
        distances: shape ``(N,)``: ‖f − f_i‖ for every checkpoint.
        similarities: shape ``(N,)``: their cosines, which may be highest elsewhere.

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(3)]
        >>> found = tnsim.nearest(run[1], run, progress=False)
        >>> found.index, found.distances.shape
        (1, torch.Size([3]))
    """

    index: int
    distances: Array
    similarities: Array

    def __repr__(self) -> str:
        i = self.index
        return (
            f"Nearest(checkpoint {i} of {len(self.distances)}, distance {float(self.distances[i]):.4g}, "
            f"similarity {float(self.similarities[i]):.4f})"
        )


@question
def nearest(
    model: Model,
    run: Sequence[Model],
    *,
    under: Measure | None = None,
    method: Method = "exact",
    output: Any = None,
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Nearest:
    """Which checkpoint of a run a model is closest to as a function; 2N + 1 inner products.

    Args:
        model: a torch module or a Network.
        run: checkpoints with the same inputs and outputs, such as :func:`tnsim.checkpoints`, one in memory at a time.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        output: one output, or a slice of them; all by default.
        budget: flops that may be spent on each inner product.
        memory: bytes that intermediate tensors may take.
        error: a standard error of the similarities that will do. Then distances and similarities are each an
            :class:`Estimate`: exact where the price is within the budget, else from draws.
        seed: of the draws.
        progress: show a bar if it takes more than two seconds.

    Raises:
        CostError: if it would take more than the budget.
        ScaleError: if a distance does not fit into the dtype.
        ValueError: if the run is empty, or models do not fit together.

    Example:
        >>> import tnsim
        >>> run = [tnsim.nn.BilinearLayer(4, 8, 3) for _ in range(5)]
        >>> nearest(run[3], run).index
        3
    """
    if isinstance(run, Gram) or hasattr(run, "shape"):
        raise TypeError("run holds no models; pass the checkpoints themselves.")
    if not len(run):
        raise ValueError("the run is empty; pass its checkpoints.")
    net = as_network(model)
    if error is not None:
        given = dict(under=under, output=output, budget=budget, memory=memory)
        return _with_errors([net, *run], given, method, error, seed, progress)

    def scaled(a: Network, b: Network) -> Scaled:
        found = product((a, b), under, method, output, budget, memory)
        return replace(found, mantissa=tensor(found.mantissa))

    distances, cosines = [], []
    with torch.no_grad():
        own = scaled(net, net)
        check_range(own.mantissa, "the model", "its similarity", net)
        for k, each in enumerate(tqdm(run, "checkpoints", delay=2, disable=not progress, leave=False)):
            other = comparable(net, each)[1]
            norm, cross = scaled(other, other), scaled(net, other)
            check_range(norm.mantissa, f"checkpoint {k}", "its similarity", other)
            distances.append(Scaled.total([(1.0, own), (1.0, norm), (-2.0, cross)]).root())
            sizes = norm.root(), own.root()
            m = cross.mantissa / sizes[0].mantissa / sizes[1].mantissa
            cosines.append(Scaled(m, cross.exponent - sizes[0].exponent - sizes[1].exponent).at(0.0))
    largest = max(x.exponent for x in distances)
    index = int(torch.stack([x.at(largest) for x in distances]).argmin())
    return Nearest(index, torch.stack([x.value("a distance") for x in distances]), torch.stack(cosines))


def _with_errors(
    models: Sequence[Model], given: dict[str, Any], method: Method, error: float, seed: int, progress: bool
) -> Nearest:
    """The same with errors, the first model against all others; a Gram matrix from draws."""
    check_error(error, method)
    first, *others = models
    found = exactly(lambda: nearest(first, others, progress=progress, **given), given["under"])
    if found is not None:
        return replace(
            found, distances=Estimate.exact(found.distances), similarities=Estimate.exact(found.similarities)
        )
    nets = together(models, [f"model {i}" for i in range(len(models))])
    options = Options(error=error, seed=seed, progress=progress, **given)
    matrix = sampled_gram(nets, tuple(range(len(nets))), False, options, None)
    distances = matrix.estimated_distance()
    return Nearest(int(distances.value[0, 1:].argmin()), distances[0, 1:], matrix.estimate()[0, 1:])
