"""The tangent kernel of a model (eNTK), expected under a law: from weights, by automatic differentiation."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import torch
from tqdm.auto import tqdm

from tnsim.algebra.networks.dual import pushforward
from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, as_network, together
from tnsim.analysis.asking.questions import question
from tnsim.analysis.compare.similarities import product, product_cost
from tnsim.analysis.explain.modes import applications, leading
from tnsim.common.scaled import Scaled, ScaleError
from tnsim.common.wires import WIRE
from tnsim.convert.module.errors import unknown_dtype
from tnsim.engine.costs import FLOPS_PER_START, Cost, check_budget
from tnsim.measure.pairings.measure import Measure

__all__ = ["Tangent", "entk", "kernel_alignment"]

Array = Any


@dataclass(frozen=True, eq=False)
class Tangent:
    """Leading eigenvectors of the expected tangent operator G = E[JᵀJ], J = ∂f/∂θ, of one model.

    A unit direction v of all parameters has an eigenfunction J v: how the model changes when it moves along v.

    Attributes:
        values: shape ``(k,)``, from large to small: the squared norm of the eigenfunctions.
        directions: shape ``(k, p)``, orthonormal, in the space of all parameters.
        shapes: name and shape of every parameter, in the order in which they are flattened.

    Example:
        >>> import tnsim
        >>> found = tnsim.entk(tnsim.nn.BilinearLayer(4, 6, 3), top=2)
        >>> found.directions.shape
        torch.Size([2, 66])
    """

    values: Array
    directions: Array
    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    _push: Callable[[torch.Tensor], Network]

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Tangent({len(self)} of {self.directions.shape[1]} directions, largest {float(self.values[0]):.3g})"

    @property
    def effective_rank(self) -> Array:
        """exp of the entropy of the eigenvalues' shares, of those computed."""
        p = self.values.clamp(min=0) / self.values.clamp(min=0).sum()
        return torch.exp(-torch.special.xlogy(p, p).sum())

    def direction(self, i: int) -> dict[str, Array]:
        """Eigenvector ``i``, one array for every parameter."""
        return _unflattened(self.directions[i], self.shapes)

    def function(self, i: int) -> Network:
        """Eigenfunction ``i``, x ↦ J(x) v, as a network: whatever can be asked of a model can be asked of it."""
        return self._push(self.directions[i])


@question
def entk(
    model: Model,
    *,
    top: int | None = None,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
) -> Tangent:
    """Eigenvectors of the expected empirical neural tangent operator, E_x[J_θ(x)ᵀ J_θ(x)] with J_θ = ∂f/∂θ.

    ⟨f_θ, f_θ′⟩ is a differentiable function of both sets of weights, and its mixed second derivative at θ′ = θ is this
    operator: half the Hessian of the squared distance ‖f_θ′ − f_θ‖². So the tangent kernel is the linearisation of
    tensor distance at one model. The eigenvalues are those of the kernel J_θ(x) J_θ(x′)ᵀ as an operator on functions;
    G acts on parameters, the kernel on outputs.

    G is never stored while ``top`` is small and there are more than 1024 parameters: each product with a vector is one
    backward pass through the gradient of the inner product (Lanczos). Otherwise there is one for every parameter.

    Args:
        model: a torch module (θ are its parameters) or a Network or Poly (θ are its arrays).
        top: how many eigenvectors are wanted; all by default.
        under: the law of the input; the standard normal by default.
        method: ``"exact"``, or ``"layerwise"``: the Hessian of the layer-by-layer approximation.
        budget: flops that may be spent; the start of an operation counts as a million.
        memory: bytes that intermediate tensors may take.

    Returns:
        Eigenvalues, eigenvectors and eigenfunctions.

    Raises:
        CostError: if the passes would take more than the budget.
        ValueError: for a stacked network, or a model without parameters.

    References:
        Jacot et al., Neural Tangent Kernel, arXiv 1806.07572.

    Example:
        >>> import torch, tnsim
        >>> modes = tnsim.entk(tnsim.nn.BilinearLayer(4, 3, 2), top=3)
        >>> torch.allclose(tnsim.inner(modes.function(0)), modes.values[0])
        True
    """
    one, other = _Weights(model), _Weights(model)
    passes = applications(one.size, top)
    operator = _Mixed(one, other, under, method, budget, memory, passes)
    values, vectors = leading(operator, one.size, one.like, top)
    values = Scaled(values, operator.exponent).value("an eigenvalue of the tangent kernel")
    return Tangent(values, vectors.T, one.shapes, one.push)


@question
def kernel_alignment(
    a: Model,
    b: Model,
    *,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
) -> torch.Tensor:
    """Alignment of two models' tangent kernels, ⟨K_a, K_b⟩ / (‖K_a‖ ‖K_b‖), from weights.

    K(x, x′) = J(x) J(x′)ᵀ, and ⟨K_a, K_b⟩ = E_{x,x′} tr K_a(x,x′) K_b(x,x′)ᵀ = ‖E_x[J_aᵀ J_b]‖². It is 1 if both models
    would be changed alike by any small training step, whatever they compute now. The models may have different
    parameters.

    Costs one backward pass through the gradient of an inner product for every parameter, three times over: meant for
    some thousand parameters.

    Args:
        a: a torch module or a Network.
        b: another with the same inputs and outputs.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"``.
        budget: flops that may be spent on one of three products; the start of an operation counts as a million.
        memory: bytes that intermediate tensors may take.

    Returns:
        A number in [0, 1].

    Raises:
        CostError: if the passes would take more than the budget.
        ScaleError: if derivatives do not fit into the dtype.
        ValueError: if no parameter of a model changes it, so that its kernel is zero.

    References:
        Cristianini et al., On Kernel-Target Alignment (2001); Jacot et al., arXiv 1806.07572.

    Example:
        >>> import tnsim
        >>> a = tnsim.nn.BilinearLayer(4, 3, 2)
        >>> round(kernel_alignment(a, a).item(), 6)
        1.0
    """
    together((a, b))

    def norm(x: Model, y: Model) -> Scaled:
        """‖E[J_xᵀ J_y]‖, without squares that are out of range."""
        mixed = _Mixed(_Weights(x), _Weights(y), under, method, budget, memory)
        matrix = mixed.matrix()
        largest = matrix.abs().max()
        if not torch.isfinite(largest):
            raise ScaleError(f"derivatives by parameters overflow {matrix.dtype}; rescale the models.")
        return Scaled(largest * (matrix / largest).norm() if largest > 0 else largest, mixed.exponent)

    both, *own = norm(a, b), norm(a, a), norm(b, b)
    for name, size in zip("ab", own, strict=True):
        if not size.mantissa > 0:
            raise ValueError(f"no parameter changes model {name} under this law: its tangent kernel is zero.")
    roots = [size.root() for size in own]
    cosine = both.mantissa / roots[0].mantissa / roots[1].mantissa
    return Scaled(cosine, both.exponent - roots[0].exponent - roots[1].exponent).at(0.0) ** 2


_PASS = 2  # products that take as long as a pass backward through the gradient of one
_ADVICE = "Raise budget=, ask for a few eigenvectors, top=, or for a smaller model."


class _Weights:
    """A copy of a model whose parameters are leaves of their own."""

    def __init__(self, model: Model) -> None:
        named: list[tuple[str, torch.Tensor]]
        if isinstance(model, torch.nn.Module):
            module = copy.deepcopy(model)
            try:
                module = module.double()
            except (TypeError, RuntimeError):
                raise unknown_dtype(torch.float64, next(module.parameters()).device) from None
            named = [(n, p.requires_grad_(True)) for n, p in module.named_parameters()]
            self.net = as_network(module)
        else:
            net = as_network(model)
            if net.models:
                raise ValueError(
                    "a tangent kernel is that of one model; pick it from the run with net.pick(i)."
                )
            leaves: dict[int, torch.Tensor] = {}
            named = []
            for layer, f in net:
                for t in f.terms:
                    for x in t.tensors:
                        if WIRE not in x.tags and id(x.data) not in leaves:
                            leaves[id(x.data)] = x.data.detach().clone().requires_grad_(True)
                            named.append(
                                (f"{layer}.{next(iter(x.tags), 'T')}{len(named)}", leaves[id(x.data)])
                            )
            self.net = Network(
                tuple((n, f.mapped(lambda x: leaves.get(id(x), x))) for n, f in net), net.in_shape
            )
        if not named:
            raise ValueError("this model has no parameters, so it has no tangent kernel.")
        self.leaves = [p for _, p in named]
        self.shapes = tuple((n, tuple(p.shape)) for n, p in named)
        self.size = sum(p.numel() for p in self.leaves)
        self.like = self.leaves[0].detach()

    def push(self, vector: torch.Tensor) -> Network:
        """The derivative of the network along a direction of its parameters."""
        parts = list(_unflattened(vector, self.shapes).values())

        def change(x: torch.Tensor) -> torch.Tensor | None:
            if not x.requires_grad:
                return None
            u = torch.zeros_like(x, requires_grad=True)
            with torch.enable_grad():
                pulled = torch.autograd.grad(
                    x, self.leaves, u, create_graph=True, retain_graph=True, allow_unused=True
                )
                dots = [(g * v).sum() for g, v in zip(pulled, parts, strict=True) if g is not None]
                return torch.autograd.grad(sum(dots), u)[0].detach()  # type: ignore[arg-type]

        moved = pushforward(self.net, change)
        return Network(tuple((n, f.mapped(lambda x: x.detach())) for n, f in moved), moved.in_shape)


class _Mixed:
    """E[J_bᵀ J_a], the mixed second derivative of ⟨f_a, f_b⟩, applied to columns; times 2^exponent."""

    def __init__(
        self,
        a: _Weights,
        b: _Weights,
        under: Measure | None,
        method: Method,
        budget: float,
        memory: float,
        passes: int | None = None,
    ) -> None:
        self.a, self.b = a, b
        with torch.enable_grad():
            once = product_cost((a.net, b.net), under, method, budget, memory)
            check_budget(_repeated(once, passes or a.size), budget, inf, _what(a.size), _ADVICE)
            value = product((a.net, b.net), under, method, None, budget, memory)
            mantissa = value.mantissa
            if not mantissa.requires_grad:  # no parameter reaches the outputs
                mantissa = mantissa + 0 * a.leaves[0].sum()
            slopes = torch.autograd.grad(mantissa, a.leaves, create_graph=True, allow_unused=True)
        self.exponent = value.exponent
        self.slope = torch.cat(
            [
                (torch.zeros_like(p) if g is None else g).reshape(-1)
                for g, p in zip(slopes, a.leaves, strict=True)
            ]
        )

    def __call__(self, columns: torch.Tensor) -> torch.Tensor:
        every = tqdm(columns.reshape(self.a.size, -1).T, "derivatives", delay=2, leave=False)
        return torch.stack([self._one(v) for v in every], dim=1)

    def _one(self, v: torch.Tensor) -> torch.Tensor:
        if not self.slope.requires_grad:
            return torch.zeros(self.b.size, dtype=v.dtype, device=v.device)
        found = torch.autograd.grad(self.slope, self.b.leaves, v, retain_graph=True, allow_unused=True)
        parts = [torch.zeros_like(p) if g is None else g for g, p in zip(found, self.b.leaves, strict=True)]
        return torch.cat([x.reshape(-1) for x in parts])

    def matrix(self) -> torch.Tensor:
        """All of it, shape ``(p_b, p_a)``."""
        return self(torch.eye(self.a.size, dtype=self.a.like.dtype, device=self.a.like.device))


def _repeated(once: Cost, passes: int) -> Cost:
    """So many passes backward through the gradient of something, whose starts count as flops."""
    work = passes * _PASS
    flops = work * (once.flops + FLOPS_PER_START * once.starts)
    return replace(once, flops=flops, writes=work * once.writes, starts=work * once.starts)


def _what(size: int) -> str:
    return f"the tangent kernel of {size} parameters"


def _unflattened(
    vector: torch.Tensor, shapes: Sequence[tuple[str, tuple[int, ...]]]
) -> dict[str, torch.Tensor]:
    parts = vector.split([int(torch.Size(shape).numel()) for _, shape in shapes])
    return {name: x.reshape(shape) for (name, shape), x in zip(shapes, parts, strict=True)}
