"""Network: named polynomials in order, which is what a model *is*."""

import difflib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, overload

import autoray as ar
import networkx as nx
import quimb.tensor as qtn

from tnsim.algebra.networks.graph import to_graph
from tnsim.algebra.networks.onehot_ids import check_ids, is_ids, one_hot
from tnsim.algebra.polys.poly import Axes, ComposeError, Poly
from tnsim.algebra.polys.rewriting import lift, unwired
from tnsim.algebra.polys.unstacking import unstacked
from tnsim.algebra.terms.term import canonical, retensor
from tnsim.common.digits import rounded
from tnsim.common.methods import Modular, Ranked
from tnsim.common.notebook import Drawn
from tnsim.common.values import once
from tnsim.common.wires import WireError, nest, output_leg
from tnsim.engine.constants import moved
from tnsim.engine.costs import CostError

__all__ = ["Network"]

Array = Any

_MOST_TERMS = 4096
_MOST_TENSORS = 2**16  # of one term


@dataclass(frozen=True, eq=False)
class Network(Drawn, Modular, Ranked):
    """A model: named layers, each a :class:`Poly`, applied in order.

    ``net["blocks.0"]`` is one layer (or a Network of those inside the module of that name), ``net[:2]`` the first two
    as a Network, ``net(x)`` the model's output.
    A network may be *stacked*: every weight then carries one more index, ``model:m``, for a whole training run.

    Attributes:
        layers: ``(name, layer)`` pairs.
        in_shape: the shape of one input, such as ``(1, 28, 28)``; it has as many entries as the domain.
        notes: what is not exact in it, by name.
        ids: for every position of a model of tokens the ids that its tables have rows for; empty where that is all.

    Example:
        >>> import torch, tnsim
        >>> net = tnsim.convert(tnsim.nn.BilinearMLP(6, 4, 8, 3, n_layer=2))
        >>> net
        Network(degree 4, float64)
          embed     (6,) → (4,)  degree 1, 1 term
          blocks.0  (4,) → (4,)  degree 2, 1 term
          blocks.1  (4,) → (4,)  degree 2, 1 term
          head      (4,) → (3,)  degree 1, 1 term
        >>> net[:2](torch.randn(5, 6)).shape
        torch.Size([5, 4])
    """

    layers: tuple[tuple[str, Poly], ...]
    in_shape: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    ids: tuple[range, ...] = ()

    def __post_init__(self) -> None:
        if not self.layers:
            raise ComposeError("a network needs at least one layer.")
        if len(set(self.names)) != len(self.names):
            raise ComposeError(f"layer names must differ; got {list(self.names)}.")
        for (a, f), (b, g) in zip(self.layers, self.layers[1:], strict=False):
            if f.codomain != g.domain:
                raise ComposeError(f"cannot feed {b} (in: {g.in_shape}) with {a} (out: {f.out_shape}).")
        if not self.in_shape:
            object.__setattr__(self, "in_shape", self.layers[0][1].in_shape)
        kinds = {ar.get_dtype_name(x) for _, f in self.layers for x in f.arrays()}
        if len(kinds) > 1:
            raise WireError(f"all weights need one dtype; got {sorted(kinds)}. Convert with .to(dtype=...).")

    # ------------------------------------------------------------------ shape and parts

    @property
    def names(self) -> tuple[str, ...]:
        """Layer names in order."""
        return tuple(name for name, _ in self.layers)

    @property
    def polys(self) -> tuple[Poly, ...]:
        """Layers in order."""
        return tuple(f for _, f in self.layers)

    @property
    def domain(self) -> Axes:
        """Axes of the input."""
        return self.polys[0].domain

    @property
    def codomain(self) -> Axes:
        """Axes of the output."""
        return self.polys[-1].codomain

    @property
    def degree(self) -> int:
        """Degree of the whole polynomial."""
        return math.prod(f.degree for f in self.polys)

    @property
    def models(self) -> int | None:
        """How many models are stacked, or ``None`` for a single one."""
        return next((f.models for f in self.polys if f.models), None)

    @property
    def dtype(self) -> str:
        """Name of the dtype of all weights."""
        return str(ar.get_dtype_name(self.polys[0].like))

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[tuple[str, Poly]]:
        return iter(self.layers)

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: int) -> Poly: ...
    @overload
    def __getitem__(self, key: slice) -> "Network": ...
    def __getitem__(self, key: str | int | slice) -> "Poly | Network":
        """A layer by name or position, or a Network of some of the layers.

        The name of a module that is several layers (``"blocks.0"`` for ``blocks.0.attn`` and ``blocks.0.mlp``) gives
        these as a Network.
        """
        if isinstance(key, slice):
            chosen = self.layers[key]
            if not chosen or key.step not in (None, 1):
                raise ComposeError(
                    f"net[{key.start}:{key.stop}] holds no run of layers; there are {len(self)}."
                )
            first = chosen[0] is self.layers[0]
            return Network(chosen, self.in_shape if first else (), self.notes, self.ids if first else ())
        if isinstance(key, int):
            return self.layers[key][1]
        try:
            return dict(self.layers)[key]
        except KeyError:
            inside = [k for k, name in enumerate(self.names) if name.startswith(f"{key}.")]
            if inside and inside == list(range(inside[0], inside[-1] + 1)):
                return self[inside[0] : inside[-1] + 1]
            close = difflib.get_close_matches(key, self.names, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise KeyError(f"no layer {key!r}; there are {list(self.names)}.{hint}") from None

    def __repr__(self) -> str:
        run = f", {self.models} models" if self.models else ""
        rows = [
            f"  {name:<{max(map(len, self.names))}}  {f.in_shape} → {f.out_shape}  degree {f.degree}, "
            f"{len(f.terms)} term{'s' * (len(f.terms) > 1)}"
            for name, f in self.layers
        ]
        rows += [f"  approximation: {note}" for note in self.notes]
        return "\n".join([f"Network(degree {self.degree}, {self.dtype}{run})", *rows])

    # ------------------------------------------------------------------ values

    def __call__(self, x: Array) -> Array:
        """Evaluate on a batch.

        Args:
            x: shape ``(*batch, *in_shape)``; an image may also come flat, or a flat input as an image batch. A network
                of sequences also reads token ids: integers of shape ``(*batch, n_ctx)``, which stand for the one-hot
                vectors of length d.

        Returns:
            Shape ``(*batch, *out_shape)``; a stacked network puts ``(n_models,)`` in front.

        Raises:
            WireError: if the shape does not fit, or ``x`` is not an array like the weights.
        """
        x = self._checked(x)
        batch, flat = self._batched(x)
        run = False
        for f in self.polys:
            flat = f.evaluate(flat, run)
            run = run or f.models is not None
        front = (self.models,) if self.models else ()
        return ar.do("reshape", flat, (*front, *batch, *self.polys[-1].out_shape))

    def _checked(self, x: Array) -> Array:
        like = self.polys[0].like
        if ar.infer_backend(x) != ar.infer_backend(like):
            raise WireError(
                f"x is a {type(x).__name__}, the weights are {type(like).__name__}s; convert x first "
                "(for instance torch.as_tensor(x))."
            )
        if len(self.domain) > 1 and is_ids(x):
            n_ctx, size = self.polys[0].in_shape
            check_ids(x, self.ids)
            return one_hot(x, n_ctx, size, like)
        return x if ar.get_dtype_name(x) == self.dtype else ar.astype(x, self.dtype)

    def _batched(self, x: Array) -> tuple[tuple[int, ...], Array]:
        shape, need = tuple(ar.shape(x)), self.polys[0].in_shape
        for ends in (self.in_shape, need):
            if len(shape) >= len(ends) and shape[len(shape) - len(ends) :] == ends:
                return shape[: len(shape) - len(ends)], ar.do("reshape", x, (-1, *need))
        if len(shape) > 1 and math.prod(shape[1:]) == math.prod(need):
            return shape[:1], ar.do("reshape", x, (-1, *need))
        raise WireError(
            f"x has shape {shape}; this network reads {('n', *self.in_shape)}.".replace("'n'", "n")
        )

    # ------------------------------------------------------------------ other forms

    def collapse(self) -> Poly:
        """The whole model as one polynomial in the input.

        The number of terms grows doubly exponentially with depth when layers have several: 3, 9+, 100+, ….

        Raises:
            CostError: if there would be more than 4096 terms, or more than 65,536 tensors in them.
        """
        named = [_named(name, f) for name, f in self.layers]
        whole = named[0]
        for f in named[1:]:
            terms = rounded(sum(len(whole.terms) ** t.degree for t in f.terms))
            tensors = max(t.degree for t in f.terms) * max(len(t.tensors) for t in whole.terms)
            if terms > _MOST_TERMS or tensors > _MOST_TENSORS:
                many, most = (
                    (f"{terms:.4g} terms", _MOST_TERMS)
                    if terms > _MOST_TERMS
                    else (f"a term of {tensors} tensors", _MOST_TENSORS)
                )
                raise CostError(
                    f"the whole network has {many}; the limit is {most}. "
                    'Use method="layerwise" (approximate), or fewer layers, net[:k].'
                )
            whole = f @ whole
        return whole

    def to_quimb(self) -> qtn.TensorNetwork:
        """One explicit quimb ``TensorNetwork`` of the whole model.

        Inputs are ``in0:d in1:d …`` (one for every degree), the output is ``out:d``. Every layer appears as
        often as the layer above reads it: a network of degree n has n input legs.

        When every layer is a single term, the legs take x. Otherwise the network is written in homogeneous
        coordinates: every input index has one entry more, for x̂ = (1, x).

        Example:
            >>> import numpy as np
            >>> from tnsim.algebra.polys.writing import poly
            >>> net = Network((("w", poly("W[out,in0]", W=np.eye(2)) + np.ones(2)),))
            >>> net.to_quimb().ind_size("in0:d")
            3
        """
        single = all(len(f.terms) == 1 for f in self.polys)
        layers = (
            self.polys
            if single
            else tuple(lift(f, constant_row=i < len(self) - 1) for i, f in enumerate(self.polys))
        )
        named = [_named(name, f) for name, f in zip(self.names, layers, strict=True)]
        (term,) = reduce(lambda inner, f: f @ inner, named).terms
        if len(self.domain) == 1:  # a leg that is a wire, as in x * x, gets an index of its own
            term = unwired(term)
            ends = output_leg([s for s, _ in self.codomain])
            term = canonical(
                term.renamed(dict(zip(term.out, ends, strict=True))), [s for s, _ in self.domain]
            )
        tensors = [retensor(t) for t in term.tensors]
        if term.coefficient != 1.0:
            tensors[0].modify(data=tensors[0].data * term.coefficient)
        return qtn.TensorNetwork(tensors, check_collisions=False, virtual=True)

    def graph(self) -> nx.Graph:
        """A networkx graph of :meth:`to_quimb`; see :func:`tnsim.algebra.networks.graph.to_graph`."""
        return to_graph(self.to_quimb(), self.names)

    def to(self, device: Any = None, dtype: Any = None) -> "Network":
        """The same network on another device or in another dtype.

        Args:
            device: for instance ``"cuda"``.
            dtype: a dtype or its name, for instance ``torch.float32`` or ``"float32"``.

        Raises:
            WireError: if the device knows no such numbers, as Apple's knows no float64.
        """
        name = None if dtype is None else str(dtype).rsplit(".", 1)[-1]
        move = once(lambda x: moved(x, device, name))
        try:
            layers = tuple((n, f.mapped(move)) for n, f in self.layers)
        except TypeError as error:
            known = self.dtype if name is None else name
            if device is None or "float64" not in known:
                raise
            raise WireError(
                f'{device} knows no {known}; write net.to("{device}", dtype="float32"). ({error})'
            ) from error
        return replace(self, layers=layers)

    def signature(self) -> tuple[Any, ...]:
        """What two networks must share to be stacked."""
        return tuple((name, f.signature()) for name, f in self.layers)

    def pick(self, i: int) -> "Network":
        """Model ``i`` of a stacked network."""
        if self.models is None:
            raise WireError("this network is a single model; there is nothing to pick from.")
        kept: dict[int, Array] = {}
        return replace(self, layers=tuple((n, unstacked(f, i, kept)) for n, f in self.layers))


def _named(name: str, f: Poly) -> Poly:
    """Inner indices under the layer's name, and its tag on every tensor."""
    terms = []
    for t in f.terms:
        outer = {ix for leg in (t.out, *t.legs) for ix in leg}
        terms.append(t.renamed({ix: nest(ix, name) for ix in t.sizes if ix not in outer}))
    return replace(f, terms=tuple(terms)).tagged(name)
