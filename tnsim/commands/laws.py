"""Laws of the input as the command line names them: ``--under``."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tnsim.disk.tensorfile import check_content, read_tensors
from tnsim.measure import Empirical, Frobenius, Gaussian, MarkovChain, Measure, Symmetric, Tokens

__all__ = ["LawError", "law_of"]

_PLAIN: dict[str, Callable[[], Measure]] = {
    "gaussian": Gaussian,
    "symmetric": Symmetric,
    "frobenius": Frobenius,
}
_OF_DATA: dict[str, Callable[[Any], Measure]] = {
    "gaussian": Gaussian.of,
    "empirical": Empirical,
    "tokens": Tokens.of,
    "markov": MarkovChain.of,
}
_FILE = re.compile(r"^(?P<path>.*?)(\[(?P<name>[^\[\]]+)\])?$")


class LawError(ValueError):
    """``--under`` names no law; the message says what to write."""


def law_of(text: str) -> Measure:
    """A law: ``gaussian``, ``symmetric``, ``frobenius``; or of data, as ``empirical:FILE``.

    Args:
        text: the law; of data ``gaussian``, ``empirical``, ``tokens`` or ``markov`` with a file: ``.npy``, ``.npz``,
            ``.safetensors`` or what ``torch.save`` wrote. The name of an array stands in brackets where it holds several:
            ``gaussian:data.npz[x_test]``.

    Raises:
        LawError: for another name, or a file that does not hold one array.
        ValueError: if the file cannot be read, or the law cannot be made of it.

    Example:
        >>> law_of("symmetric")
        Symmetric()
    """
    kind, colon, file = text.partition(":")
    if kind not in (_OF_DATA if colon else _PLAIN):
        raise LawError(
            f"--under {text} is no law; write {', '.join(_PLAIN)}, or of data {', '.join(f'{k}:FILE' for k in _OF_DATA)}."
        )
    return _OF_DATA[kind](_data(text, file)) if colon else _PLAIN[kind]()


def _data(text: str, file: str) -> torch.Tensor:
    found = _FILE.match(file)
    assert found is not None
    path, name = Path(found["path"]).expanduser(), found["name"]
    if not path.is_file():
        raise FileNotFoundError(f"--under {text}: there is no file {path}.")
    check_content(path)
    held = _arrays(path)
    if name is None and len(held) != 1:
        raise LawError(f"--under {text}: {path} holds {', '.join(held) or 'no arrays'}; write {file}[NAME].")
    if name is not None and name not in held:
        raise LawError(f"--under {text}: {path} has no {name}; it holds {', '.join(held)}.")
    x = torch.as_tensor(held[name] if name else next(iter(held.values())))
    return x.double() if x.is_floating_point() or text.startswith(("gaussian", "empirical")) else x


def _arrays(path: Path) -> dict[str, Any]:
    if path.suffix not in (".npy", ".npz"):
        content = read_tensors(path)
        content = content if isinstance(content, dict) else {path.stem: content}
        return {str(k): x for k, x in content.items() if isinstance(x, torch.Tensor)}
    try:
        held = np.load(path, allow_pickle=False)
        return {path.stem: held} if isinstance(held, np.ndarray) else {k: held[k] for k in held.files}
    except Exception as error:  # numpy raises whatever damage makes it raise
        raise LawError(f"{path} cannot be read ({error}).") from None
