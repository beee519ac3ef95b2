"""Weights: the parameters and buffers of a module, checked and cast, with their names and roles."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from tnsim.convert.module.errors import ConvertError, unknown_dtype
from tnsim.nn import BilinearAttention, Rotary, TokenEmbedding, Unembedding

__all__ = ["Weights", "is_builtin"]


def is_builtin(module: nn.Module) -> bool:
    """Whether the module is one of torch's own layers, and not a container."""
    containers = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
    return type(module).__module__.startswith("torch.nn.modules") and not isinstance(module, containers)


@dataclass(frozen=True)
class Weights:
    """What a copy of a module holds in place of the module's parameters and buffers.

    Attributes:
        originals: the parameters and buffers of the module itself, by name; they are only read.
        tensors: copies of them: parameters cast to ``dtype`` (autograd flows through the cast), and buffers.
        parameters: names of the parameters among them.
        roles: for every name the role of this tensor, the first tag of its tensors in a network.
        dtype: the floating dtype of the conversion.
        own_dtype: the module's own.
        device: where the module lives.
    """

    originals: dict[str, Tensor]
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
            ConvertError: if a parameter is not a finite floating array, or dtypes or devices are mixed.
        """
        if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
            raise ConvertError(f"dtype={dtype!r} is not a floating torch dtype; write dtype=torch.float64.")
        parameters = dict(module.named_parameters())
        for name, p in parameters.items():
            _check(name, p)
        kinds: dict[torch.dtype, str] = {}
        for name, p in parameters.items():
            kinds.setdefault(p.dtype.to_real(), name)
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
        device = next(iter(found), torch.device("cpu"))
        if not _knows(device, dtype):
            raise unknown_dtype(dtype, device)
        tensors = {name: p.to(_like(p, dtype), copy=True) for name, p in parameters.items()}
        for name, p in parameters.items():
            tensors[name].__dict__.update(vars(p))  # attributes that the user gave it
        for name, buffer in buffers.items():
            tensors[name] = _copy(buffer, _like(buffer, dtype))
        return cls(
            {**parameters, **buffers},
            tensors,
            tuple(parameters),
            {name: _role(module, name) for name in tensors},
            dtype,
            next(iter(kinds), dtype),
            device,
        )

    def renewed(self) -> "Weights":
        """The same with new copies of the buffers, which a forward pass may have changed."""
        fresh = {name: t if name in self.parameters else t.clone() for name, t in self.tensors.items()}
        return replace(self, tensors=fresh)

    def copies(self, native: bool = False) -> dict[str, Tensor]:
        """New copies of the originals without gradients, cast as ``tensors`` are; ``native`` ones are not cast."""
        return {
            name: _copy(t, t.dtype if native else self.tensors[name].dtype)
            for name, t in self.originals.items()
        }

    def replaced(self, tensors: dict[str, Tensor]) -> dict[int, Tensor]:
        """For the id of each of the module's tensors, and of those here, what takes its place."""
        return {id(old[name]): t for old in (self.originals, self.tensors) for name, t in tensors.items()}


def _like(t: Tensor, dtype: torch.dtype) -> torch.dtype:
    """The dtype of a tensor in a conversion: real and complex numbers are cast, whole ones are not."""
    return dtype if t.is_floating_point() else dtype.to_complex() if t.is_complex() else t.dtype


def _copy(t: Tensor, dtype: torch.dtype) -> Tensor:
    return t.detach().to(dtype, copy=True)


def _knows(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a device has such numbers: Apple's have no float64, nor have some of Intel's."""
    try:
        torch.empty(1, dtype=dtype, device=device).zero_()
    except (TypeError, RuntimeError):
        return False
    return True


def _check(name: str, p: Tensor) -> None:
    if isinstance(p, nn.parameter.UninitializedParameter):
        raise ConvertError(
            f'parameter "{name}" has no shape yet; run the model once on a batch, then convert it.'
        )
    if not (p.is_floating_point() or p.is_complex()):
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
