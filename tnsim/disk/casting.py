"""Whether weights can be converted to the dtype of a module without becoming other weights."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["check_conversion"]


def check_conversion(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Whether weights keep their values, up to rounding, in the dtypes of others of the same names.

    Args:
        state: weights by name.
        wanted: the module's.

    Raises:
        ValueError: if complex numbers were to become real ones, numbers overflow, none but zeros are left of a tensor,
            whole numbers change, or either has no values; the message names them.
    """
    faults = []
    for name, value in state.items():
        if name in wanted and isinstance(wanted[name], Tensor):
            fault = _fault(value, wanted[name])
            faults += [f"{name} {fault}"] if fault else []
    if faults:
        more = f"; … ({len(faults)} in all)" if len(faults) > 8 else ""
        raise ValueError(f"the checkpoint does not fit: {'; '.join(faults[:8])}{more}.")


def _fault(value: Tensor, wanted: Tensor) -> str:
    dtype = str(wanted.dtype).removeprefix("torch.")
    if value.layout != torch.strided or value.is_quantized:
        return f"is {value.layout}, {value.dtype}: write it as a dense tensor"
    if value.is_meta or wanted.is_meta:
        return "has no values (it is on the device meta)"
    if value.dtype == wanted.dtype:
        return ""
    if value.is_complex() and not wanted.is_complex():
        return f"is complex, and the module needs {dtype}"
    moved = value.to(wanted.dtype)
    if not (wanted.is_floating_point() or wanted.is_complex()):
        back = moved.to(torch.float64) != value.to(torch.float64)
        return f"holds {value[back][0].item()!r}, which {dtype} has not" if bool(back.any()) else ""
    moved = moved if moved.is_complex() else moved.to(torch.float64)
    lost = value.isfinite() & ~moved.isfinite()
    if bool(lost.any()):
        return f"holds {value[lost][0].item():.3g}, beyond what {dtype} can hold; write model.double() first"
    if bool(value.any()) and not bool(moved.any()):
        return f"is all zero in {dtype}; write model.double() first"
    return ""
