"""Empty results of operations have the shape and the dtype that torch's own rules give, without loading its compiler."""

import operator
import subprocess
import sys

import pytest
import torch

from tnsim.analysis.tracing.outlines import outlined


def empty(*shape, dtype=torch.float64):
    return torch.empty(shape, dtype=dtype, device="meta")


ROW, TABLE, MASK = empty(4), empty(3, 4), empty(3, 1, dtype=torch.bool)
CASES = {
    "add": (torch.add, (TABLE, ROW)),
    "method": (torch.Tensor.mul, (TABLE, 2.0)),
    "operator": (torch.Tensor.__rsub__, (ROW, 1)),
    "power of a number": (torch.Tensor.__rpow__, (ROW, 2.0)),
    "unary": (torch.log2, (TABLE,)),
    "comparison": (torch.gt, (TABLE, ROW)),
    "or": (torch.Tensor.__or__, (MASK, MASK[0])),
    "where": (torch.where, (MASK, TABLE, ROW)),
    "where with a number": (torch.where, (MASK, TABLE, 0.0)),
    "cat": (torch.cat, ([TABLE, TABLE],)),
    "stack": (torch.stack, ([TABLE, TABLE], -1)),
    "eye": (torch.eye, (3,)),
    "sum": (torch.sum, (TABLE, 1)),
    "sum over several": (torch.sum, (TABLE, (0, 1))),
    "sum of all": (torch.sum, (TABLE,)),
    "largest": (torch.amax, (TABLE, 1)),
    "norm": (torch.linalg.norm, (TABLE, float("inf"), 1)),
    "norm of all": (torch.linalg.norm, (TABLE,)),
    "another dtype": (torch.add, (TABLE, empty(4, dtype=torch.float32))),
    "whole numbers": (torch.div, (empty(4, dtype=torch.long), 2)),
    "a number as a tensor": (torch.add, (empty(4, dtype=torch.float32), empty())),
    "matmul": (torch.matmul, (TABLE, ROW)),
    "matmul of matrices": (torch.matmul, (TABLE, empty(4, 2))),
    "matmul of stacks": (operator.matmul, (empty(5, 1, 3, 4), empty(2, 4, 6))),
}


@pytest.mark.parametrize("name", CASES)
def test_as_torch(name):
    fn, args = CASES[name]
    options = dict(device="meta", dtype=torch.float64) if name == "eye" else {}
    got, want = outlined(fn, args, options), fn(*args, **options)
    assert (got.shape, got.dtype, got.device) == (want.shape, want.dtype, want.device)


def test_operands_by_name():
    for fn, named in (
        (torch.clamp, dict(input=TABLE, min=-1.0, max=None)),
        (torch.add, dict(input=TABLE, other=ROW, alpha=2)),
        (torch.div, dict(input=TABLE, other=ROW, rounding_mode="floor")),
    ):
        got, want = outlined(fn, (), named), fn(**named)
        assert (got.shape, got.dtype) == (want.shape, want.dtype)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_along_an_axis(dim):
    for fn in (torch.cat, torch.stack):
        for given in ((([TABLE, TABLE], dim), {}), (([TABLE, TABLE],), dict(dim=dim))):
            assert outlined(fn, *given).shape == fn(*given[0], **given[1]).shape


def test_what_does_not_fit_is_still_torchs_to_refuse():
    for fn, args in ((torch.add, (TABLE, empty(5))), (torch.cat, ([TABLE, empty(3, 5)],))):
        with pytest.raises(RuntimeError):
            outlined(fn, args, {})


def test_tensors_with_values_are_computed():
    x = torch.ones(2)
    assert torch.equal(outlined(operator.add, (x, x), {}), x + x)
    assert torch.equal(outlined(torch.add, (x, x), {}), x + x)


@pytest.mark.slow  # in another file, of several questions
def test_a_first_question_does_not_load_the_compiler():
    script = (
        "import sys, torch, tnsim; a, b = (tnsim.nn.BilinearMLP(4, 4, 4, 2, 2, 'add', bias=True) for _ in 'ab');"
        "tnsim.similarity(a, b); tnsim.similarity(a, b, method='layerwise'); tnsim.gram([a, b], progress=False);"
        "assert 'torch._dynamo' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
