"""Check: a converted network computes what its module computes."""

from dataclasses import replace

import torch
from torch import Tensor

from tnsim.algebra import Network, Poly
from tnsim.convert.errors import ConvertError
from tnsim.convert.forward import run, sample
from tnsim.convert.replica import replica
from tnsim.convert.tokens import vocabulary
from tnsim.convert.trace import Trace

__all__ = ["absolute", "check_finite", "verify"]

_SAMPLES = 5  # not the batch size of the trace, so that a dependence on it shows
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
def verify(net: Network, trace: Trace) -> None:
    """Compare network and module on a small random batch.

    First in the module's own dtype; if its rounding hides the answer, in the dtype of the conversion. What runs is a
    copy of the module that was traced, so that a state kept since then in its attributes shows.

    Args:
        net: the network.
        trace: the forward pass that it was made from.

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
                want = run(module, tensors, x, trace.selected)
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


def absolute(net: Network) -> Network:
    """The same sums of products with all signs positive: at |x| it bounds what rounding can do, also where all cancels."""

    def positive(f: Poly) -> Poly:
        terms = (replace(t, coefficient=abs(t.coefficient)) for t in f.terms)
        return replace(f, terms=tuple(terms)).mapped(torch.abs)

    return replace(net, layers=tuple((name, positive(f)) for name, f in net))


def _ratio(got: Tensor, want: Tensor, bound: Tensor, eps: float) -> float:
    """The largest error over its tolerance, output by output."""
    size = want.abs()
    allowed = eps**0.5 * size.amax(0) + eps * (100 * size.max() + 8 * bound) + torch.finfo(want.dtype).tiny
    return float(((got - want).abs() / allowed).max())
