"""A case is run: conversion, then every question that it asks, each compared with the truth."""

import signal
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch._dynamo  # loaded when first needed otherwise, and an import must not be stopped half-way
from fuzz.build import build, example
from fuzz.laws import tnsim_law
from fuzz.truth import Truth

import tnsim

__all__ = ["ALLOWED", "Mismatch", "Run", "close", "passes"]

TOLERANCE = 1e-11
"""Rounding allowed, relative to the sum of absolute values: 5e4 ε, for some hundred operations of a few ε each
and polarisation, which multiplies these by up to 4 a layer. A sum in which all but 1e-3 cancels is still decided to
1e-8, where a wrong permutation changes it by about its size."""

ALLOWED = (tnsim.CostError, tnsim.ConvertError, tnsim.MeasureError, tnsim.ComposeError)


class Mismatch(AssertionError):
    """tnsim says one number, the truth another."""


@dataclass
class Run:
    """What a question is given."""

    case: object
    truth: Truth
    modules: tuple
    nets: tuple
    law: object
    budget: float = 1e9
    tally: Counter = field(default_factory=Counter)

    @property
    def options(self):
        limits = {"memory": self.case.memory} if self.case.memory else {}
        return {"under": self.law, "budget": self.budget, **limits}


def close(what, got, want, bound, tolerance=TOLERANCE):
    """Assert that numbers agree up to ``tolerance`` times ``bound``; say whether that decides anything."""
    got, want = (torch.as_tensor(v, dtype=torch.float64).detach() for v in (got, want))
    if got.numel() != want.numel():
        raise Mismatch(f"{what}: shape {tuple(got.shape)}, not {tuple(want.shape)}")
    got = got.reshape(want.shape)
    bound = torch.as_tensor(bound, dtype=torch.float64)
    allowed = tolerance * torch.broadcast_to(bound, want.shape) + 1e-290
    if not bool(want.isfinite().all()):
        return False
    bad = ~((got - want).abs() <= allowed)
    if bool(bad.any()):
        k = int(bad.flatten().nonzero()[0])
        g, w, t = (v.flatten()[k].item() for v in (got, want, allowed))
        raise Mismatch(f"{what}: got {g:.12g}, want {w:.12g} ± {t:.2g} (entry {k} of {want.numel()})")
    return bool((allowed <= 1e-3 * want.abs().max()).all())


def open_run(case):
    """Convert the two modules; checked at random points as well."""
    truth = Truth(case)
    modules = tuple(build(m) for m in (case.a, case.b))
    nets = []
    for module, spec, slow, major in zip(
        modules, (case.a, case.b), truth.modules, truth.majorants, strict=True
    ):
        net = tnsim.convert(module, example(spec))
        x = _inputs(spec)
        close("convert", net(x), slow(x), major(x if spec.vocab else x.abs()))
        nets.append(net)
    flat = case.a.n_ctx > 1 and len(nets[0].domain) == 1
    return Run(case, truth, modules, tuple(nets), tnsim_law(case.law, case.a, flat))


def _inputs(spec, n=3):
    if spec.vocab:
        return torch.randint(spec.vocab, (n, spec.n_ctx), generator=torch.Generator().manual_seed(5))
    shape = (spec.n_ctx, spec.n_in) if spec.n_ctx else (spec.n_in,)
    return torch.randn(n, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


def refusal(error):
    """Whether an error is tnsim's own and says what to do: raised by tnsim, not by a library below it."""
    if "differs from" in str(error):
        return False  # the self-check of conversion: what is drawn keeps no state, so the conversion is wrong
    if isinstance(error, ALLOWED):
        return True
    frames = traceback.extract_tb(error.__traceback__)
    own = "/tnsim/" in frames[-1].filename and "/tests/" not in frames[-1].filename
    own = own and frames[-1].line.startswith("raise ")
    return own and type(error) in (ValueError, KeyError, TypeError) and len(str(error)) > 20


def place(error):
    """Where an error arose: the innermost function of tnsim."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/tnsim/" in f.filename]
    return f"{frames[-1].filename.rsplit('/tnsim/', 1)[-1]}:{frames[-1].name}" if frames else "tests"


def passes(case, questions, seconds=1.5, most=2):
    """Run a case until ``most`` of its questions applied; what happened to each, as (question, outcome, text)."""
    try:
        with limited(seconds):
            run = open_run(case)
    except (Exception, Slow) as error:  # sorted by kind below
        return [("convert", *_outcome(error, "convert"))]
    found = [("convert", "equal", "")]
    for name in case.ask:
        if sum(outcome != "not asked" for _, outcome, _ in found) > most:
            break
        try:
            with limited(seconds):
                decided = questions[name](run)
        except (Exception, Slow) as error:
            found.append((name, *_outcome(error, name)))
        else:
            found.append((name, {True: "equal", False: "undecided"}.get(decided, "not asked"), ""))
    return found


class Slow(BaseException):
    """A question took longer than it may."""


@contextmanager
def limited(seconds):
    """Stop what takes more seconds of processor time."""

    def stop(signum, frame):
        raise Slow(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 0.5)  # again, where a callback swallows the first
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _outcome(error, name):
    if isinstance(error, Slow):
        return "slow", f"at {place(error)}"
    if isinstance(error, Mismatch):
        return "mismatch", str(error)
    if refusal(error):
        return "refused", f"{type(error).__name__} at {place(error)}: {str(error)[:150]}"
    return "crash", f"{type(error).__name__} at {place(error)}: {str(error)[:150]}"
