"""A rule stands in for the forward of a module, and is checked against it."""

import subprocess
import sys

import pytest
import torch
from module_zoo import Opaque
from modules import fails
from torch import nn

from tnsim.algebra import poly
from tnsim.convert import convert, register


def test_a_rule_keeps_its_own_tags_and_gradient():
    model = nn.Sequential(Opaque(), nn.Linear(4, 3)).double()
    net = convert(model)
    assert [next(iter(t.tags)) for t in net["0"].terms[0].tensors] == ["A", "B"]
    net(torch.randn(2, 6)).sum().backward()
    assert model[0].w.grad is not None


def test_rules_are_checked():
    class Leaf(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Linear(4, 2)

        def forward(self, x, y=None):
            return self.w(x)

    made = {}
    register(Leaf)(lambda module: made["rule"](module))
    model = nn.Sequential(Leaf(), nn.Linear(2, 2))

    made["rule"] = lambda m: m.w.weight
    fails(model, 'the rule for Leaf at "0" returns a', "must return a Poly", example=torch.zeros(4))
    made["rule"] = lambda m: poly("W[out,in0]", W=m.w.weight) + m.w.bias
    assert convert(model).degree == 1
    made["rule"] = lambda m: poly("W[out,in0]", W=torch.ones(2, 5))
    fails(model, "the rule for Leaf reads 5 features but is given 4", 'at "0"', example=torch.zeros(4))
    made["rule"] = lambda m: poly("W[out,in0]", W=torch.ones(3, 4))
    fails(model, "returns 3 features but its forward returns 2", example=torch.zeros(4))
    made["rule"] = lambda m: poly("W[out,in0]", W=m.w.weight)  # forgets the bias
    fails(model, "differs from Sequential", example=torch.zeros(4))

    with pytest.raises(TypeError, match="class of modules"):
        register(model)


def test_the_function_and_the_package_share_a_name():
    code = (
        "import tnsim, torch\n"
        "from tnsim.convert import ConvertError, register\n"
        "assert callable(tnsim.convert) and tnsim.convert.register is register\n"
        "import tnsim.convert as again\n"
        "assert again is tnsim.convert\n"
        "print(tnsim.convert(torch.nn.Linear(2, 2)).names)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "('linear',)", done.stderr
