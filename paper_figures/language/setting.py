"""The experiment: text, model, checkpoints, and what is claimed."""

import math
from dataclasses import dataclass
from pydoc_data.topics import topics

import numpy as np
import torch

from paper_figures.common.claims import Claim
from paper_figures.common.job import Job
from paper_figures.language.text import Corpus, corpus
from tnsim.nn import Transformer

__all__ = [
    "CLAIMS",
    "GRAMS",
    "LAWS",
    "SIZES",
    "TAKES",
    "Settings",
    "checkpoints",
    "model",
    "schedule",
    "text",
]

TAKES = "text"
GRAMS = (2, 3, 4)
LAWS = {
    "gaussian": "N(0, I)",
    "tokens": "Tokens",
    "markov": "MarkovChain",
}  # of the input, for the tensor panels


@dataclass(frozen=True)
class Settings:
    """Sizes of one run, and of what its checkpoints are compared on."""

    tokens: int  # in the vocabulary
    d_model: int
    n_head: int
    window: int  # positions in training
    batch: int
    steps: int
    lr: float
    weight_decay: float
    checkpoints: int  # after step 0
    positions: int  # of the sequences on which the checkpoints are compared
    samples: int  # windows of text, and draws from every law
    first: int = 8  # the first checkpoint after step 0
    scale: float = 0.35
    std: float = 0.3  # of the embedding at the start
    grams: int = 1000  # the most frequent ones count
    chain: int = 1  # every so manieth checkpoint is compared under the Markov chain, which takes longest
    seed: int = 1337


SIZES = {
    "tiny": Settings(12, 8, 2, 6, 16, 40, 1e-2, 0.1, 5, 2, 200, grams=20, chain=2),
    "fast": Settings(64, 16, 2, 16, 64, 3000, 5e-3, 0.1, 10, 4, 4000, grams=200),
    "full": Settings(128, 32, 4, 24, 64, 16_000, 3e-3, 0.1, 12, 4, 8000, chain=2),
}


def text(job: Job) -> Corpus:
    """The text as tokens: from a file, or the help topics that come with Python; for tests, draws from a short list."""
    if job.data:
        words = job.data.read_text("utf-8", errors="replace")
    elif job.size == "tiny":
        words = _drawn(6000)
    else:
        words = "\n".join(topics[name] for name in sorted(topics))
    return corpus(words, job.settings.tokens)


def _drawn(n: int) -> str:
    """Words in which one letter makes another likely; the same on every machine."""
    dice, letters = np.random.RandomState(0), "abcdefgh"
    steps = dice.dirichlet(np.full(len(letters), 0.3), size=len(letters)).cumsum(1)
    state, found = 0, []
    for u in dice.random_sample(2 * n):
        state = min(int(np.searchsorted(steps[state], u)), len(letters) - 1)
        found.append(letters[state])
    return "".join(found)


def model(job: Job) -> Transformer:
    """Two layers of bilinear attention on a residual stream, between embedding and unembedding."""
    s = job.settings
    torch.manual_seed(s.seed)
    made = Transformer(s.tokens, s.d_model, s.n_head, s.window, scale=s.scale, norm=True)
    torch.nn.init.normal_(made.embed.weight, std=s.std)
    return made


def checkpoints(job: Job) -> list[int]:
    """Steps at equal distances on a logarithmic scale."""
    s = job.settings
    return sorted({round(v) for v in np.geomspace(s.first, s.steps, s.checkpoints)})


def schedule(share: float) -> float:
    """Up from zero in the first fiftieth of the run, then half a cosine down to a tenth."""
    rise = 0.02
    if share < rise:
        return share / rise
    return 0.55 + 0.45 * math.cos(math.pi * (share - rise) / (1 - rise))


_MEASURES = {
    "gaussian": "tensor, N(0, I)",
    "weights": "matrix cosine",
    "text": "behaviour on text, logits",
    "residual": "behaviour on text, residual stream",
    "noise": "behaviour, noise at the embedding",
    "tokens": "tensor, Tokens",
    "markov": "tensor, MarkovChain",
}
_LAST = {
    "gaussian": ".107, −.196, .181",
    "weights": ".562, .833, .978",
    "text": ".802, .952, .985",
    "residual": ".354, .610, .551",
    "noise": ".562, .835, .978",
}
_MEAN = {"gaussian": ".193", "weights": ".746", "text": ".800", "residual": ".612", "noise": ".755"}


def _of_measures(what: str, key: str, published: dict[str, str]) -> list[Claim]:
    first = next(iter(_MEASURES))
    return [
        Claim(f"{what if name == first else '…'}: {label}", f"{key} {name}", published.get(name, "–"))
        for name, label in _MEASURES.items()
    ]


CLAIMS = [
    Claim("tokens trained on", "tokens", form="{:.0f}"),
    Claim("tokens in the vocabulary", "vocabulary", "4096", form="{:.0f}"),
    Claim("validation loss, first checkpoint", "loss first", "8.37", form="{:.2f}"),
    Claim("validation loss, last checkpoint", "loss", "3.90", form="{:.2f}"),
    Claim("score of 2-grams at the end", "score 2", "1.11", form="{:.2f}"),
    Claim("score of 3-grams at the end", "score 3", "2.06", form="{:.2f}"),
    Claim("score of 4-grams at the end", "score 4", "2.37", form="{:.2f}"),
    Claim("scores rise in the order 2, 3, 4", "rising", "yes", lambda v: v == "yes", "yes"),
    *_of_measures("similarity to the last checkpoint at 2.5, 16 and 50 % of the run", "last", _LAST),
    *_of_measures("mean over all pairs", "mean", _MEAN),
    Claim(
        "largest entry off the diagonal, tensor panels",
        "most",
        "1.0252 (no cosine)",
        lambda v: v <= 1,
        "≤ 1",
        "{:.4f}",
    ),
    Claim("correlation of tensor, N(0, I), with matrix cosine", "r weights", ".52"),
    Claim("… with behaviour on text, logits", "r text", ".36"),
    Claim("… with behaviour on text, residual stream", "r residual", ".62"),
    Claim("… with behaviour, noise at the embedding", "r noise", ".53"),
    Claim("noise less matrix cosine, to the last checkpoint: largest", "noise is weights", ".062"),
    Claim("correlation with one cosine of all outputs on text: tensor, N(0, I)", "text r gaussian"),
    Claim("… tensor, Tokens", "text r tokens", "–", lambda v: v > 0.95, "> .95"),
    Claim("… tensor, MarkovChain", "text r markov", "–", lambda v: v > 0.95, "> .95"),
    Claim("mean difference from it: tensor, N(0, I)", "text off gaussian"),
    Claim("… tensor, Tokens", "text off tokens"),
    Claim("… tensor, MarkovChain", "text off markov"),
    Claim("… samples of Tokens, without approximation", "law off tokens"),
    Claim("… samples of MarkovChain, without approximation", "law off markov"),
    Claim("layer by layer less samples of the same law, largest: Tokens", "off tokens"),
    Claim("… MarkovChain", "off markov"),
    Claim("largest share of one sample in a squared norm: N(0, I)", "share gaussian", form="{:.4f}"),
    Claim("… Tokens", "share tokens", form="{:.4f}"),
    Claim("… MarkovChain", "share markov", form="{:.4f}"),
    Claim("N(0, I) with and without the defect: correlation", "defect r"),
    Claim("… mean difference", "defect off"),
]
