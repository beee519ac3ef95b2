"""Contractions of single networks, against einsum."""

import tracemalloc

import numpy as np
import pytest
import quimb.tensor as qtn
import torch

from tnsim.engine.contract import Contraction


def test_any_number_of_indices_of_size_one():
    """einsum has letters for 52 indices; two tensors here share more, beside one that is kept in both."""
    rng = np.random.default_rng(0)
    many = [f"i{k}" for k in range(30)]
    a, b = torch.tensor(rng.normal(size=(3, 2))), torch.tensor(rng.normal(size=(3, 2)))
    left = qtn.Tensor(a.reshape(3, 2, *[1] * 30), ["run", "kept", *many])
    right = qtn.Tensor(b.reshape(3, 2, *[1] * 30), ["run", "other", *reversed([f"o{ix}" for ix in many])])
    got = Contraction((left, right), ("run", *many, "kept", "other")).value()
    assert got.shape == (3, *[1] * 30, 2, 2)
    torch.testing.assert_close(got.reshape(3, 2, 2), torch.einsum("ra,rb->rab", a, b))


def test_everything_may_be_of_size_one():
    x = qtn.Tensor(torch.tensor([[2.0]]), ["a", "b"])
    y = qtn.Tensor(torch.tensor([3.0]), ["b"])
    assert Contraction((x, y), ("a",), weight=0.5).value().tolist() == [3.0]
    assert Contraction((x, y), ()).value().shape == ()


def test_output_indices_that_fall_together():
    """Two or three that are joined are kept apart by identities."""
    x, y = torch.randn(3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    tensors = tuple(
        qtn.Tensor(data, inds) for data, inds in ((x, ["a"]), (y, ["b", "k"]), (torch.ones_like(x), ["c"]))
    )
    two = Contraction(tensors[:2], ("a", "k", "b"), joins={"b": "a"}).value()
    torch.testing.assert_close(two, torch.einsum("a,ak,ab->akb", x, y, eye))
    three = Contraction(tensors, ("c", "a", "k", "b"), joins={"b": "a", "c": "a"}).value()
    torch.testing.assert_close(three, torch.einsum("a,ak,ab,ac->cakb", x, y, eye, eye))
    often = Contraction(tensors[:1], ("a", "a", "a")).value()
    torch.testing.assert_close(often, torch.einsum("a,ab,ac->abc", x, eye, eye))


@pytest.mark.parametrize("turned", [False, True])
def test_a_weight_is_no_copy_of_the_largest_tensor(turned):
    """It multiplies the smallest, wherever that stands."""
    large = qtn.Tensor(np.ones((1000, 1000)), ["a", "b"])
    small = [qtn.Tensor(np.ones(1000), ["b"]), qtn.Tensor(np.ones(1000), ["a"])]
    tensors = (*small, large) if turned else (large, *small)
    value = Contraction(tensors, (), weight=0.5).value()
    assert value == 500_000
    tracemalloc.start()
    Contraction(tensors, (), weight=0.5).value()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < large.data.nbytes / 4


@pytest.mark.parametrize("size", [1, 2])
def test_an_index_has_one_size(size):
    x = qtn.Tensor(np.ones((size, 3)), ["a", "b"])
    y = qtn.Tensor(np.ones(4), ["b"])
    with pytest.raises(ValueError, match="index b has size 3 on one tensor and 4 on another"):
        Contraction((x, y), ("a",)).value()


def test_size_one_does_not_stand_for_another_size():
    """A sum over an index of size 3 that is 1 elsewhere would be wrong in silence."""
    x, y = qtn.Tensor(np.ones(1), ["a"]), qtn.Tensor(np.ones(3), ["a"])
    with pytest.raises(ValueError, match="index a has size 1 on one tensor and 3 on another"):
        Contraction((x, y), ()).value()
