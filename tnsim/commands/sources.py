"""Models that a command is given: network files as they are, checkpoints with the class that they belong to."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from tnsim.algebra import Network
from tnsim.convert import convert
from tnsim.disk import Checkpoints, checkpoints, load, load_network
from tnsim.disk.networks import is_network_file

__all__ = ["ModelSource", "SourceError"]


class SourceError(ValueError):
    """Models cannot be had from what the command line says; the message says what to write."""


@dataclass(frozen=True)
class ModelSource:
    """How models are made of files.

    Attributes:
        model: ``module:Class``, or a function that builds the module; the present folder can be imported from.
        arguments: of its constructor, as JSON: a list, or a table by name.
        shape: the shape of one input, such as ``1,28,28``, where weights do not tell.
        tokens: the number of token ids that it reads, for models of tokens.
        key: which part of a checkpoint, where several fit.
        names: what checkpoints call their weights, and what the module calls them, as JSON.
    """

    model: str | None = None
    arguments: str | None = None
    shape: str | None = None
    tokens: int | None = None
    key: str | None = None
    names: str | None = None

    def network(self, path: str) -> Network:
        """One model.

        Raises:
            SourceError: if the command line does not say how to make it.
            ValueError: if the file cannot be read, does not fit, or the model does not convert.
        """
        if is_network_file(path):
            with torch.no_grad():
                return load_network(path)
        if not Path(path).expanduser().exists():
            raise FileNotFoundError(f"there is no file {path}.")
        model = load(self.make(path)(), path, names=self._table("names", self.names), key=self.key)
        return self._converted(model)

    def run(self, patterns: Sequence[str], progress: bool) -> tuple[list[Network], tuple[Any, ...]]:
        """The models of patterns, folders or files, in the order of training, and their labels."""
        given = patterns[0] if len(patterns) == 1 else list(patterns)
        run: Checkpoints = checkpoints(
            given, self._maker, names=self._table("names", self.names), key=self.key
        )
        bar = tqdm(run, "reading", disable=not progress, delay=2, leave=False, file=sys.stderr)
        return [m if isinstance(m, Network) else self._converted(m) for m in bar], run.labels

    def make(self, path: str) -> Callable[[], nn.Module]:
        """What builds a module for the weights of a file."""
        if self._maker is None:
            raise SourceError(
                f"{path} holds weights alone: say what they belong to with --model my_module:MyModel, or write a network "
                "file with tnsim convert."
            )
        return self._maker

    @property
    def _maker(self) -> Callable[[], nn.Module] | None:
        if self.model is None:
            return None
        build = _found(self.model)
        if isinstance(build, nn.Module):
            return lambda: build
        given = self._table("args", self.arguments)
        positional, named = (given, {}) if isinstance(given, list) else ((), given or {})

        def make() -> nn.Module:
            try:
                model = build(*positional, **named)
            except Exception as error:  # whatever the user's own code raises
                raise SourceError(
                    f"{self.model} could not be built ({type(error).__name__}: {error}). Arguments of its constructor go "
                    "into --args, as JSON: --args '[64, 10]' or --args '{\"width\": 64}'."
                ) from error
            if not isinstance(model, nn.Module):
                raise SourceError(
                    f"{self.model} gives a {type(model).__name__}; it is to give a torch.nn.Module."
                )
            return model

        return make

    def _converted(self, model: nn.Module) -> Network:
        with torch.no_grad():
            return convert(model, self._example)

    @property
    def _example(self) -> torch.Tensor | None:
        if self.tokens is not None:
            return torch.zeros(1, self.tokens, dtype=torch.long)
        if self.shape is None:
            return None
        try:
            return torch.zeros(1, *(int(n) for n in self.shape.replace("x", ",").split(",")))
        except (ValueError, RuntimeError):
            raise SourceError(
                f"--shape {self.shape} is no shape of an input; write sizes, such as --shape 1,28,28."
            ) from None

    @staticmethod
    def _table(option: str, text: str | None) -> Any:
        if text is None:
            return None
        try:
            found = json.loads(text)
        except ValueError as error:
            raise SourceError(f"--{option} is no JSON ({error}).") from None
        if not isinstance(found, dict if option == "names" else dict | list):
            raise SourceError(
                f"--{option} {text} is a {type(found).__name__}; write a table, such as '{{\"a\": 1}}'."
            )
        return found


def _found(model: str) -> Any:
    """What ``module:name`` is."""
    where, _, name = model.partition(":")
    if not where or not name:
        raise SourceError(f"--model {model}: write a module and a class, such as --model my_module:MyModel.")
    where = where.removesuffix(".py").replace("/", ".")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found: Any = import_module(where)
    except Exception as error:  # whatever the user's own code raises
        raise SourceError(
            f"--model {model}: importing {where} failed ({type(error).__name__}: {error}). Modules of {here} and "
            "installed ones can be imported."
        ) from error
    finally:
        sys.path.remove(here)
    for part in name.split("."):
        if not hasattr(found, part):
            offered = [k for k, v in vars(found).items() if isinstance(v, type) and issubclass(v, nn.Module)]
            raise SourceError(
                f"--model {model}: {where} has no {name}; it has {', '.join(offered) or 'no modules'}."
            )
        found = getattr(found, part)
    return found
