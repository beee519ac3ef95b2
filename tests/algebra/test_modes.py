"""Bills, tapes and limits: they watch what is done, or slice it, and change no value."""

import threading

import pytest
import torch
from zoo import network

from tnsim.engine.costs import capped, current_bill, current_cap, paying, pricing
from tnsim.engine.effort import planning
from tnsim.engine.tapes import Tape, current_tape, taping
from tnsim.measure import Gaussian, expect

WATCHING = {
    "paying": paying,
    "taping": lambda: taping(Tape([], torch.is_tensor)),
    "planning": lambda: planning(1e9),
}


def value(f):
    return expect((f, f), Gaussian())


@pytest.fixture
def f():
    torch.manual_seed(0)
    return network(2, bias=True).collapse()


@pytest.mark.parametrize("name", WATCHING)
def test_values_are_those_of_nobody_watching(f, name):
    want = value(f)
    with WATCHING[name]():
        assert torch.equal(value(f), want)
    with WATCHING[name](), paying():
        assert torch.equal(value(f), want)


def test_slices_are_rounded_otherwise_at_most(f):
    want = value(f)
    with capped(2048):
        torch.testing.assert_close(value(f), want, rtol=1e-12, atol=1e-12)


def modes():
    return current_bill(), current_tape(), current_cap()


@pytest.mark.parametrize("mode", [pricing, paying, lambda: capped(64), WATCHING["taping"]])
def test_nothing_stays_behind_an_error(mode):
    before = modes()
    with pytest.raises(ZeroDivisionError), mode():
        assert modes() != before
        raise ZeroDivisionError
    assert modes() == before


def test_another_thread_does_not_see_them(f):
    """It computes while this one only asks for the price."""
    want, found = value(f), []
    with pricing(), capped(64):
        assert value(f).device.type == "meta"
        other = threading.Thread(target=lambda: found.append((modes(), value(f))))
        other.start()
        other.join()
    ((bill, tape, cap), got) = found[0]
    assert bill is None and tape is None and cap == float("inf")
    assert torch.equal(got, want)
