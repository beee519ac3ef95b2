"""Records of named tensors in one file that only grows, where no record can be changed, moved or left out unseen.

The file is a head and records. The head names the format and the computation. A record is its length, the tensors as
safetensors, and a hash of both *and of the hash before*: so a flipped bit, a record twice, elsewhere or of another file
does not fit. What an interruption leaves at the end, a record that is not whole, is told from damage and passed over.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

__all__ = ["Records", "record"]

_FORMAT = b"tnsim checkpoint 2\n"  # another number whenever values may differ from those of earlier versions
_HASH = 32
_LENGTH = 8
_CHECK = 8

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, eq=False)
class Records:
    """What a file holds.

    Attributes:
        parts: for every record that was read, by name, its tensors by name.
        end: where the last whole record ends, in bytes.
        link: the hash that the next record goes on from.
    """

    parts: Mapping[str, Tensors]
    end: int
    link: bytes

    @staticmethod
    def head(key: str) -> bytes:
        """The head of a file of results that belong to ``key``."""
        content = _FORMAT + sha256(key.encode()).digest()
        return content + _hash(content)[:_CHECK]

    @classmethod
    def none(cls, key: str) -> "Records":
        """What a new file holds."""
        head = cls.head(key)
        return cls({}, len(head), _hash(head))

    @classmethod
    def read(cls, file: BinaryIO, size: int, key: str) -> "Records":
        """All whole records of a file of ``size`` bytes. No more is read than the file holds, whatever it declares.

        Raises:
            ValueError: if it is another kind of file, belongs to something else, or is damaged; it says what is the
                case, without the name of the file.
        """
        whole = cls.none(key)
        head = file.read(whole.end)
        if not head.startswith(_FORMAT):
            raise ValueError(_foreign(head))
        if len(head) < whole.end or _hash(head[:-_CHECK])[:_CHECK] != head[-_CHECK:]:
            raise ValueError("is not a readable checkpoint (its head is damaged)")
        if head != cls.head(key):
            raise ValueError("was made from other models or another law, or in another way")
        parts: dict[str, Tensors] = {}
        end, link = whole.end, whole.link
        while True:
            start = file.read(_LENGTH + _CHECK)
            if len(start) < _LENGTH + _CHECK:
                break
            if _hash(link, start[:_LENGTH])[:_CHECK] != start[_LENGTH:]:
                if not any(start) and not any(file.read()):  # made longer, never written
                    break
                raise ValueError(f"is not a readable checkpoint (record {len(parts)} is damaged)")
            (length,) = struct.unpack("<Q", start[:_LENGTH])
            if length + _HASH > size - end - len(start):
                break
            content, check = file.read(length), file.read(_HASH)
            if _hash(link, start, content) != check:
                raise ValueError(f"is not a readable checkpoint (record {len(parts)} is damaged)")
            name, tensors = _unpacked(content)
            if name in parts:
                raise ValueError(f"is not a readable checkpoint (it holds {name} twice)")
            parts[name], link, end = tensors, check, end + len(start) + length + _HASH
        return cls(parts, end, link)

    def longer(self, written: bytes) -> "Records":
        """The file with a record more, whose bytes these are; its tensors are not held."""
        return replace(self, end=self.end + len(written), link=written[-_HASH:])


def record(link: bytes, name: str, tensors: Tensors) -> bytes:
    """The bytes of a record.

    Args:
        link: the hash that it goes on from.
        name: its name.
        tensors: dense tensors in the memory of the processor, by name.
    """
    content = save({f"{name}/{part}": x for part, x in tensors.items()})
    length = struct.pack("<Q", len(content))
    start = length + _hash(link, length)[:_CHECK]
    return start + content + _hash(link, start, content)


def _hash(*parts: bytes) -> bytes:
    digest = sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def _unpacked(content: bytes) -> tuple[str, Tensors]:
    """The name and the tensors of a record."""
    try:
        found = {tuple(name.split("/")): x for name, x in load(content).items()}
        ((name,),) = {names[:-1] for names in found}
        return name, {part: x for (_, part), x in found.items()}
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"is not a readable checkpoint ({error})") from None


def _foreign(head: bytes) -> str:
    """What another kind of file is."""
    if not head:
        return "is not a readable checkpoint (it is empty)"
    if head.startswith(b"version https://git-lfs"):
        return "is not a readable checkpoint (a pointer of Git LFS stands in its place: git lfs pull)"
    if head[_LENGTH:].startswith((b'{"tnsim.fingerprint.', b"{")) or head.startswith(_FORMAT[:17]):
        return "is not a readable checkpoint (an earlier or another version of tnsim wrote it, or it holds weights)"
    return "is not a readable checkpoint (it is something else)"
