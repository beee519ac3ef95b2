"""Writing files such that they are never half-written."""

import os
import secrets
from pathlib import Path

__all__ = ["write"]


def write(path: Path, content: bytes) -> None:
    """Write a file such that whoever opens it finds the old content or the new, and never a part."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
