"""What a newcomer does first, in an empty folder with the Python of an environment without extras: ``python smoke.py``."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import basics
import torch
from torch import nn

import tnsim


def says(*command):
    """What a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def questions():
    """Convert, ask, keep and read again."""
    torch.manual_seed(0)
    for name in ("a", "b"):
        model = nn.Sequential(nn.Linear(5, 4), tnsim.nn.BilinearLayer(4, 6, 3)).double()
        net, x = tnsim.convert(model), torch.randn(7, 5, dtype=torch.float64)
        torch.testing.assert_close(net(x), model(x))
        tnsim.save(net, f"{name}.safetensors")
        assert torch.equal(tnsim.load_network(f"{name}.safetensors")(x), net(x))
        assert abs(float(tnsim.similarity(net, model)) - 1) < 1e-12


def command():
    """The command, installed and as a module, says what the function says."""
    tool = Path(sys.executable).with_name("tnsim")
    nets = ("a.safetensors", "b.safetensors")
    expected = float(tnsim.similarity(*map(tnsim.load_network, nets)))
    assert says(tool, "--version").strip() == f"tnsim {tnsim.__version__}"
    assert "compare" in says(sys.executable, "-m", "tnsim", "--help")
    assert f"similarity {expected:+.6f}" in says(tool, "compare", *nets)


def pictures():
    """There is no matplotlib, and a picture is refused with what to write."""
    assert importlib.util.find_spec("matplotlib") is None, "matplotlib came uninvited"
    try:
        tnsim.draw(tnsim.load_network("a.safetensors"))
    except ModuleNotFoundError as error:
        assert "pip install 'tnsim[view]'" in str(error), error
    else:
        raise AssertionError("drawn without matplotlib")


if __name__ == "__main__":
    basics.installed()
    basics.arithmetic()
    questions()
    command()
    pictures()
