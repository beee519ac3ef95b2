"""Unfolding: a model as a matrix, cut in two at one place."""

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, as_network
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sizes import check_sizes
from tnsim.analysis.bonds.places import place_at
from tnsim.analysis.explain.halves import modes_of, put_back, second_moment, sensitivity
from tnsim.analysis.explain.modes import Modes, of_each
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["unfold"]


@question
def unfold(
    model: Model,
    at: str | int,
    *,
    under: Measure | None = None,
    top: int | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
) -> Modes:
    """Singular values and vectors of a model across one of its bonds or legs, in the metric of a law.

    At a place with state h(x), a model is f(x) = g(h(x)). Take the state of one copy of the bond from an input x and
    that of all others from an input y: K(x, y) = J_g(h(y)) h(x), with J_g = ∂g/∂h. This is a matrix with rows (y,
    outputs) and columns x, and the law weighs both sides. Its singular values σ_i say how much of the model passes
    through each mode of the bond:

        σ_i² = eigenvalues of H^½ A H^½,    H = E[h hᵀ],    A = E[J_gᵀ J_g]

    * ``at="in"``: the legs of the model; with ``under=Symmetric()`` the unfolding of the symmetrised coefficient
      tensor of degree n along one leg (times n).
    * ``at="blocks.0"``: the bond behind that layer. ``at="blocks.0.hidden"``: its hidden units.
    * ``at="out"``: the modes of E[f fᵀ] on the output side.

    A bond whose trailing values are zero is wider than it needs to be; :func:`truncate` cuts there. Exact, at the cost
    of two inner products of the model; deep models may need ``method="layerwise"``.

    Args:
        model: a torch module, a Network or a Poly, possibly stacked; a difference is passed as :func:`difference`.
        at: ``"in"``, ``"out"``, the name of a layer, or that name and ``.hidden``; a number counts the layers below.
        under: the law of the input; the standard normal by default.
        top: how many modes are wanted; all by default.
        method: ``"exact"``, or ``"layerwise"``: hidden states are taken to be Gaussian, and the layers above act one
            after the other (approximate from two layers on).
        budget: flops that may be spent.
        memory: bytes that intermediate tensors may take.

    Returns:
        The modes from large to small. ``modes.effective_rank`` is the exponential of the entropy of σ²,
        ``modes.rank()`` counts what is not zero. Readers and patterns live in the space of h.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if there is no such place.
        ScaleError: if singular values do not fit into the dtype.
        ValueError: if the model is the zero function under the law.
        MeasureError: for ``Frobenius()``, under which a function has no derivative.

    References:
        Orthogonalisation and diagonalisation of a chain of layers: arXiv 2504.02667.

    Example:
        >>> import tnsim
        >>> net = tnsim.convert(tnsim.nn.BilinearMLP(6, 4, 5, 2, n_layer=2))
        >>> [len(unfold(net, at)) for at in ("in", "embed", "blocks.0", "blocks.1.hidden", "out")]
        [6, 4, 4, 5, 2]
    """
    net = as_network(model)
    if under is not None and not under.as_functions:
        raise MeasureError(
            f"{under!r} compares tensors as they are stored; unfold under Symmetric() or Gaussian()."
        )
    return of_each(net, lambda one: _single(one, at, under, top, method, budget, memory))


def _single(
    net: Network,
    at: str | int,
    under: Measure | None,
    top: int | None,
    method: Method,
    budget: float,
    memory: float,
) -> Modes:
    place = place_at(net, at)
    below = second_moment(place, under, method, budget / 2, memory)
    above = sensitivity(place, under, method, budget / 2, memory)
    for x in (below.mantissa, above.mantissa):
        check_sizes(x.diagonal().sum(), "the model", "its unfolding", net)
    metric, operator, what = below.mantissa, above.mantissa, "singular values"
    modes = modes_of(metric, lambda v: operator @ v, place.size, metric, top, place.name, what, root=True)
    return put_back(modes, below.exponent, above.exponent)
