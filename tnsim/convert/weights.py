"""Weights: the parameters and buffers of a module, checked and cast, with their names and roles."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tnsim.convert.errors import ConvertError
from tnsim.nn import BilinearAttention, Rotary, TokenEmbedding, Unembedding

__all__ = ["Weights", "is_builtin"]


def is_builtin(module: nn.Module) -> bool:
    """Whether the module is one of torch's own layers, and not a container."""
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return type(module).__module__.startswith("torch.nn.modules") and not isinstance(module, containers)


@dataclass(frozen=True)
class Weights:
    """What :func:`torch.func.functional_call` puts in place of a module's parameters and buffers.

    Attributes:
        tensors: parameters cast to ``dtype`` (autograd flows through the cast) and copies of the buffers.
        parameters: names of the parameters among them.
        roles: for every name the role of this tensor, the first tag of its tensors in a network.
        dtype: the floating dtype of the conversion.
        own_dtype: the module's own.
        device: where the module lives.
    """

    tensors: dict[str, Tensor]
    parameters: tuple[str, ...]
    roles: dict[str, str]
    dtype: torch.dtype
    own_dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, module: nn.Module, dtype: torch.dtype) -> "Weights":
        """Read a module.

        Raises:
            ConvertError: if a parameter is not a finite real floating array, or dtypes or devices are mixed.
        """
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ConvertError(f"dtype={dtype!r} is not a floating torch dtype; write dtype=torch.float64.")
        parameters = dict(module.named_parameters())
        for name, p in parameters.items():
            _check(name, p)
        kinds: dict[torch.dtype, str] = {}
        for name, p in parameters.items():
            kinds.setdefault(p.dtype, name)
        if len(kinds) > 1:
            (one, a), (two, b), *_ = kinds.items()
            raise ConvertError(
                f'parameters of different dtypes: "{a}" is {_short(one)}, "{b}" is {_short(two)}. Cast the model '
                "first, for instance with model.double()."
            )
        buffers = dict(module.named_buffers())
        found = {t.device: name for name, t in [*buffers.items(), *parameters.items()]}
        if len(found) > 1:
            (one_device, a), (two_device, b), *_ = found.items()
            raise ConvertError(
                f'weights on different devices: "{a}" is on {one_device}, "{b}" on {two_device}. Move the model '
                'to one, for instance with model.to("cpu").'
            )
        tensors = {name: p.to(dtype) for name, p in parameters.items()}
        for name, buffer in buffers.items():
            copy = buffer.detach().clone()
            tensors[name] = copy.to(dtype) if copy.is_floating_point() else copy
        return cls(
            tensors,
            tuple(parameters),
            {name: _role(module, name) for name in tensors},
            dtype,
            next(iter(kinds), dtype),
            next(iter(found), torch.device("cpu")),
        )

    def native(self, module: nn.Module) -> dict[str, Tensor]:
        """The module's own tensors, uncast; the buffers as copies, so that running it changes nothing."""
        own = {name: p.detach() for name, p in module.named_parameters()}
        return {**own, **{name: b.detach().clone() for name, b in module.named_buffers()}}


def _check(name: str, p: Tensor) -> None:
    if isinstance(p, nn.parameter.UninitializedParameter):
        raise ConvertError(
            f'parameter "{name}" has no shape yet; run the model once on a batch, then convert it.'
        )
    if p.is_complex():
        raise ConvertError(
            f'parameter "{name}" is complex ({_short(p.dtype)}); tnsim converts real models. Store its real and '
            "imaginary parts as two parameters."
        )
    if not p.is_floating_point():
        raise ConvertError(
            f'parameter "{name}" has dtype {_short(p.dtype)}; a weight must be floating. Cast it, or register it as '
            "a buffer if it is an index or a mask."
        )
    if p.device.type == "meta":
        raise ConvertError(
            f'parameter "{name}" is on the meta device and has no values; load the weights first.'
        )
    if not bool(torch.isfinite(p.detach()).all()):
        bad = int((~torch.isfinite(p.detach())).sum())
        raise ConvertError(
            f'parameter "{name}" has {bad} entries that are NaN or infinite, of {p.numel()}. The training diverged, '
            "or the checkpoint is damaged."
        )


def _role(module: nn.Module, name: str) -> str:
    """`l` for `blocks.0.l.weight`; the parameter's own name where a user's forward uses it directly."""
    head, marker, tail = name.partition("parametrizations.")
    path, _, own = (head + tail.split(".")[0] if marker else name).rpartition(".")
    owner = module.get_submodule(path)
    parent, _, child = path.rpartition(".")
    if isinstance(owner, Rotary):
        return "ROPE"
    if isinstance(owner, TokenEmbedding):
        return "E"
    if isinstance(owner, Unembedding):
        return "U"
    if isinstance(owner, BilinearAttention) and own == "mask":
        return "MASK"
    if path and isinstance(module.get_submodule(parent), BilinearAttention):
        return child.upper()
    return path.rpartition(".")[2] if path and (is_builtin(owner) or own in ("weight", "bias")) else own


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
