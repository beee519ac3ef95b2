"""A Gram matrix in a file is the same one when it is read again, and a damaged file is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save

import tnsim

X = np.random.default_rng(0).normal(size=(20, 4))
P = np.full(4, 0.25)
LAWS = {
    "standard": tnsim.Gaussian(),
    "batch": tnsim.Gaussian.of(X),
    "diagonal": tnsim.Gaussian(cov=torch.ones(4)),
    "symmetric": tnsim.Symmetric(),
    "frobenius": tnsim.Frobenius(),
    "samples": tnsim.Empirical(X, np.arange(1, 21)),
    "mixture": tnsim.Mixture([tnsim.Gaussian(), tnsim.Gaussian(np.ones(4))], [0.25, 0.75]),
}


def models():
    torch.manual_seed(0)
    return [tnsim.nn.BilinearLayer(4, 5, 3) for _ in range(3)]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("slices", [True, False])
def test_round_trip(law, slices, tmp_path):
    gram = tnsim.gram(models(), under=LAWS[law], labels=[0, "b", np.int64(20)], slices=slices)
    gram.save(tmp_path / "gram.safetensors")
    found = tnsim.Gram.load(tmp_path / "gram.safetensors")
    assert found.labels == (0, "b", 20) and repr(found) == repr(gram)
    assert torch.equal(found.matrix, gram.matrix) and torch.equal(found.similarity(), gram.similarity())
    again = tnsim.gram(models(), under=found.under, slices=slices)
    assert torch.equal(again.matrix, gram.matrix)
    assert [path.name for path in tmp_path.iterdir()] == ["gram.safetensors"]


def test_models_beyond_the_range_of_their_dtype(tmp_path):
    large = [tnsim.convert(m) * 1e200 for m in models()] if hasattr(tnsim.Network, "__mul__") else None
    nets = large or [
        tnsim.poly("W[out,in0]", W=1e200 * torch.rand(2, 4, dtype=torch.float64)) for _ in range(3)
    ]
    gram = tnsim.gram(nets)
    gram.save(tmp_path / "g")
    assert torch.equal(tnsim.Gram.load(tmp_path / "g").similarity(), gram.similarity())


def test_a_law_of_ones_own(tmp_path):
    class Mine(tnsim.Gaussian):
        pass

    gram = tnsim.gram(models(), under=Mine())
    with pytest.raises(ValueError, match=r"it is no law of tnsim's. Keep gram.similarity"):
        gram.save(tmp_path / "g")
    assert not list(tmp_path.iterdir())


def test_what_is_not_exact_is_not_lost(tmp_path):
    gram = replace(tnsim.gram(models()), notes=("norm: fixed at its mean",))
    gram.save(tmp_path / "g")
    assert tnsim.Gram.load(tmp_path / "g").notes == gram.notes
    with pytest.raises(ValueError, match="this matrix was sampled, and its errors would be lost"):
        replace(gram, method="sampled", drawn=object()).save(tmp_path / "h")


def good(tmp_path):
    tnsim.gram(models()).save(tmp_path / "g")
    return (tmp_path / "g").read_bytes()


def test_damage_is_refused(tmp_path):
    content = good(tmp_path)
    for k in (0, 7, 40, len(content) - 1):
        (tmp_path / "g").write_bytes(content[:k])
        with pytest.raises(ValueError, match="g is damaged"):
            tnsim.Gram.load(tmp_path / "g")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        tnsim.Gram.load(tmp_path / "none")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "tnsim gram 9"},
        {"labels": [1]},
        {"method": "guessed"},
        {"under": {"law": "system"}},
        {"under": {"law": "Tokens", "p": {"tensor": "mantissas"}}},
        {"under": {"law": "Gaussian", "nothing": 3}},
        {"under": {"law": "Gaussian", "cov": {"tensor": "none"}}},
    ],
)
def test_what_it_says_must_fit(change, tmp_path):
    gram = tnsim.gram(models())
    told = {
        "format": "tnsim gram 1",
        "labels": [0, 1, 2],
        "method": "exact",
        "apart": True,
        "notes": [],
        "under": {"law": "Gaussian"},
    }
    tensors = {"mantissas": gram.mantissas.contiguous(), "units": gram.units.contiguous()}
    (tmp_path / "g").write_bytes(save(tensors, {"tnsim": json.dumps(told)}))
    assert torch.equal(tnsim.Gram.load(tmp_path / "g").matrix, gram.matrix)
    (tmp_path / "g").write_bytes(save(tensors, {"tnsim": json.dumps(told | change)}))
    with pytest.raises(ValueError, match=r"g (is damaged|cannot be read)"):
        tnsim.Gram.load(tmp_path / "g")


def test_weights_are_no_gram_matrix(tmp_path):
    (tmp_path / "g").write_bytes(save({"w": torch.ones(2)}))
    with pytest.raises(ValueError, match="it holds no Gram matrix"):
        tnsim.Gram.load(tmp_path / "g")
