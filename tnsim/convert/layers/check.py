"""Check: a converted network computes what its module computes."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from tnsim.algebra import Network
from tnsim.convert.module.errors import ConvertError
from tnsim.convert.module.replicas import replica
from tnsim.convert.powers.fixed import Fixing
from tnsim.convert.powers.law_inputs import specimens
from tnsim.convert.record.forward import run, sample
from tnsim.convert.record.trace import BATCH_SIZE, Node, Trace, mapped
from tnsim.convert.tokens.known_ids import vocabulary

__all__ = ["absolute", "check_finite", "deviation", "verify"]

_SAMPLES = 5  # not the batch size of the trace, so that a dependence on it shows
_DRAWS = 512  # of a law, on which an approximation is compared
_FINE = 1e-12  # a precision that float32 is nothing against: then what differs there by chance does not count here
_NOISE, _NOISY = 1e-9, 4  # relative, large against rounding and small against one; how often it is drawn
_SCALES = (1.0, 0.1, 0.01, 1e-4)


def check_finite(net: Network) -> None:
    """Raise if a weight of the network is NaN or infinite."""
    for name, layer in net:
        if not all(bool(torch.isfinite(a.detach()).all()) for a in layer.arrays()):
            raise ConvertError(
                f'layer "{name}" contains NaN or infinite entries, although the parameters are finite. Look at its '
                "buffers, and at masks filled with -inf."
            )


@torch.no_grad()
def verify(net: Network, trace: Trace, coarse: Callable[[], Network]) -> None:
    """Compare network and module on a small random batch.

    First in the module's own dtype; if its rounding hides the answer, in the dtype of the conversion. What runs is a
    copy of the module that was traced, so that a state kept since then in its attributes shows.

    Args:
        net: the network.
        trace: the forward pass that it was made from.
        coarse: makes the network in float32; asked where nothing else tells rounding from a mistake.

    Raises:
        ConvertError: if they differ.
    """
    worst, failure = float("inf"), ""
    weights, traced = trace.weights, trace.root.module
    tokens = vocabulary(trace) if trace.source.is_tokens else None
    kind = type(traced).__name__
    for native, dtype in ((True, weights.own_dtype), (False, weights.dtype)):
        tensors = weights.replaced(weights.copies(native))
        module = replica(traced, tensors)
        for scale in _SCALES:
            x = sample(_SAMPLES, net.in_shape, weights.dtype, weights.device) * scale
            x = x.to(dtype) if tokens is None else x.masked_fill(~tokens.to(x.device), -torch.inf).argmax(-1)
            try:
                want = run(module, tensors, x.clone(), trace.selected)  # it may write into it
            except RuntimeError as error:  # an operation that this dtype does not have on this device
                failure = str(error)
                break
            got = net(x if tokens is not None else x.to(weights.dtype)).reshape(_SAMPLES, -1)
            if want.shape[0] != _SAMPLES or want.numel() != got.numel():
                break
            want = want.reshape(_SAMPLES, -1).to(weights.dtype)
            if bool(torch.isfinite(want).all()) and bool(torch.isfinite(got).all()):
                eps = max(torch.finfo(dtype).eps, torch.finfo(weights.dtype).eps, trace.precision)
                bound = absolute(net)(x if tokens is not None else x.to(weights.dtype).abs()).reshape(
                    _SAMPLES, -1
                )
                ratio = _ratio(got, want, bound, eps)
                if ratio > 1 and eps < _FINE:  # or one rounds where the other has nothing, as in x − x
                    given = _points(x, tokens is not None)
                    bound = bound + _module_rounding(trace, x) + _rounding(net, coarse, given)
                    ratio = _ratio(got, want, bound, eps)
                if ratio <= 1:
                    return
                worst = min(worst, ratio * eps**0.5)
                break
    if failure and worst == float("inf"):
        raise ConvertError(f"{kind} was converted but cannot run: {failure}.")
    raise ConvertError(
        f"the converted network differs from {kind} on a random batch (relative error "
        f"{worst:.0e}). Its forward may keep state between calls, be random, depend on the batch size, or change a "
        "tensor in place; make it a plain function of one sample."
    )


@torch.no_grad()
def deviation(net: Network, trace: Trace, fixing: Fixing) -> float:
    """How far a network whose norms are constants is from its module: the error's root mean square over the output's.

    That the network is what the module is with these constants is checked on a random batch.

    Raises:
        ConvertError: if it is not.
    """
    kind, weights = type(trace.root.module).__name__, trace.weights
    tokens = vocabulary(trace) if trace.source.is_tokens else None
    eps = max(torch.finfo(weights.dtype).eps, trace.precision)
    x = sample(BATCH_SIZE, net.in_shape, weights.dtype, weights.device)
    x = x if tokens is None else x.masked_fill(~tokens.to(x.device), -torch.inf).argmax(-1)
    want = _replayed(trace, x, fixing.constants).reshape(BATCH_SIZE, -1)
    bound = absolute(net)(x if tokens is not None else x.abs()).reshape(BATCH_SIZE, -1)
    ratio = _ratio(net(x).reshape(BATCH_SIZE, -1), want, bound, eps)
    if not ratio <= 1:
        raise ConvertError(
            f"the converted network differs from {kind} with its norms fixed (relative error {ratio * eps**0.5:.0e}). "
            "Its forward may keep state between calls, be random, or depend on the batch size."
        )
    x, shares = specimens(fixing.law, net.domain, _DRAWS, 1, net.polys[0].like)
    tensors = weights.replaced(weights.copies())
    given = x.argmax(-1) if tokens is not None else x.reshape(len(x), *net.in_shape)
    want = run(replica(trace.root.module, tensors), tensors, given.clone(), trace.selected).reshape(
        len(x), -1
    )
    error = shares @ (net(x).reshape(len(x), -1) - want).square().sum(-1)
    return float((error / (shares @ want.square().sum(-1))).sqrt())


def _replayed(trace: Trace, x: Tensor, constants: dict[Node, Tensor], seed: int = 0) -> Tensor:
    """What a forward pass gives for other numbers, with constants in the place of some of its tensors.

    With a seed there is noise in every tensor, relative to its numbers.
    """
    generator = torch.Generator().manual_seed(seed)
    known = {trace.source: x}
    for step in trace.steps:
        if step.outputs[0] in constants:
            known[step.outputs[0]] = constants[step.outputs[0]]
            continue
        args, kwargs = mapped((step.args, step.kwargs), Node, known.__getitem__)
        made = step.function(*args, **kwargs)
        several = made if step.several else (made,)
        if seed:
            several = tuple(_with_noise(t, generator) for t in several)
        known.update(zip(step.outputs, several, strict=True))
    return known[trace.output]


def _with_noise(t: Tensor, generator: torch.Generator) -> Tensor:
    """A tensor whose numbers are a little off, each by itself; what is no number is left."""
    if not (t.is_floating_point() or t.is_complex()):
        return t
    noise = torch.rand(t.shape, generator=generator, dtype=torch.float64, device="cpu") * 2 - 1
    return t * (1 + _NOISE * noise).to(t.device, t.real.dtype)


def _points(x: Tensor, tokens: bool) -> Tensor:
    """More points: of single values rounding may be zero by chance, so it is the largest of many."""
    return x if tokens else torch.cat([x * (1 - k / 16) for k in range(8)]).to(torch.float32)


def _module_rounding(trace: Trace, x: Tensor) -> Tensor:
    """How far rounding takes a module's output, in units of the precision: how far noise in every tensor on the way does.

    Also where all that is computed cancels, so that nothing of its size shows in the output or in the network.
    """
    try:
        plain, *noisy = (_replayed(trace, x[:BATCH_SIZE], {}, seed) for seed in range(_NOISY + 1))
    except RuntimeError:  # an operation that this dtype does not have on this device
        return torch.zeros((), dtype=trace.weights.dtype, device=x.device)
    apart = torch.stack([(y - plain).abs() for y in noisy]) / _NOISE
    return torch.where(apart.isfinite(), apart, torch.zeros_like(apart)).max().to(trace.weights.dtype)


def _rounding(net: Network, coarse: Callable[[], Network], x: Tensor) -> Tensor:
    """How far rounding takes a network's output: also that of its weights, where fixed matrices cancel in them."""
    try:
        other = coarse()
    except ConvertError:  # what is too large for float32
        return torch.zeros((), dtype=net.polys[0].like.dtype, device=x.device)
    floating = x.is_floating_point()
    return _apart(*(f(x.to(f.polys[0].like.dtype) if floating else x) for f in (other, net)))


def _apart(coarse: Tensor, fine: Tensor) -> Tensor:
    """The largest difference of values computed in float32, in units of its precision."""
    apart = (coarse.to(fine.dtype) - fine).abs() / torch.finfo(torch.float32).eps
    return torch.where(apart.isfinite(), apart, torch.zeros_like(apart)).max()


def absolute(net: Network) -> Network:
    """Every layer with all signs positive, see :meth:`tnsim.Poly.absolute`."""
    return replace(net, layers=tuple((name, f.absolute()) for name, f in net))


def _ratio(got: Tensor, want: Tensor, bound: Tensor, eps: float) -> float:
    """The largest error over its tolerance, output by output."""
    size = want.abs()
    bound = torch.where(bound.isfinite(), bound, torch.zeros_like(bound))  # or it says nothing
    allowed = eps**0.5 * size.amax(0) + eps * (100 * size.max() + 8 * bound) + torch.finfo(want.dtype).tiny
    return float(((got - want).abs() / allowed).max())
