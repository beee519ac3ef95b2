"""The border: whatever a public function is given, it does what was meant or says what to write."""

import collections
import decimal
import fractions
import inspect
import pathlib
import traceback
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import tnsim

torch.manual_seed(0)
MODULES = [tnsim.nn.BilinearLayer(3, 4, 2).double().requires_grad_(False) for _ in range(3)]
NETS = [tnsim.convert(m) for m in MODULES]
OTHER = tnsim.convert(tnsim.nn.BilinearLayer(5, 4, 2).double().requires_grad_(False))
A, B = (tnsim.convert(tnsim.nn.BilinearMLP(3, 3, 3, 2, 2).double().requires_grad_(False)) for _ in range(2))
TEN = [tnsim.convert(tnsim.nn.BilinearLayer(3, 4, 10).double().requires_grad_(False)) for _ in range(2)]
TALK = tnsim.convert(
    tnsim.nn.Transformer(3, 2, 1, 2, ("attn", "attn")).double().eval().requires_grad_(False),
    torch.zeros(1, 2, dtype=torch.long),
)
GRAM = tnsim.gram(NETS, progress=False)
MATRIX = GRAM.similarity()
THIRD = torch.ones(3, dtype=torch.float64) / 3

CALLS = {  # a call of every function that is right, by the names of its arguments
    "similarity": {"a": NETS[0], "b": NETS[1]},
    "inner": {"a": NETS[0], "b": NETS[1]},
    "moments": {"a": NETS[0], "b": NETS[1]},
    "cost": {"a": NETS[0], "b": NETS[1]},
    "explain": {"a": NETS[0], "b": NETS[1]},
    "gram": {"models": NETS, "progress": False},
    "cka": {"a": NETS[0], "b": NETS[1]},
    "cca": {"a": NETS[0], "b": NETS[1]},
    "procrustes": {"a": NETS[0], "b": NETS[1]},
    "attribute": {"a": NETS[0], "b": NETS[1]},
    "difference": {"a": NETS[0], "b": NETS[1]},
    "localise": {"before": TEN[0], "after": TEN[1]},
    "nearest": {"model": NETS[0], "run": NETS[1:]},
    "orders": {"a": NETS[0], "b": NETS[1]},
    "paths": {"a": TALK, "method": "layerwise", "progress": False},
    "spectrum": {"model": NETS[0]},
    "unfold": {"model": NETS[0], "at": "in"},
    "decompose": {"model": NETS[0], "kind": "cp", "rank": 2, "restarts": 1, "progress": False},
    "truncate": {"model": A, "rank": 2, "progress": False},
    "truncations": {"model": A, "parameters": [40], "progress": False},
    "entk": {"model": NETS[0]},
    "kernel_alignment": {"a": NETS[0], "b": NETS[1]},
    "stack": {"networks": NETS},
    "trajectory": {"run": GRAM},
    "segment": {"run": GRAM, "k": 2},
    "aligned_weight_cosine": {"a": NETS[0], "b": NETS[1]},
    "weight_cosine": {"a": NETS[0], "b": NETS[1]},
    "null": {"models": MODULES, "draws": 2, "progress": False},
    "layers": {"a": NETS[0], "b": NETS[1], "progress": False},
    "draws": {"law": tnsim.Tokens(THIRD), "models": [TALK], "n": 64, "progress": False},
    "linear_cka": {"f": torch.eye(3), "g": torch.eye(3)},
    "output_cosine": {"f": torch.eye(3), "g": torch.eye(3)},
    "lift": {"f": NETS[0].polys[0]},
    "convert": {"module": MODULES[0]},
    "heatmap": {"matrix": MATRIX},
    "heatmaps": {"stack": torch.stack([MATRIX])},
    "scree": {"values": THIRD},
    "draw": {"thing": NETS[0]},
    "image": {"values": torch.ones(9)},
    "curves": {"steps": [0, 1], "series": {"loss": [0, 1]}},
    "Gaussian": {},
    "Empirical": {"x": torch.randn(4, 3)},
    "Tokens": {"p": THIRD},
    "MarkovChain": {"p0": THIRD, "P": torch.ones(3, 3, dtype=torch.float64) / 3},
    "Mixture": {"laws": [tnsim.Gaussian()]},
}
ODD = {
    "None": lambda: None,
    "a text": lambda: "gaussian",
    "no text": lambda: "",
    "a number as text": lambda: "1e12",
    "bytes": lambda: b"x",
    "1.5": lambda: 1.5,
    "nan": lambda: float("nan"),
    "inf": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "99": lambda: 99,
    "1j": lambda: 1j,
    "beyond every float": lambda: 10**400,
    "True": lambda: True,
    "a fraction": lambda: fractions.Fraction(1, 2),
    "a decimal": lambda: decimal.Decimal("0.5"),
    "a number of numpy": lambda: np.int64(1),
    "a float of numpy": lambda: np.float32(2.0),
    "a scalar": lambda: torch.tensor(1.0),
    "no list": lambda: [],
    "no tuple": lambda: (),
    "no dict": lambda: {},
    "[1]": lambda: [1],
    "[None]": lambda: [None],
    "(0, 1)": lambda: (0, 1),
    "a set": lambda: {1},
    "a range": lambda: range(2),
    "a generator": lambda: (x for x in NETS),
    "a slice": lambda: slice(0, 1),
    "a slice of nothing": lambda: slice(5, 9),
    "...": lambda: ...,
    "a path": lambda: pathlib.Path("nowhere.pt"),
    "an object": object,
    "a function": lambda: lambda x: x,
    "a class of laws": lambda: tnsim.Gaussian,
    "another class of laws": lambda: tnsim.Mixture,
    "a law": lambda: tnsim.Gaussian(),
    "a module": lambda: MODULES[0],
    "a class of modules": lambda: tnsim.nn.BilinearLayer,
    "a network": lambda: NETS[0],
    "another network": lambda: OTHER,
    "a layer": lambda: NETS[0].polys[0],
    "a term": lambda: NETS[0].polys[0].terms[0],
    "a tensor of quimb": lambda: NETS[0].polys[0].terms[0].tensors[0],
    "networks": lambda: NETS,
    "modules": lambda: MODULES,
    "a network and a number": lambda: [NETS[0], 3],
    "networks in lists": lambda: [[NETS[0]]],
    "networks by name": lambda: {"a": NETS[0]},
    "a Gram": lambda: GRAM,
    "a matrix": lambda: MATRIX,
    "a matrix of numpy": lambda: MATRIX.numpy(),
    "weights": lambda: MODULES[0].state_dict(),
    "a tensor": lambda: torch.ones(3),
    "a tensor with nan": lambda: torch.tensor([1.0, float("nan"), 1.0]),
    "an empty tensor": lambda: torch.ones(0),
    "a cube": lambda: torch.ones(2, 3, 4),
    "token ids": lambda: torch.tensor([0, 1]),
    "an array of objects": lambda: np.array([None, 1]),
    "a dtype": lambda: torch.float32,
}
OURS = (TypeError, ValueError, tnsim.ConvertError, tnsim.ComposeError, tnsim.CostError, tnsim.MeasureError)


SLOW = {"paths"}  # answers what it can in a minute


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in CALLS])
def test_odd_arguments_are_refused_here_or_taken_as_meant(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a text may be the path of a file
    function = getattr(tnsim, name)
    wrong = collections.defaultdict(list)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        function(**CALLS[name])
        for argument in inspect.signature(function).parameters:
            for what, made in ODD.items():
                try:
                    function(**{**CALLS[name], argument: made()})
                except Exception as error:
                    last = pathlib.Path(traceback.extract_tb(error.__traceback__)[-1].filename)
                    if not isinstance(error, OURS) or pathlib.Path(tnsim.__file__).parent not in last.parents:
                        wrong[argument].append(f"{what}: {type(error).__name__} in {last.name}: {error}")
            plt.close("all")
    assert not wrong, dict(wrong)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tnsim.similarity(*NETS[:2], under="gaussian"), r"write a law .* under=tnsim\.Gaussian\(\)"),
        (lambda: tnsim.similarity(*NETS[:2], under=tnsim.Gaussian), r"under=tnsim\.Gaussian\(\)"),
        (lambda: tnsim.similarity(*NETS[:2], under=torch.ones(5, 3)), r"under=tnsim\.Empirical\(x\)"),
        (lambda: tnsim.similarity(*NETS[:2], output=1.5), r"output is 1\.5 .* whole number"),
        (lambda: tnsim.similarity(*NETS[:2], output=2), "output 2 of 2"),
        (lambda: tnsim.similarity(*NETS[:2], budget="1e12"), "budget is '1e12'"),
        (
            lambda: tnsim.similarity(*NETS[:2], method="layers"),
            'method is "layers"; write "exact" or "layerwise"',
        ),
        (lambda: tnsim.similarity(MODULES[0].state_dict(), NETS[0]), r"tnsim\.load\(MyModel\(\), state\)"),
        (lambda: tnsim.similarity("a.pt", NETS[0]), r"tnsim\.load\(MyModel\(\), path\)"),
        (lambda: tnsim.similarity(tnsim.nn.BilinearLayer, NETS[0]), r"such as BilinearLayer\(\.\.\.\)"),
        (lambda: tnsim.gram({"a": NETS[0]}), r"list\(models\.values\(\)\)"),
        (lambda: tnsim.gram(GRAM), "pass the models themselves"),
        (lambda: tnsim.trajectory(torch.ones(2, 3)), r"shape \(2, 3\)\. A matrix between models is square"),
        (lambda: tnsim.unfold(NETS[0], "gaussian"), "no place 'gaussian'"),
        (lambda: tnsim.heatmap(MATRIX, cmap="virids"), "name of a colour map"),
        (lambda: tnsim.truncate(A, rank=0), "rank is 0"),
    ],
)
def test_what_to_write_is_said(call, said):
    with pytest.raises((TypeError, ValueError), match=said):
        call()


def test_what_was_meant_is_done():
    assert tnsim.stack(MODULES).models == 3
    assert torch.equal(tnsim.gram(iter(MODULES), progress=False).matrix, GRAM.matrix)
    assert tnsim.similarity(*NETS[:2], output=np.int64(1)) == tnsim.similarity(*NETS[:2], output=1)
    assert tnsim.similarity(*NETS[:2], budget=torch.tensor(1e9)) == tnsim.similarity(*NETS[:2])
    assert (
        tnsim.truncate(A, rank=np.int64(2), progress=False).ranks
        == tnsim.truncate(A, rank=2, progress=False).ranks
    )
    tnsim.heatmap(GRAM)
    tnsim.trajectory(MATRIX)
    plt.close("all")


def test_every_public_function_is_asked():
    functions = {k for k in tnsim.__all__ if inspect.isfunction(getattr(tnsim, k))}
    elsewhere = {
        "checkpoints",
        "clear_cache",
        "identity",
        "layers",
        "load",
        "load_network",
        "null",
        "poly",
        "report",
        "save",
    }  # have tests of their own
    assert functions - elsewhere <= set(CALLS), functions - elsewhere - set(CALLS)
