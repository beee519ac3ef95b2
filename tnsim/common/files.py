"""Files that are whole at every moment."""

import os
import secrets
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # there is no such thing on Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileError", "is_locked", "replace_file"]


class FileError(OSError, ValueError):
    """A file cannot be written: the system's reason, for an argument that names it."""


def replace_file(path: Path, content: bytes) -> None:
    """Write a file in one step: an interruption leaves the old one, or none, never half of the new one.

    Folders are made if needed. Who may read it is what the process's umask says.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def is_locked(file: Any) -> bool:
    """Lock an open file for as long as it is open; whether somebody else has done so before.

    Where the file system knows no locks, nobody has.
    """
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
