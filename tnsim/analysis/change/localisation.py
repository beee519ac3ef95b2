"""Localise: what a change of a model is about, found blindly. Which output, through which inputs, or neither."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from tqdm.auto import tqdm

from tnsim.algebra.networks.network import Network
from tnsim.analysis.asking.problem import BUDGET, MEMORY, Method, Model, comparable, law_for
from tnsim.analysis.asking.questions import question
from tnsim.analysis.asking.sampled import Options, check_error, exactly
from tnsim.analysis.change.changes import changed
from tnsim.analysis.explain.shares import gradients
from tnsim.common.notebook import Plotted
from tnsim.measure.pairings.measure import Measure
from tnsim.sampling.estimate import Estimate
from tnsim.sampling.jackknife import jointly
from tnsim.sampling.run import Means

__all__ = ["Localisation", "judge", "localise"]

Array = Any
Change = tuple[Array, Callable[[Any], Array]]

_TOP = 0.01  # of the inputs: those whose mean score is the concentration
_FEWEST = 3  # outputs that can be compared with each other

# What counts as localised. Chosen on runs of their own; docs/understand.md says on which, and what they give on others.
_PROMINENT = {False: 4.0, True: 2.0}  # without and with a history
_CONCENTRATED = {False: 12.0, True: 5.0}


@dataclass(frozen=True, eq=False)
class Localisation(Plotted):
    """What a change is about: the result of :func:`localise`.

    Attributes:
        output: the output that changed most beyond what is ordinary (a tuple, if outputs have several axes).
        inputs: a score for every input, shape of one input: its share of that output's change, less the share that
            ordinary drift explains. They add up to 1 − ``explained``.
        concentration: the mean score of the highest hundredth of the inputs (at least one), where 1 would be an
            equal share for every input.
        localised: whether one output stands out *and* its change sits in few inputs.
        changed: whether one output stands out.
        prominence: how many times more that output changed than the median of the others, each measured by its
            share of the ordinary drift where a history is given.
        outputs: that number for every output.
        explained: how much of the inputs' shares is put down to ordinary drift; 0 without a history.
        estimate: prominence and concentration with their errors, where it was sampled.

    Example:
        >>> import copy, torch, tnsim
        >>> before = tnsim.nn.BilinearClassifier(64, 16, 10)
        >>> after = copy.deepcopy(before)
        >>> with torch.no_grad():
        ...     after.head.weight[3] *= 2
        >>> found = tnsim.localise(before, after)
        >>> found.output, found.changed, found.inputs.shape
        (3, True, torch.Size([64]))
    """

    output: Any
    inputs: Array
    concentration: float
    localised: bool
    changed: bool
    prominence: float
    outputs: Array
    explained: float
    estimate: Estimate | None = None

    def top(self, n: int) -> Array:
        """Positions of the n inputs with the highest scores, in the flattened input."""
        return self.inputs.flatten().topk(n).indices

    def __repr__(self) -> str:
        numbers = (
            f"{self.prominence:.1f} × the median of the others, top inputs at {self.concentration:.1f} × an "
            "equal share"
        )
        if self.localised:
            first = ", ".join(map(str, self.top(min(5, self.inputs.numel())).tolist()))
            return f"Localised in output {self.output}, inputs {first}, … ({numbers})"
        if self.changed:
            return f"Nothing localised: output {self.output} changed, but not in few inputs ({numbers})"
        return f"Nothing localised (most: output {self.output}, {numbers})"


@question
def localise(
    before: Model,
    after: Model,
    *,
    history: Sequence[Model] = (),
    under: Measure | None = None,
    method: Method = "exact",
    budget: float = BUDGET,
    memory: float = MEMORY,
    error: float | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Localisation:
    """Say which output changed from one checkpoint to a later one, and through which inputs; or that none stands out.

    From the weights alone: no data, no labels, no idea of what to look for. Of the change δ = after − before:

    1. Every output k has moved by E_k = E[δ_k²], a share E_k / Σ_j E_j of the whole. With a ``history``, it is divided
       by the output's mean share in the earlier steps. The output with the highest ratio is named; its *prominence*
       is that ratio over the median of the others.
    2. Let both models read g_i x_i. Input i has the share p_i = ∂E_k/∂g_i / Σ_j ∂E_j/∂g_j at g = 1 of that output's
       change. The sum in the denominator is dE_k/ds where all inputs are scaled by s. For a law N(0, Σ) this is the
       derivative with respect to the input covariance; for one layer without biases, p_i is input i's share of E_k.
       With a history that has the shares q, the scores are p − c q, where c is the median of p_i / q_i (at most 1):
       what earlier steps explain is taken off. Without one, they are p.
    3. The *concentration* is the mean score of the highest hundredth of the inputs, times the number of inputs (which
       is the most it can be).

    The change is called localised where prominence and concentration both exceed fixed thresholds. These were chosen
    so that plain continued training stays below; they are no significance levels.

    Args:
        before: a torch module or a Network.
        after: a later checkpoint with the same inputs and outputs.
        history: earlier checkpoints of the same run, oldest first. They make the search more sensitive.
        under: the law of the input; the standard normal by default.
        method: ``"exact"`` or ``"layerwise"`` (approximate from two layers on).
        budget: flops that may be spent on each pair of checkpoints.
        memory: bytes that intermediate tensors may take.
        error: a relative standard error of prominence and concentration that will do. Then these are exact where the price
            is within the budget, else from draws, and ``estimate`` has both with their errors.
        seed: of the draws.
        progress: show a bar over the pairs if it takes more than two seconds.

    Returns:
        A :class:`Localisation`.

    Raises:
        CostError: if it would take more than the budget.
        ValueError: if the models do not fit together, or have fewer than three outputs.

    Example:
        >>> import torch, tnsim
        >>> layer, mark = "D[out,hid] L[hid,in0] R[hid,in1]", torch.eye(64)[6:7]
        >>> before = tnsim.poly(layer, D=torch.eye(4), L=torch.eye(4, 64), R=torch.eye(4, 64))
        >>> planted = tnsim.poly(layer, D=torch.eye(4)[:, 2:3], L=mark, R=mark)
        >>> found = localise(before, before + planted)
        >>> found.localised, found.output, found.top(1).item()
        (True, 2, 6)
        >>> localise(before, before * 1.1).localised
        False
    """
    run = [*history, before, after]
    nets = [comparable(before, m)[1] for m in run]
    if any(net.models for net in nets):
        raise ValueError("localise compares single checkpoints; pick them from the stack with net.pick(i).")
    shape = nets[-1].polys[-1].out_shape
    count = math.prod(shape)
    if count < _FEWEST:
        raise ValueError(
            f"localise compares the change of one output with that of the others; {count} are too few to tell. "
            'attribute(before, after, to="inputs") splits the change over inputs.'
        )
    if error is not None:
        check_error(error, method)
        limits: dict[str, Any] = {"budget": budget, "memory": memory, "progress": progress}
        exact = partial(localise, *nets[-2:], history=nets[:-2], under=under, **limits)
        found_exactly = exactly(exact, under)
        options = Options(under, None, error, seed, **limits)
        return _sampled(nets, options) if found_exactly is None else found_exactly
    law = law_for(nets, under)
    pairs = list(pairwise(nets))
    found = [
        gradients(pair, law, method, f"localise ({method})", budget, memory)
        for pair in tqdm(pairs, "changes", delay=2, disable=not progress, leave=False)
    ]
    *earlier, now = found
    return judge(now, earlier, nets[0].in_shape)


def _sampled(nets: Sequence[Network], options: Options) -> Localisation:
    """The verdict from draws; every step has its own, that suit it, and all count in the error."""
    in_shape, out_shape = nets[0].in_shape, nets[-1].polys[-1].out_shape
    pairs = list(pairwise(nets))
    each = replace(options, error=options.error / len(pairs) ** 0.5)

    def verdict(steps: Sequence[Means]) -> Localisation:
        *earlier, now = (
            (moved.reshape(out_shape), lambda w, s=slopes: (w.flatten() @ s).reshape(in_shape))
            for moved, slopes in steps
        )
        return judge(now, earlier, in_shape)

    def logs(steps: Sequence[Means]) -> torch.Tensor:
        found = verdict(steps)
        numbers = torch.tensor([found.prominence, found.concentration], dtype=torch.float64, device="cpu")
        return numbers.clamp_min(1e-9).log()

    while True:  # what a history takes off makes the rest less certain
        runs = [changed(pair, each, lambda means: logs([means])) for pair in pairs]
        value, error = jointly([run.parts for run in runs], logs)
        away = float(error.max()) / options.error
        if away <= 1:
            break
        each = replace(each, error=0.7 * each.error / away)
    last = runs[-1].seen
    estimate = Estimate(value.exp(), value.exp() * error, "sampled", last.count, last.effective, last.share)
    return replace(verdict([run.parts.means() for run in runs]), estimate=estimate)


def judge(now: Change, earlier: Sequence[Change], in_shape: tuple[int, ...]) -> Localisation:
    """The verdict on a change, given what every output moved by, and how, in it and in earlier steps.

    Args:
        now: squared distances of all outputs, and their derivatives: what :func:`gradients` returns.
        earlier: the same for the steps of the history.
        in_shape: shape of one input.
    """
    shape = tuple(now[0].shape)
    outputs = _against_median(_lifts(now[0].flatten(), [moved.flatten() for moved, _ in earlier]))
    k = int(outputs.argmax())
    chosen = torch.zeros_like(outputs)
    chosen[k] = 1.0
    p, *q = (
        _normalised(of(chosen.reshape(shape)).flatten() * (moved.flatten()[k] > 0))
        for moved, of in (now, *earlier)
    )
    scores, explained = _beyond(p, q)

    top = scores.topk(max(1, math.ceil(_TOP * scores.numel()))).values
    concentration = float(top.mean()) * scores.numel()
    prominence = float(outputs[k])
    changed = prominence > _PROMINENT[bool(earlier)]
    return Localisation(
        output=k
        if len(shape) < 2
        else tuple(int(i) for i in torch.unravel_index(torch.tensor(k, device="cpu"), shape)),
        inputs=scores.reshape(in_shape),
        concentration=concentration,
        localised=changed and concentration > _CONCENTRATED[bool(earlier)],
        changed=changed,
        prominence=prominence,
        outputs=outputs.reshape(shape),
        explained=explained,
    )


def _normalised(x: Array) -> Array:
    """Shares of the sum; zeros where there is nothing to share."""
    total = x.sum()
    return x / total if total > 0 else torch.zeros_like(x)


def _lifts(moved: Array, earlier: Sequence[Array]) -> Array:
    """Every output's share of the change, over its share of the ordinary drift."""
    share = _normalised(moved)
    if not earlier:
        return share
    usual = torch.stack([_normalised(m) for m in earlier]).mean(0)
    return torch.where(share > 0, share / usual, share)


def _against_median(lifts: Array) -> Array:
    """Every number over the median of the others (a number where only one moved is infinitely prominent)."""
    values = []
    for k, mine in enumerate(lifts):
        others = torch.cat([lifts[:k], lifts[k + 1 :]]).quantile(0.5)
        values.append(mine / others if mine > 0 else mine)
    return torch.stack(values)


def _beyond(p: Array, earlier: Sequence[Array]) -> tuple[Array, float]:
    """Shares of the inputs without what earlier steps explain, and how much that is."""
    if not earlier:
        return p, 0.0
    q = torch.stack(list(earlier)).mean(0)
    seen = q > 0
    if not bool(seen.any()):
        return p, 0.0
    c = float((p[seen] / q[seen]).quantile(0.5).clamp(0.0, 1.0))
    return p - c * q, c
