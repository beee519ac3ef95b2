"""Similarities of the checkpoints: on text, on noise, of raw weights, and as tensors under several laws of the input."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Generator, Tensor, nn
from tqdm import tqdm

import tnsim
from paper_figures.common.cache import Cache
from paper_figures.common.job import Job
from paper_figures.common.matrices import gram, output_cosines, weight_cosines
from paper_figures.language.setting import GRAMS, LAWS, Settings, model, text
from paper_figures.language.text import Corpus
from tnsim.lab import Run, logits
from tnsim.nn import Transformer

__all__ = ["Rescaled", "compute", "pooled_cosines", "scores"]

_BATCH = 500  # sequences at once


class Rescaled(nn.Module):
    """A model of two layers whose hidden state is divided by its root mean square between them.

    This is what is left of a model if the moments of the hidden state are normalised between two layers and the
    factor is forgotten: the second layer's attention has degree five and its residual degree one, so they change
    their balance. It stands for one of the known defects of the published code, and is no similarity to recommend.

    Args:
        whole: the model.
        positions: of the sequences.
    """

    def __init__(self, whole: Transformer, positions: int):
        super().__init__()
        self.below = nn.Sequential(whole.embed, whole.blocks[0])
        self.above = nn.Sequential(whole.blocks[1], whole.unembed)
        hidden = tnsim.convert(self.below, torch.zeros(1, positions, dtype=torch.long))
        energy = tnsim.inner(hidden, method="layerwise", budget=math.inf)  # exact: it is one layer
        self.root = math.sqrt(energy.item() / (positions * whole.embed.weight.shape[1]))

    def forward(self, ids: Tensor) -> Tensor:
        """Map ids (..., n) to logits (..., n, tokens)."""
        return self.above(self.below(ids) / self.root)


def scores(module: nn.Module, words: Corpus, s: Settings) -> list[float]:
    """For n = 2, 3, 4: how much better the last token of frequent n-grams is predicted than any token at position n.

    The cross-entropy of the n-th token of a window of the validation text, divided by that of the last token of
    the most frequent n-grams of the training text.
    """
    windows = words.windows("validation", s.samples, max(GRAMS), Generator().manual_seed(s.seed))

    def surprise(ids: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits(module, ids[:, :-1])[:, -1], ids[:, -1])

    return [float(surprise(windows[:, :n]) / surprise(words.frequent(n, s.grams))) for n in GRAMS]


def pooled_cosines(models: Sequence[nn.Module], inputs: Tensor) -> tuple[Tensor, float]:
    """Cosines of all outputs on all inputs together, shape (N, N): a sampled tensor similarity.

    Returns:
        The cosines, and the largest share that one input has in a model's squared norm.
    """
    gram, largest = torch.zeros(len(models), len(models), dtype=torch.float64), torch.zeros(len(models))
    for part in inputs.split(_BATCH):
        f = torch.stack([logits(m, part).double().flatten(1) for m in models])
        gram += torch.einsum("abx,cbx->ac", f, f)
        largest = torch.maximum(largest, f.square().sum(2).amax(1))
    norm = gram.diagonal().sqrt()
    return gram / norm[:, None] / norm, float((largest / gram.diagonal()).max())


def drawn(name: str, words: Corpus, s: Settings) -> Tensor:
    """Sequences from one of the laws, as ids or as vectors."""
    dice = Generator().manual_seed(s.seed)
    if name == "gaussian":
        return torch.randn(s.samples, s.positions, s.tokens, generator=dice, dtype=torch.float64)
    p, steps = words.frequencies(), words.transitions()
    ids = [torch.multinomial(p, s.samples, replacement=True, generator=dice)]
    for _ in range(s.positions - 1):
        following = p.expand(s.samples, -1) if name == "tokens" else steps[ids[-1]]
        ids.append(torch.multinomial(following, 1, generator=dice)[:, 0])
    return torch.stack(ids, 1)


def compute(job: Job) -> Cache:
    """Everything the picture shows."""
    s, words = job.settings, text(job)
    run = Run.load(job.folder / "run")
    steps = run.steps[1:]
    modules = [run.model(step, lambda: model(job)).double() for step in steps]
    example = torch.zeros(1, s.positions, dtype=torch.long)

    windows = words.windows("validation", s.samples, s.positions, Generator().manual_seed(s.seed))
    noise = torch.randn(s.samples, s.positions, s.d_model, generator=Generator().manual_seed(s.seed)).double()
    streams = [nn.Sequential(m.embed, *m.blocks) for m in modules]
    above = [nn.Sequential(*m.blocks, m.unembed) for m in modules]
    matrices = {
        "weights": weight_cosines(modules),
        "noise": output_cosines([logits(m, s.std * noise).flatten(0, 1) for m in above]),
        "text": output_cosines([logits(m, windows).flatten(0, 1) for m in modules]),
        "residual": output_cosines([logits(m, windows).flatten(0, 1) for m in streams]),
        "text_pooled": pooled_cosines(modules, windows)[0],
    }
    laws = {
        "gaussian": tnsim.Gaussian(),
        "rescaled": tnsim.Gaussian(),
        "tokens": tnsim.Tokens(words.frequencies()),
        "markov": tnsim.MarkovChain(words.frequencies(), words.transitions()),
    }
    chain = np.arange(len(steps))[:: -s.chain][::-1].copy()  # the last checkpoint among them
    for name, law in tqdm(laws.items(), "laws", disable=not job.progress):
        where = chain if name == "markov" else range(len(steps))
        shown = [Rescaled(modules[i], s.positions) if name == "rescaled" else modules[i] for i in where]
        products = gram(
            job,
            [tnsim.convert(m, example) for m in shown],
            [steps[i] for i in where],
            f"gram-{name}",
            under=law,
            method="layerwise",
        )
        matrices[name] = products.similarity()
    sampled = {name: pooled_cosines(modules, drawn(name, words, s)) for name in LAWS}

    arrays = {name: np.asarray(value) for name, value in matrices.items()}
    arrays |= {
        "steps": np.array(steps),
        "chain": chain,
        "scores": np.array([scores(m, words, s) for m in modules]).T,
        **{name: np.array(run.curve(name))[1:] for name in run.metrics[0]},
    }
    size = {"tokens": int(words.train.numel()), "vocabulary": len(words.pieces)}
    return Cache(arrays, size | _facts(arrays) | _checked(arrays, sampled))


def _checked(arrays: dict[str, np.ndarray], sampled: dict[str, tuple[Tensor, float]]) -> dict[str, float]:
    """How far layer by layer is from samples of the same law, and these from text."""
    facts = {}
    for name, (cosines, share) in sampled.items():
        known = arrays | {"sampled": cosines.numpy()}
        a, b, _ = _pair(known, name, "sampled")
        facts[f"off {name}"] = float(np.abs(a - b).max())
        a, b, _ = _pair(known, "sampled", "text_pooled")
        facts[f"law off {name}"] = float(np.abs(a - b).mean())
        facts[f"share {name}"] = share
    return facts


def _pair(arrays: dict[str, np.ndarray], *names: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Entries off the diagonal of two matrices, for the checkpoints that both have, and the steps of these."""
    chain = arrays["chain"] if "markov" in names else np.arange(len(arrays["steps"]))
    off = ~np.eye(len(chain), dtype=bool)
    a, b = (m if len(m) == len(chain) else m[np.ix_(chain, chain)] for m in (arrays[n] for n in names))
    return a[off], b[off], arrays["steps"][chain]


def _facts(arrays: dict[str, np.ndarray]) -> dict[str, float | str]:
    def r(a: str, b: str) -> float:
        return float(np.corrcoef(*_pair(arrays, a, b)[:2])[0, 1])

    def apart(a: str, b: str) -> float:
        first, second, _ = _pair(arrays, a, b)
        return float(np.abs(first - second).mean())

    final = arrays["scores"][:, -1]
    facts: dict[str, float | str] = {f"score {n}": float(v) for n, v in zip(GRAMS, final, strict=True)}
    facts["rising"] = "yes" if (np.diff(final) > 0).all() else "no"
    facts |= {"loss first": float(arrays["validation_loss"][0]), "loss": float(arrays["validation_loss"][-1])}
    for name in ("gaussian", "weights", "text", "residual", "noise", "tokens", "markov"):
        entries, _, steps = _pair(arrays, name, name)
        facts[f"mean {name}"] = float(entries.mean())
        at = [int(np.abs(np.log(steps / (share * steps[-1]))).argmin()) for share in (0.025, 0.16, 0.5)]
        facts[f"last {name}"] = ", ".join(f"{v:.3f}" for v in arrays[name][at, -1])
    facts |= {f"r {name}": r("gaussian", name) for name in ("weights", "text", "residual", "noise")}
    facts |= {f"text r {name}": r("text_pooled", name) for name in LAWS}
    facts |= {f"text off {name}": apart("text_pooled", name) for name in LAWS}
    facts["most"] = max(float(_pair(arrays, name, name)[0].max()) for name in LAWS)
    facts["noise is weights"] = float(np.abs(arrays["noise"] - arrays["weights"])[-1].max())
    facts["defect r"], facts["defect off"] = r("gaussian", "rescaled"), apart("gaussian", "rescaled")
    return facts
