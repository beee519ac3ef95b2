"""Networks in files: numbers as safetensors, wiring beside them as JSON. No code, no pickle, no class of anybody's.

The file is a usual ``.safetensors`` file, of which every reader shows the weights by layer and role. Its metadata say under
``tnsim`` how they are wired, and what all of it hashes to, so that damage shows.
"""

import json
import os
import re
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors
from torch import Tensor

from tnsim.algebra.networks.network import Network
from tnsim.algebra.networks.topology import from_plain, to_plain
from tnsim.algebra.polys.claims import check_claims
from tnsim.algebra.polys.poly import Poly
from tnsim.common.files import replace_file
from tnsim.common.wires import WireError
from tnsim.disk.tensorfile import check_content

__all__ = ["NetworkFileError", "is_network_file", "load_network", "save"]

_FORMAT = "tnsim network"
_VERSION = 1  # another number whenever an older tnsim would read something else
_LENGTH = 8
_LONGEST = 100_000_000  # bytes of the head of a safetensors file
_MEMORY = 2.0**26  # bytes that checking what a file claims may take, or as many times as much as it is large:
_TIMES = 4

# Whatever damage makes the readers raise; everything else is a fault of this code.
_DAMAGE = (
    SafetensorError,
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    RecursionError,
    OverflowError,
)


class NetworkFileError(ValueError):
    """A file holds no network that can be read, or a network cannot be kept in one; it says why, and what to do.

    Example:
        >>> import pathlib, tempfile, tnsim
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "net.safetensors"
        >>> file.write_bytes(b"no network")
        10
        >>> try:
        ...     tnsim.load_network(file)
        ... except tnsim.NetworkFileError:
        ...     print("not a network")
        not a network
    """


def save(net: Network, path: str | os.PathLike[str]) -> None:
    """Keep a network in one file, in the place of what was there. Read it with :func:`load_network`, anywhere.

    The file needs nothing of the module that the network came from. It holds all that decides answers: weights to the last
    bit, wiring, names, tags, shapes, what is known of exchanges and hidden units, token ids, notes, and which weights carry
    gradients. It is written beside its place and moved there when it is whole.

    Args:
        net: a Network, stacked or not, or a Poly, which is a network of one layer. Convert a module first.
        path: where; ``.safetensors`` says what it is. Folders are made if needed.

    Raises:
        NetworkFileError: if it is not a network, or its numbers are of a kind that the format does not know.
        OSError: if the file cannot be written.

    Example:
        >>> import tempfile, tnsim
        >>> net = tnsim.convert(tnsim.nn.BilinearLayer(4, 8, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     tnsim.save(net, f"{folder}/net.safetensors")
        ...     again = tnsim.load_network(f"{folder}/net.safetensors")
        >>> round(float(tnsim.similarity(net, again)), 12)
        1.0
    """
    if isinstance(net, Poly):
        net = Network((("layer0", net),))
    if not isinstance(net, Network):
        hint = (
            "write tnsim.save(tnsim.convert(model), path)"
            if isinstance(net, torch.nn.Module)
            else "pass a Network"
        )
        raise NetworkFileError(f"a {type(net).__name__} is not a network; {hint}.")
    place = Path(path).expanduser()
    if place.is_dir():
        raise NetworkFileError(
            f"{place} is a folder; name a file in it, such as {place / 'net.safetensors'}."
        )
    plain, arrays = to_plain(net)
    tensors = {name: _stored(name, x) for name, x in arrays.items()}
    content = {
        "format": f"{_FORMAT} {_VERSION}",
        "arrays": "torch" if all(isinstance(x, Tensor) for x in arrays.values()) else "numpy",
        "gradients": [name for name, x in arrays.items() if getattr(x, "requires_grad", False)],
        **plain,
    }
    text = json.dumps({"sha256": _hash(content, tensors), **content}, allow_nan=False)
    try:
        data = save_tensors(tensors, {"tnsim": text})
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise NetworkFileError(
            f"a {net.dtype} network cannot be kept: {_short(error)}; see net.to(dtype=)."
        ) from None
    replace_file(place, data)


def load_network(path: str | os.PathLike[str]) -> Network:
    """Read a network that :func:`save` wrote. No code of the file is run, and what it claims is checked.

    No more memory is taken than a few times what the file is large: sizes are compared with the file before anything is
    read. The wiring must be whole; legs that are said to be exchangeable and units that layers are said to have are tried
    on random inputs, since answers rest on them.

    Args:
        path: the file.

    Returns:
        The network, in the memory of the processor; ``net.to("cuda")`` moves it. Weights that carried gradients do so
        again, as leaves; read it under ``torch.no_grad()`` if that is not wanted.

    Raises:
        FileNotFoundError: if there is no such file.
        NetworkFileError: if it is cut off, damaged, written by a newer tnsim, or holds something else.

    Example:
        >>> import pathlib, tempfile, tnsim
        >>> net = tnsim.convert(tnsim.nn.BilinearLayer(4, 8, 3))
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "net.safetensors"
        >>> tnsim.save(net, file)
        >>> round(tnsim.similarity(net, tnsim.load_network(file)).item(), 6)
        1.0
    """
    place = Path(path).expanduser()
    if not place.is_file():
        what = "it is a folder" if place.is_dir() else "there is no such file"
        raise FileNotFoundError(f"{place}: {what}; name a file that tnsim.save wrote.")
    try:
        check_content(place)
    except ValueError as error:
        raise NetworkFileError(str(error)) from None
    content = _told(place)
    try:
        with safe_open(place, "pt") as file:
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except _DAMAGE as error:
        raise NetworkFileError(f"{place} is damaged ({_short(error)}).") from None
    try:
        if content.pop("sha256", None) != _hash(content, tensors):
            raise NetworkFileError(f"{place} is damaged: it is not what was written.")
        return _network(content, tensors, place.stat().st_size)
    except NetworkFileError:
        raise
    except _DAMAGE as error:
        raise NetworkFileError(f"{place} holds no sound network: {_short(error)}") from None


def is_network_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file says that it holds a network; it may be damaged all the same."""
    place = Path(path).expanduser()
    try:
        return place.is_file() and bool(_told(place))
    except NetworkFileError:
        return False


def _told(place: Path) -> dict[str, Any]:
    """What the head of a file says about its network, its wiring and its hash. Only the head is read."""
    size = place.stat().st_size
    with open(place, "rb") as file:
        start = file.read(_LENGTH)
        length = int.from_bytes(start, "little")
        if start[:2] == b"PK":
            raise NetworkFileError(
                f"{place} is an archive, as torch.save writes it; tnsim.load(MyModel(), path) fills a module with it."
            )
        if len(start) < _LENGTH or not 2 <= length <= min(_LONGEST, size - _LENGTH):
            raise NetworkFileError(f"{place} is no safetensors file, or is cut off.")
        head = file.read(length)
    try:
        content = json.loads(json.loads(head)["__metadata__"]["tnsim"])
        kind = content["format"]
        version = re.fullmatch(rf"{_FORMAT} (\d{{1,9}})", kind)
    except KeyError:
        raise NetworkFileError(
            f"{place} holds tensors and no network; tnsim.load(MyModel(), path) fills a module with weights."
        ) from None
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise NetworkFileError(f"{place} is damaged: its head cannot be read ({_short(error)}).") from None
    if version is None:
        hint = "; tnsim.Gram.load reads it" if kind.startswith("tnsim gram") else ""
        raise NetworkFileError(f"{place} holds something else than a network: {kind[:40]!r}{hint}.")
    if int(version[1]) > _VERSION:
        raise NetworkFileError(
            f"{place} was written by a newer tnsim (format {version[1]}, this one reads {_VERSION}); upgrade with "
            "pip install --upgrade tnsim, or save it again with the older one."
        )
    found: dict[str, Any] = content
    return found


def _network(content: dict[str, Any], tensors: dict[str, Tensor], size: int) -> Network:
    net = from_plain(content, tensors)
    used = to_plain(net)[1]
    if len(used) != len(tensors):
        raise WireError("it holds tensors that are no part of the network.")
    with torch.no_grad():
        double = net.to(dtype="complex128" if "complex" in net.dtype else "float64")
        kind = tensors[next(iter(tensors))].dtype
        precision = torch.finfo(kind).eps if kind.is_floating_point or kind.is_complex else 0.0
        check_claims(double, precision, max(_MEMORY, _TIMES * size))
    graded = content["gradients"]
    if not isinstance(graded, list) or not set(graded) <= set(tensors):
        raise WireError("it says of tensors that are not there that they carry gradients.")
    if content["arrays"] == "numpy":
        return from_plain(content, {name: x.numpy() for name, x in tensors.items()})
    for name in graded:
        tensors[name].requires_grad_(torch.is_grad_enabled())
    return net


def _stored(name: str, x: Any) -> Tensor:
    """An array as a dense tensor in the memory of the processor, apart from all others."""
    try:
        found = x.detach() if isinstance(x, Tensor) else torch.from_numpy(np.array(x))
        if found.is_meta:
            raise TypeError("it has no values")
        return found.cpu().clone(memory_format=torch.contiguous_format)
    except (TypeError, RuntimeError, ValueError, AttributeError) as error:
        raise NetworkFileError(f'the tensor "{name}" cannot be kept in a file: {_short(error)}.') from None


def _hash(content: dict[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Of the wiring and of every tensor: its name, kind, shape and bytes."""
    digest = sha256(json.dumps(content).encode())
    for name in sorted(tensors):
        x = tensors[name]
        digest.update(f"\n{name} {x.dtype} {tuple(x.shape)}\n".encode())
        digest.update(x.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _short(error: BaseException) -> str:
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= 200 else f"{said[:200]} …"
