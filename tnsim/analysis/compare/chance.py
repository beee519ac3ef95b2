"""Is 0.8 much? What models give that have nothing to do with each other."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal, cast

import torch
from torch import nn
from tqdm.auto import tqdm

from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, as_network, is_models
from tnsim.analysis.asking.questions import builder, either, questioning
from tnsim.analysis.asking.tensors import tensor
from tnsim.analysis.compare.baselines import weight_cosine
from tnsim.analysis.compare.indices import cka
from tnsim.analysis.compare.similarities import similarity
from tnsim.common.border import choice, whole
from tnsim.common.notebook import Shown
from tnsim.measure.pairings.measure import Measure

__all__ = ["Null", "null"]

Kind = Literal["init", "shuffle", "seeds"]

_FEW = 2


@dataclass(frozen=True, eq=False)
class Null(Shown):
    """What comes out by chance: the result of :func:`null`.

    Attributes:
        kind: what was compared: ``"init"``, ``"shuffle"`` or ``"seeds"``.
        values: for ``"similarity"``, ``"cka"`` and ``"weights"`` the values of all pairs, shape ``(pairs,)``.

    Example:
        >>> import tnsim
        >>> by_chance = tnsim.null(tnsim.nn.BilinearLayer(8, 8, 3), kind="shuffle", draws=4, progress=False)
        >>> sorted(by_chance.values), by_chance.band()[0] < by_chance.band()[1]
        (['cka', 'similarity', 'weights'], True)
    """

    kind: Kind
    values: Mapping[str, torch.Tensor]

    @property
    def mean(self) -> dict[str, float]:
        """The mean over pairs, by measure."""
        return {name: float(x.mean()) for name, x in self.values.items()}

    @property
    def spread(self) -> dict[str, float]:
        """The standard deviation over pairs, by measure."""
        return {name: float(x.std()) if len(x) > 1 else 0.0 for name, x in self.values.items()}

    def band(self, measure: str = "similarity", widths: float = 2.0) -> tuple[float, float]:
        """Mean ± so many standard deviations: what :func:`tnsim.curves` and :func:`tnsim.heatmap` mark."""
        middle, half = self.mean[measure], widths * self.spread[measure]
        return middle - half, middle + half

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {self.mean[name]:.3f} ± {self.spread[name]:.3f}" for name in self.values)
        return f"Null({self.kind}, {len(next(iter(self.values.values())))} pairs: {parts})"


@questioning(models=either, kind=choice("init", "shuffle", "seeds"), draws=whole(_FEW), make=builder)
def null(
    models: Model | Sequence[Model],
    kind: Kind = "shuffle",
    *,
    make: Callable[[], nn.Module] | None = None,
    draws: int = 8,
    seed: int = 0,
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
    progress: bool = True,
) -> Null:
    """What unrelated models of an architecture give, as mean and spread: the zero of a similarity, a CKA, a cosine.

    * ``"init"``: all pairs of ``draws`` models that were initialised and never trained.
    * ``"shuffle"``: every model against ``draws`` copies of it in which the entries of every weight were put in random
      order, within the tensor: the same sizes and distributions, and nothing of what was learned.
    * ``"seeds"``: all pairs of the models given, which are to be trained alike from other seeds.

    Args:
        models: a module, a list of them, or a run; for ``"seeds"`` at least two. Networks are taken for ``"seeds"``.
        kind: which.
        make: builds a fresh module, for ``"init"``; without it the modules' own ``reset_parameters`` are called.
        draws: how many fresh or shuffled models.
        seed: of the draws. The global generator stays as it is.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        budget: flops that may be spent on each pair.
        memory: bytes that intermediate tensors may take.
        progress: show a bar.

    Raises:
        CostError: if a pair would take more than the budget.
        ValueError: if there are too few models or draws, or a module cannot be initialised anew.

    Example:
        >>> import tnsim
        >>> found = null(tnsim.nn.BilinearLayer(8, 16, 4), kind="shuffle")
        >>> abs(found.mean["similarity"]) < 0.5
        True
    """
    given = cast(Sequence[Model], models if is_models(models) else [models])
    if not len(given):
        raise ValueError("the list of models is empty.")
    if kind == "seeds":
        several = list(given)
        if len(several) < _FEW:
            raise ValueError(f'kind="seeds" compares models with each other; {len(several)} are too few.')
        pairs = list(combinations(several, 2))
    else:
        pairs = _drawn(given, kind, make, draws, seed)
    options: dict[str, Any] = dict(under=under, method=method, budget=budget, memory=memory)
    found: dict[str, list[torch.Tensor]] = {"similarity": [], "cka": [], "weights": []}
    distinct = {id(m): m for pair in pairs for m in pair}
    with torch.no_grad():
        nets = {key: as_network(m) for key, m in distinct.items()}
        for a, b in tqdm(pairs, "pairs", disable=not progress, leave=False, delay=2):
            f, g = nets[id(a)], nets[id(b)]
            found["similarity"].append(tensor(similarity(f, g, **options)))
            found["cka"].append(cka(f, g, **options))
            found["weights"].append(weight_cosine(a, b))
    values = {name: torch.stack([x.to("cpu", torch.float64) for x in row]) for name, row in found.items()}
    return Null(kind, values)


def _drawn(
    given: Sequence[Model], kind: Kind, make: Callable[[], nn.Module] | None, draws: int, seed: int
) -> list[tuple[Model, Model]]:
    """Pairs of models that have nothing to do with each other."""
    pairs: list[tuple[Model, Model]] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if kind == "init":
            fresh = [make() if make is not None else _fresh(_module(given[0])) for _ in range(draws)]
            return list(combinations([model.eval() for model in fresh], 2))
        for model in given:
            pairs += [(model, _shuffled(_module(model))) for _ in range(draws)]
    return pairs


def _module(model: Model) -> nn.Module:
    if not isinstance(model, nn.Module):
        raise ValueError(
            f'a {type(model).__name__} has no initialisation and no weights to shuffle; pass modules, or kind="seeds".'
        )
    return model


def _fresh(model: nn.Module) -> nn.Module:
    """A copy that was initialised anew."""
    twin = copy.deepcopy(model)
    left = {name for name, _ in twin.named_parameters()}
    for prefix, module in twin.named_modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
            left -= {f"{prefix}.{name}".lstrip(".") for name, _ in module.named_parameters()}
    if left:
        raise ValueError(
            f"nothing says how {', '.join(sorted(left))} are initialised; write make=, a function that builds the model."
        )
    return twin


def _shuffled(model: nn.Module) -> nn.Module:
    """A copy with the entries of every parameter in random order."""
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for p in twin.parameters():
            order = torch.randperm(p.numel(), device="cpu").to(p.device)
            p.copy_(p.flatten()[order].reshape(p.shape))
    return twin
