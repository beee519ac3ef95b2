"""Frames: which line of the user's code runs, and who called it."""

import linecache
import os
import sys
from pathlib import Path
from textwrap import shorten

import torch

from tnsim.convert.record.trace import words

__all__ = ["actor", "raised_at", "source"]

_CALLS_HOOKS = words("inner _call_impl __call__")  # of nn.Module; forward is called by this package
_MOST_TEXT = 80  # characters of a line of code in a message
_SKIPPED = (f"{Path(torch.__file__).parent}{os.sep}", f"{Path(__file__).parent}{os.sep}")


def actor() -> str:
    """Who runs: forward, or a hook, which torch calls around it."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back  # type: ignore[assignment]
    while frame is not None and not frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back  # type: ignore[assignment]
    return "a hook" if frame is not None and frame.f_code.co_name in _CALLS_HOOKS else "forward"


def source() -> str:
    """File, line and text of the innermost statement that is neither torch's nor ours."""
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_SKIPPED):
        frame = frame.f_back  # type: ignore[assignment]
    return "" if frame is None else _told(frame.f_code.co_filename, frame.f_lineno)


def raised_at(error: BaseException) -> str:
    """File, line and text of the innermost statement, neither torch's nor ours, that an error came from."""
    found, at = "", error.__traceback__
    while at is not None:
        file = at.tb_frame.f_code.co_filename
        found = found if file.startswith(_SKIPPED) else _told(file, at.tb_lineno)
        at = at.tb_next
    return found


def _told(file: str, line: int) -> str:
    text = shorten(linecache.getline(file, line).strip(), _MOST_TEXT, placeholder=" …")
    return f"{Path(file).name}:{line}: {text}" if text else f"{Path(file).name}:{line}"
