"""Checkpoints under other names become models, exactly; what does not fit is named."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from tnsim.convert import convert
from tnsim.nn import BilinearMLP, Transformer, language_model, load, read_state

torch.set_num_threads(1)

V, D, H, A, LAYERS = 11, 6, 3, 4, 2

NAMES = {
    "token_embedding": "embed.weight",
    "layers.*.attn.w_out": ("blocks.*.o.weight", torch.t),
    "layers.*.attn.w_v": "blocks.*.v.weight",
    "layers.*.attn.*.w": "blocks.*.*.weight",
    "layers.*.attn.*.b": "blocks.*.*.bias",
    "norm.mean_energy": "unembed.energy",
    "head": "unembed.weight",
}


def weights():
    """A synthetic checkpoint of the published layout, under names of its own."""
    generator = torch.Generator().manual_seed(0)
    rand = lambda *shape: 0.5 * torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    state = {
        "token_embedding": rand(V, D),
        "head": rand(V, D),
        "norm.mean_energy": torch.tensor([3.7]).double(),
    }
    for i in range(LAYERS):
        for m in ("q1", "k1", "q2", "k2"):
            state[f"layers.{i}.attn.{m}.w"] = rand(H * A, D)
            state[f"layers.{i}.attn.{m}.b"] = rand(H * A)
        state[f"layers.{i}.attn.w_v"] = rand(H * A, D)
        state[f"layers.{i}.attn.w_out"] = rand(H * A, D)
    return state


def turn(x, base):
    """Rotary embedding (rotate-half) of x (n, heads, a), one position and one pair at a time."""
    out = x.clone()
    half = x.shape[-1] // 2
    for s in range(len(x)):
        for i in range(half):
            angle = torch.tensor(s * base ** (-2 * i / x.shape[-1]), dtype=torch.float64)
            a, b = x[s, :, i], x[s, :, i + half]
            out[s, :, i] = a * angle.cos() - b * angle.sin()
            out[s, :, i + half] = b * angle.cos() + a * angle.sin()
    return out


def forward(w, ids, scale=0.35, base=10000.0):
    """The published model for one sequence, written down once more and without a module."""
    x = w["token_embedding"][ids]
    n = len(ids)
    for i in range(LAYERS):
        at = f"layers.{i}.attn."
        q1, k1, q2, k2 = (
            turn((x @ w[f"{at}{m}.w"].T + w[f"{at}{m}.b"]).view(n, H, A), base)
            for m in ("q1", "k1", "q2", "k2")
        )
        v = (x @ w[f"{at}w_v"].T).view(n, H, A)
        z = torch.zeros(n, H, A, dtype=torch.float64)
        for s in range(n):
            for t in range(s + 1):
                pattern = (q1[s] * k1[t]).sum(-1) * (q2[s] * k2[t]).sum(-1) / A**2
                z[s] += pattern[:, None] * v[t]
        x = x + scale * z.reshape(n, -1) @ w[f"{at}w_out"]
    return x @ (w["head"] * (w["norm.mean_energy"] + 1e-6) ** -0.5).T


@pytest.mark.parametrize("kind", ["dict", "pt", "nested pt", "safetensors"])
def test_the_published_layout(kind, tmp_path):
    state = weights()
    source = state
    if kind == "safetensors":
        source = tmp_path / "model.safetensors"
        save_file(state, source)
    elif kind != "dict":
        source = tmp_path / "model.pt"
        torch.save({"step": 3, "model": state} if "nested" in kind else state, source)
    model = language_model(source, NAMES, n_head=H, n_ctx=4)
    assert len(model.blocks) == LAYERS and model.n_ctx == 4 and not model.training
    ids = torch.randint(V, (3, 4), generator=torch.Generator().manual_seed(1))
    want = torch.stack([forward(state, one) for one in ids])
    torch.testing.assert_close(model(ids), want, rtol=1e-10, atol=1e-10)
    net = convert(model, ids)
    torch.testing.assert_close(net(ids), want, rtol=1e-10, atol=1e-10)
    assert [len(f.terms) for f in net.polys] == [1, 17, 17, 1]  # the norm is in the unembedding


def test_options_of_the_layout_matter():
    state, ids = weights(), torch.tensor([[1, 2, 3, 4]])
    usual = language_model(state, NAMES, n_head=H)
    for other in (dict(scale=0.3), dict(base=100.0), dict(eps=1.0)):
        changed = language_model(state, NAMES, n_head=H, **other)
        assert not torch.allclose(changed(ids), usual(ids), rtol=1e-3), other
    plain = {n: w for n, w in state.items() if not n.endswith(".b") and n != "norm.mean_energy"}
    names = {n: to for n, to in NAMES.items() if not n.endswith(".b") and n != "norm.mean_energy"}
    model = language_model(plain, names, n_head=H)
    assert model.unembed.energy is None and model.blocks[0].q1.bias is None


def changed(**changes):
    state = weights() | {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "options", "says"),
    [
        (changed(head=None), {}, "nothing in the checkpoint is called 'head'"),
        (changed(layers__1__attn__w_v=None), {}, "the checkpoint has no blocks.1.v.weight"),
        (changed(rotary__inv_freq=torch.ones(2)), {}, "Transformer has no rotary.inv_freq"),
        (
            changed(layers__0__attn__q2__w=torch.ones(12, 5)),
            {},
            r"blocks.0.q2.weight is \(12, 5\), Transformer needs \(12, 6\)",
        ),
        (
            changed(layers__0__attn__q1__b=torch.tensor([float("nan")] * 12)),
            {},
            "NaN or infinite entries in blocks.0.q1.bias",
        ),
        (changed(**{"embed__weight": torch.ones(11, 6)}), {}, "both become 'embed.weight'"),
        (weights(), dict(n_head=5), "5 heads do not divide the 12 rows"),
        (weights(), dict(names={}), "has no embed.weight, unembed.weight"),
        (weights() | {"step": 4}, {}, "a state dict holds tensors only; 'step' are not"),
        ({}, {}, "holds no weights by name"),
    ],
)
def test_what_does_not_fit_is_named(state, options, says):
    with pytest.raises(ValueError, match=says):
        language_model(state, **{"names": NAMES, "n_head": H, **options})


def test_leftovers_can_be_passed_over():
    state = changed(rotary__inv_freq=torch.ones(2))
    assert len(language_model(state, NAMES, n_head=H, ignore=["rotary.*"]).blocks) == LAYERS


def test_any_model_can_be_filled(tmp_path):
    trained, fresh = BilinearMLP(4, 3, 5, 2, 2), BilinearMLP(4, 3, 5, 2, 2).double()
    torch.save({f"_orig_mod.{n}": w for n, w in trained.state_dict().items()}, tmp_path / "a.pt")
    load(fresh, tmp_path / "a.pt", {"_orig_mod.*": "*"})
    for a, b in zip(trained.parameters(), fresh.parameters(), strict=True):
        assert b.dtype == torch.float64 and torch.equal(a.double(), b)


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_state(tmp_path / "none.pt")
    (tmp_path / "bad.safetensors").write_bytes(b"xx")
    with pytest.raises(ValueError, match="is damaged"):
        read_state(tmp_path / "bad.safetensors")
    (tmp_path / "page.pt").write_text("<html></html>")
    with pytest.raises(ValueError, match="cannot be read as weights alone"):
        read_state(tmp_path / "page.pt")


def test_a_module_that_was_saved_whole_is_its_weights(tmp_path):
    model = Transformer(5, 4, 2, 3)
    torch.save(model, tmp_path / "module.pt")
    found, wanted = read_state(tmp_path / "module.pt"), model.state_dict()
    assert list(found) == list(wanted) and all(torch.equal(found[n], wanted[n]) for n in wanted)


def test_a_pickle_is_not_run(tmp_path):
    path, flag = tmp_path / "evil.pt", tmp_path / "ran"
    script = f"""
import pickle, pathlib
class Evil:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path({str(flag)!r}),)
pickle.dump(Evil(), open({str(path)!r}, "wb"))
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(ValueError):
        read_state(path)
    assert not flag.exists()
