"""The pretend accelerator is as strict as it says, and counts."""

import pytest
import torch
from pretend import DEVICE, counting, lacking

X = torch.arange(6, dtype=torch.float64).reshape(2, 3)


def test_it_computes():
    x = X.to(DEVICE)
    assert x.device == DEVICE and torch.equal((x @ x.T).cpu(), X @ X.T)
    assert torch.equal(torch.zeros(2, device=DEVICE).cpu(), torch.zeros(2))
    assert torch.equal(torch.tensor([1.0, 2.0], device=DEVICE).cpu(), torch.tensor([1.0, 2.0]))


def test_gradients_and_functions():
    x = X.to(DEVICE).requires_grad_(True)
    (x**3).sum().backward()
    assert x.grad.device == DEVICE and torch.equal(x.grad.cpu(), 3 * X**2)
    got = torch.func.vmap(lambda row: (row * row).sum())(x.detach())
    assert torch.equal(got.cpu(), (X * X).sum(1))


def test_modules_move():
    module = torch.nn.Linear(3, 2).double()
    want = module(X)
    module.to(DEVICE)
    assert isinstance(module.weight, torch.nn.Parameter) and module.weight.device == DEVICE
    torch.testing.assert_close(module(X.to(DEVICE)).cpu(), want)


@pytest.mark.parametrize(
    "act",
    [
        lambda x: x + X,
        lambda x: x @ X.T,
        lambda x: torch.cat([x, X]),
        lambda x: x[torch.tensor([0, 1])],
        lambda x: X[torch.tensor([0, 1], device=DEVICE)],
        lambda x: x.index_select(0, torch.tensor([0])),
        lambda x: x.detach().numpy(),
        lambda x: torch.from_dlpack(x),
        lambda x: torch.randn(3, device=DEVICE),
        lambda x: torch.rand_like(x),
        lambda x: torch.randperm(3, device=DEVICE),
    ],
)
def test_it_refuses(act):
    with pytest.raises((RuntimeError, TypeError, BufferError)):
        act(X.to(DEVICE))


def test_numbers_are_taken():
    x = X.to(DEVICE)
    assert torch.equal((x * torch.tensor(2.0)).cpu(), X * 2)


@pytest.mark.parametrize(
    ("act", "to", "back", "reads"),
    [
        (lambda x: x + 1, 0, 0, 0),
        (lambda x: X.to(DEVICE), 1, 0, 0),
        (lambda x: torch.tensor([1.0], device=DEVICE), 1, 0, 0),
        (lambda x: torch.as_tensor(X, device=DEVICE), 1, 0, 0),
        (lambda x: x[[0, 1]], 1, 0, 0),
        (lambda x: x.copy_(X), 1, 0, 0),
        (lambda x: x.cpu(), 0, 1, 0),
        (lambda x: X.clone().copy_(x), 0, 1, 0),
        (lambda x: x.tolist(), 0, 1, 0),
        (lambda x: x.sum().item(), 0, 0, 1),
        (lambda x: float(x.sum()), 0, 0, 1),
        (lambda x: bool((x > -1).all()), 0, 0, 1),
        (lambda x: torch.equal(x, x), 0, 0, 1),
        (lambda x: x.nonzero(), 0, 0, 1),
        (lambda x: x[x > 1], 0, 0, 1),
        (lambda x: f"{x.sum():.3f}", 0, 0, 1),
    ],
)
def test_it_counts(act, to, back, reads):
    x = X.to(DEVICE)
    with counting() as counts:
        act(x)
    assert (counts.to, counts.back, counts.reads.total()) == (to, back, reads), counts


def test_it_may_lack_double():
    with lacking(torch.float64):
        with pytest.raises(TypeError, match="float64"):
            X.to(DEVICE)
        with pytest.raises(TypeError, match="float64"):
            torch.ones(2, dtype=torch.float64, device=DEVICE)
        assert X.float().to(DEVICE).dtype == torch.float32
    assert X.to(DEVICE).dtype == torch.float64
