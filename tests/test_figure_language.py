"""The parts of the language figure against what they say: tokens, counts, scores, sampled similarities, the defect."""

import importlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

import tnsim
from tnsim.figures import find

find()
text = importlib.import_module("paper_figures.language.text")
setting = importlib.import_module("paper_figures.language.setting")
compute = importlib.import_module("paper_figures.language.compute")
Job = importlib.import_module("paper_figures.common.job").Job

TINY = setting.SIZES["tiny"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    return Job("language", "tiny", TINY, tmp_path_factory.mktemp("language"), None, False)


@pytest.fixture(scope="module")
def words(job):
    return setting.text(job)


@pytest.mark.parametrize(
    ("written", "size", "pieces", "read"),
    [
        ("abab.abb", 4, (".", "a", "b", "ab"), ["ab", "ab", ".", "ab", "b"]),
        ("aaaaa", 2, ("a", "aa"), ["aa", "aa", "a"]),
        ("aaabaa", 3, ("a", "b", "aa"), ["aa", "a", "b", "aa"]),
        ("abcabc.abcd", 7, (".", "a", "b", "c", "d", "ab", "abc"), ["abc", "abc", ".", "abc", "d"]),
        ("ab", 9, ("a", "b", "ab"), ["ab"]),
    ],
)
def test_pieces_are_those_of_byte_pair_encoding(written, size, pieces, read):
    ids, made = text.pieces_of(written, size)
    assert made == pieces
    assert [made[k] for k in ids] == read


def test_a_text_is_read_back_from_its_pieces(words):
    ids, pieces = text.pieces_of("the cat sat on the mat, the rat on the hat", 24)
    assert "".join(pieces[k] for k in ids) == "the cat sat on the mat, the rat on the hat"
    assert len(set(pieces)) == len(pieces) == 24


def test_a_text_that_is_too_short_or_too_varied_is_refused():
    with pytest.raises(ValueError, match="it takes 4000 or more"):
        text.corpus("short", 20)
    with pytest.raises(ValueError, match="more than 3 tokens"):
        text.corpus("abcdefgh" * 1000, 3)


def test_counts_are_those_of_a_loop(words):
    size = len(words.pieces)
    pairs, grams = np.zeros((size, size)), {}
    for row in words.train.tolist():
        for a, b in pairwise(row):
            pairs[a, b] += 1
        for k in range(len(row) - 2):
            gram = tuple(row[k : k + 3])
            grams[gram] = grams.get(gram, 0) + 1
    p = np.bincount(words.train.flatten(), minlength=size) / words.train.numel()
    assert np.allclose(words.frequencies(), p)
    smooth = pairs + p
    assert np.allclose(words.transitions(), smooth / smooth.sum(1, keepdims=True))
    chosen = [grams[tuple(g)] for g in words.frequent(3, 10).tolist()]
    assert chosen == sorted(grams.values(), reverse=True)[:10]


def test_windows_are_of_their_part_and_in_order(words):
    found = words.windows("validation", 50, 5, torch.Generator().manual_seed(0))
    runs = {tuple(w) for w in words.validation.unfold(1, 5, 1).flatten(0, 1).tolist()}
    assert found.shape == (50, 5) and {tuple(w) for w in found.tolist()} <= runs


def test_scores_are_one_for_a_model_that_knows_nothing(job, words):
    model = setting.model(job).eval()
    torch.nn.init.zeros_(model.unembed.weight)
    assert compute.scores(model, words, TINY) == pytest.approx([1, 1, 1])
    # A model that has counted pairs predicts the frequent ones better than it predicts text.
    table = torch.nn.Embedding.from_pretrained(words.transitions().log())
    assert compute.scores(table, words, replace(TINY, grams=5))[0] > 1.2


def test_pooled_cosines_are_cosines_of_all_outputs(job, words):
    torch.manual_seed(1)
    models = [setting.model(job).eval().double(), torch.nn.Embedding(12, 12).double()]
    inputs = words.windows("train", 1100, 3, torch.Generator().manual_seed(0))
    cosines, share = compute.pooled_cosines(models, inputs)
    with torch.no_grad():
        f, g = (m(inputs).flatten(1) for m in models)
    assert cosines[0, 1].item() == pytest.approx(((f * g).sum() / f.norm() / g.norm()).item())
    shares = [(h.square().sum(1).max() / h.square().sum()).item() for h in (f, g)]
    assert share == pytest.approx(max(shares), rel=1e-5)


@pytest.mark.parametrize("law", ["tokens", "markov"])
def test_draws_follow_their_law(words, law):
    ids = compute.drawn(law, words, replace(TINY, samples=40_000, positions=2))
    size = len(words.pieces)
    found = (ids[:, 0] * size + ids[:, 1]).bincount(minlength=size**2).view(size, size) / len(ids)
    p, steps = words.frequencies(), words.transitions()
    assert torch.allclose(found.double(), p[:, None] * (steps if law == "markov" else p), atol=5e-3)


def test_the_defect_changes_the_balance_of_a_model_and_nothing_else(job):
    torch.manual_seed(3)
    model = setting.model(job).eval().double()
    model.embed.weight.data *= 3
    ids = torch.tensor([[0, 3]])
    one = compute.Rescaled(model, 2)
    hidden = tnsim.convert(one.below, ids)
    x = torch.randn(200_000, 2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert hidden(x).square().mean().sqrt().item() == pytest.approx(one.root, rel=0.05)
    one.root = 1.0
    assert torch.allclose(one(ids), model(ids))


def test_a_matrix_of_fewer_checkpoints_is_set_beside_the_same_ones():
    every = np.arange(16.0).reshape(4, 4)
    arrays = {"steps": np.array([1, 2, 4, 8]), "chain": np.array([1, 3]), "text": every, "tokens": every}
    arrays["markov"] = np.array([[0.0, 1.0], [2.0, 3.0]])
    few, same, steps = compute._pair(arrays, "markov", "text")
    assert few.tolist() == [1, 2] and same.tolist() == [7, 13] and steps.tolist() == [2, 8]
    a, b, steps = compute._pair(arrays, "text", "tokens")
    assert len(a) == 12 and (a == b).all() and len(steps) == 4
