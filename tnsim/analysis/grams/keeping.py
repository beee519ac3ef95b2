"""A Gram matrix in a file: numbers as safetensors, labels and law beside them as JSON. No code, no pickle."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as save_tensors

from tnsim.common.files import replace_file
from tnsim.common.values import numbers
from tnsim.disk.tensorfile import check_content
from tnsim.measure.laws.empirical import Empirical
from tnsim.measure.laws.gaussian import Gaussian
from tnsim.measure.laws.mixture import Mixture
from tnsim.measure.laws.tensorial import Frobenius, Symmetric
from tnsim.measure.laws.token_laws import MarkovChain, Tokens
from tnsim.measure.pairings.measure import Measure, MeasureError

__all__ = ["Kept"]

_FORMAT = "tnsim gram 1"
_LAWS = {
    kind.__name__: kind for kind in (Gaussian, Symmetric, Frobenius, Empirical, Tokens, MarkovChain, Mixture)
}
_OURS = TypeVar("_OURS", bound="Kept")


class Kept:
    """What a Gram matrix has in common with a file of it."""

    mantissas: Any
    labels: tuple[Any, ...]
    under: Measure
    method: Any
    apart: bool
    units: Any
    notes: tuple[str, ...]
    drawn: Any

    def save(self, path: str | os.PathLike[str]) -> None:
        """Keep it in a file, with labels and law, in the place of what was there.

        Args:
            path: where; ``.safetensors`` says what it is.

        Raises:
            ValueError: if the law is one of your own, of which a file cannot tell; or if the matrix was sampled: what its
                errors come from is kept by ``gram(..., checkpoint=)``.
        """
        if self.drawn is not None:
            raise ValueError(
                "this matrix was sampled, and its errors would be lost; gram(..., error=, checkpoint=path) keeps it "
                "with its draws."
            )
        tensors: dict[str, torch.Tensor] = {}
        content = {
            "format": _FORMAT,
            "labels": [_plain(label) for label in self.labels],
            "method": self.method,
            "apart": self.apart,
            "notes": list(self.notes),
            "under": _told(self.under, "under", tensors),
        }
        for name, x in (("mantissas", self.mantissas), ("units", self.units)):
            tensors[name] = torch.as_tensor(numbers(x))
        held = {name: x.contiguous().clone() for name, x in tensors.items()}
        replace_file(Path(path), save_tensors(held, {"tnsim": json.dumps(content)}))

    @classmethod
    def load(cls: type[_OURS], path: str | os.PathLike[str]) -> _OURS:
        """Read what :meth:`save` wrote. No code of the file is run.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if it is damaged, or something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}.")
        check_content(path)
        try:
            with safe_open(path, "pt") as file:
                content = json.loads((file.metadata() or {}).get("tnsim", "{}"))
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
            if content.get("format") != _FORMAT:
                raise ValueError("it holds no Gram matrix of this version")
            mantissas, labels = tensors["mantissas"], tuple(content["labels"])
            if mantissas.ndim != 3 or mantissas.shape[1:] != (len(labels),) * 2:
                raise ValueError("matrix and labels do not fit together")
            if content["method"] not in ("exact", "layerwise") or not isinstance(content["apart"], bool):
                raise ValueError("it does not say how it was made")
            under = _made(content["under"], tensors)
            gram: Any = cls
            how = content["method"], content["apart"], tensors["units"], tuple(map(str, content["notes"]))
            found: _OURS = gram(mantissas, labels, under, *how)
            return found
        except (
            SafetensorError,
            OSError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
            MeasureError,
        ) as error:
            raise ValueError(f"{path} is damaged ({type(error).__name__}: {error}).") from None
        except ValueError as error:
            raise ValueError(f"{path} cannot be read: {error}.") from None


def _plain(label: Any) -> Any:
    if isinstance(label, str | int | float | bool | None):
        return label
    return label.item() if isinstance(label, np.generic) or getattr(label, "ndim", 1) == 0 else str(label)


def _told(law: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """A law, or a part of one, for JSON; its arrays among the tensors, under names that the text refers to."""
    if law is None or isinstance(law, str | int | float | bool):
        return law
    if isinstance(law, Measure):
        if type(law) is not _LAWS.get(type(law).__name__):
            raise ValueError(
                f"a file cannot tell of {law!r}: it is no law of tnsim's. Keep gram.similarity() instead."
            )
        parts = [f.name for f in fields(law) if f.init] if hasattr(law, "__dataclass_fields__") else []
        return {
            "law": type(law).__name__,
            **{k: _told(getattr(law, k), f"{name}.{k}", tensors) for k in parts},
        }
    if isinstance(law, list | tuple):
        return [_told(x, f"{name}.{k}", tensors) for k, x in enumerate(law)]
    tensors[name] = torch.as_tensor(numbers(law))
    return {"tensor": name}


def _made(told: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(told, list):
        return tuple(_made(x, tensors) for x in told)
    if not isinstance(told, dict):
        return told
    if "tensor" in told:
        return tensors[told["tensor"]]
    kind: Any = _LAWS[told["law"]]
    return kind(**{k: _made(x, tensors) for k, x in told.items() if k != "law"})
