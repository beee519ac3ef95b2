"""A case that fails is made smaller, as long as it fails in the same way."""

from dataclasses import replace

from fuzz.check import passes
from fuzz.spec import children

__all__ = ["shrunk"]

WRONG = ("mismatch", "crash")


def shrunk(case, questions, most=100):
    """The smallest case found that fails as this one does; tries at most so many."""
    kind = _failure(case, questions)
    if kind is None:
        return case
    case, tried = replace(case, ask=(kind[0],) if kind[0] != "convert" else ()), 0
    again = True
    while again and tried < most:
        again = False
        for smaller in sorted(_smaller(case), key=_size):
            tried += 1
            if tried > most:
                break
            if _size(smaller) < _size(case) and _failure(smaller, questions) == kind:
                case, again = smaller, True
                break
    return case


def _failure(case, questions):
    """The first question that is answered wrongly, and how."""
    if case.a.widths[-1] != case.b.widths[-1]:
        return None
    try:
        rows = passes(case, questions, seconds=5)
    except Exception:  # no such module
        return None
    return next(
        ((name, outcome, text.split(":")[0]) for name, outcome, text in rows if outcome in WRONG), None
    )


def _size(case):
    return len(repr(case))


def _smaller(case):
    for side in ("a", "b"):
        for model in _models(getattr(case, side)):
            yield replace(case, **{side: model})
    for both in _models(case.a):
        yield replace(case, a=both, b=both)
        yield replace(case, a=both, b=replace(both, seed=both.seed + 1))
    yield replace(case, b=replace(case.a, seed=1), a=replace(case.a, seed=0))
    yield replace(case, b=case.a)
    for change in ({"memory": 0.0},):
        yield replace(case, **change)
    for change in ({"mean": False}, {"cov": ""}, {"seed": 0}, {"seed": 1}, {"kind": "gaussian"}):
        yield replace(case, law=replace(case.law, **change))
    if case.a.n_ctx > 1:
        yield replace(
            case, a=replace(case.a, n_ctx=case.a.n_ctx - 1), b=replace(case.b, n_ctx=case.a.n_ctx - 1)
        )
    if case.a.n_in > 1:
        yield replace(case, a=replace(case.a, n_in=case.a.n_in - 1), b=replace(case.b, n_in=case.a.n_in - 1))


def _models(model):
    yield replace(model, order=(), names=())
    yield replace(model, names=())
    yield replace(model, seed=0)
    yield replace(model, form="named")
    yield replace(model, dtype="float64")
    for i in range(len(model.layers)):
        if len(model.layers) > 1:
            yield replace(model, layers=model.layers[:i] + model.layers[i + 1 :], order=(), names=())
        for e in _expressions(model.layers[i]):
            yield replace(model, layers=(*model.layers[:i], e, *model.layers[i + 1 :]))


def _expressions(e):
    """An expression with one of its parts left out or made plain."""
    yield from children(e)
    if e[0] in ("linear", "matrix"):
        for k, plain in (
            ((1, "w"), (3, False), (4, "full"), (5, 1.0)) if e[0] == "linear" else ((1, "w"), (3, "full"))
        ):
            yield (*e[:k], plain, *e[k + 1 :])
    if e[0] == "attend":
        for k, plain in ((1, "w"), (2, 1), (3, "score"), (4, False), (5, False)):
            yield (*e[:k], plain, *e[k + 1 :])
    for k, c in enumerate(e):
        if isinstance(c, tuple) and c and isinstance(c[0], str):
            for smaller in _expressions(c):
                yield (*e[:k], smaller, *e[k + 1 :])
