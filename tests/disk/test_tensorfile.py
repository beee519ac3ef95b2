"""Files that hold less than they say, and weights that would become others, are refused by name."""

import io
import json
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from tnsim.nn import Transformer, language_model, load, read_state

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 123\n"


def header(content, data=b""):
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, end, dtype="F32"):
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


def saved(x):
    file = io.BytesIO()
    torch.save(x, file)
    return file.getvalue()


def bomb():
    """An archive whose one entry is large, and deflated."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**6))
    return file.getvalue()


def lying():
    """An archive whose directory says that an entry takes 2⁴⁰ bytes."""
    content = saved({"w": torch.ones(3)})
    at = content.rindex(b"PK\x01\x02")  # the last entry of the directory
    return content[: at + 24] + struct.pack("<I", 2**32 - 2) + content[at + 28 :]


FILES = {
    "empty.safetensors": (b"", "is damaged: it is empty"),
    "empty.pt": (b"", "is damaged: it is empty"),
    "pointer.safetensors": (POINTER, "a pointer of Git LFS; fetch the content with git lfs pull"),
    "pointer.pt": (POINTER, "a pointer of Git LFS"),
    "annex.pt": (b"/annex/objects/SHA256E-s3--0.pt", "a pointer of git-annex"),
    "cut.safetensors": (save({"w": torch.ones(9)})[:-3], "is damaged"),
    "cut.pt": (saved({"w": torch.ones(9)})[:-30], "cannot be read as weights alone|is damaged"),
    "cut.SAFETENSORS": (save({"w": torch.ones(9)})[:-3], "is damaged"),
    "large.safetensors": (header(entry([10**12], 4 * 10**12)), "is damaged"),
    "shape.safetensors": (header(entry([10**12], 4), bytes(4)), "is damaged"),
    "overflow.safetensors": (header(entry([2**40, 2**40], 4), bytes(4)), "is damaged"),
    "deep.safetensors": (struct.pack("<Q", 10**5) + b'{"a":' + b"[" * (10**5 - 5), "is damaged"),
    "length.safetensors": (struct.pack("<Q", 2**62) + b"{}", "is damaged"),
    "kind.safetensors": (header(entry([2], 2, "F1"), bytes(2)), "is damaged"),
    "deep.pt": (b"\x80\x02" + b"]" * 10**4 + b".", "holds no weights by name"),
    "bomb.pt": (bomb(), "declares 1000000 bytes of content, and is"),
    "lying.pt": (lying(), "declares"),
    "expanded.pt": (
        saved({"w": torch.ones(1).expand(10**6, 10**6)}),
        r"'w' has shape \(1000000, 1000000\) and holds 4 bytes",
    ),
    "inside.pt": (saved({"model": {"w": torch.ones(1).expand(10**6)}}), "'w' has shape"),
    "page.pt": (b"<!DOCTYPE html><html></html>", "cannot be read as weights alone"),
}


@pytest.mark.parametrize("name", FILES)
def test_files_that_hold_less_than_they_say(tmp_path, name):
    content, says = FILES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=says) as caught:
        read_state(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("compressed", [False, True])
def test_what_torch_writes_is_read(tmp_path, compressed):
    state = {"a": torch.rand(3, 4).T, "b": torch.zeros(0), "c": torch.rand(100)[::2], "d": torch.tensor(1)}
    torch.save(state, tmp_path / "w.pt", _use_new_zipfile_serialization=not compressed)
    found = read_state(tmp_path / "w.pt")
    assert all(torch.equal(found[k], state[k]) for k in state)


def test_what_contains_itself(tmp_path):
    state = {"w": torch.ones(2)}
    state["model"] = state
    torch.save(state, tmp_path / "w.pt")
    for source in (state, tmp_path / "w.pt"):
        with pytest.raises(ValueError, match="contains itself"):
            read_state(source)


def test_names_are_words():
    with pytest.raises(ValueError, match="weights go by names; 0 are none"):
        read_state({0: torch.ones(1)})


def state(layers=1, **changes):
    return {**Transformer(5, 4, 2, 3, ("attn",) * layers, bias="qk").state_dict(), **changes}


def renamed(number):
    return {n.replace("blocks.1.", f"blocks.{number}."): w for n, w in state(2).items()}


@pytest.mark.parametrize("number", ["3000000", "2", "01", "9" * 6000, "١"])
def test_blocks_are_counted_without_a_gap(number, monkeypatch):
    source = renamed(number)
    monkeypatch.setattr(Transformer, "__init__", lambda *a, **k: pytest.fail("memory was asked for"))
    with pytest.raises(ValueError, match=r"the checkpoint has the blocks 0, .* none left out"):
        language_model(source, n_head=2)


def test_a_block_that_is_far_away():
    """One weight alone."""
    with pytest.raises(ValueError, match="the checkpoint has the blocks 0, 3000000"):
        language_model(state(**{"blocks.3000000.weight": torch.ones(1)}), n_head=2)


def test_sizes_that_do_not_fit_together_ask_for_no_memory():
    """Vectors of a million that would be matrices of 10¹² numbers, 4 TB each."""
    n = 10**6
    other = state(**{"embed.weight": torch.ones(1, n), "blocks.0.q1.weight": torch.ones(n, 1)})
    with pytest.raises(ValueError, match="does not fit Transformer"):
        language_model(other, n_head=2)


def double(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("value", "dtype", "says"),
    [
        (torch.tensor([1j, 1]), torch.float32, "w is complex, and the module needs float32"),
        (torch.tensor([1 + 0j, 1]), torch.float32, "w is complex"),
        (
            double(1.0, -1e60),
            torch.float32,
            r"w holds -1e\+60, beyond what float32 can hold",
        ),
        (torch.tensor([1.0, 7e4]), torch.float16, r"w holds 7e\+04, beyond what float16 can hold"),
        (torch.tensor([1, 10**6]), torch.float16, "w holds 1e\\+06, beyond what float16 can hold"),
        (double(1.0, 3.4e38), torch.bfloat16, "beyond what bfloat16 can hold"),
        (double(1e-60, 0.0), torch.float32, "w is all zero in float32"),
        (torch.tensor([1.5, 2.0]), torch.int64, "w holds 1.5, which int64 has not"),
        (torch.tensor([1, 300]), torch.uint8, "w holds 300, which uint8 has not"),
        (torch.tensor([2, 1]), torch.bool, "w holds 2, which bool has not"),
        (torch.ones(2).to_sparse(), torch.float32, "w is torch.sparse_coo"),
        (torch.ones(2, device="meta"), torch.float32, "w has no values"),
    ],
)
def test_weights_that_would_become_others(value, dtype, says):
    module = nn.Module()
    module.register_buffer("w", torch.zeros(2, dtype=dtype))
    module.register_buffer("other", torch.zeros(1))
    with pytest.raises(ValueError, match=says):
        load(module, {"other": torch.ones(1), "w": value})
    assert not module.w.any() and not module.other.any()


def test_weights_that_stay_what_they_are():
    for value, dtype in (
        (double(1.0, 1e-60), torch.float32),  # rounded, beside others
        (torch.tensor([3, 4]), torch.float32),
        (torch.tensor([3.0, 4.0]), torch.int64),
        (torch.tensor([3.0, 4.0]), torch.complex64),
        (torch.zeros(2).double(), torch.float16),
    ):
        module = nn.Module()
        module.register_buffer("w", torch.ones(2, dtype=dtype))
        assert torch.equal(load(module, {"w": value}).w, value.to(dtype))


def test_a_language_model_is_real_and_overflows_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"embed.weight is torch.complex64"):
        language_model(state(**{"embed.weight": torch.ones(5, 4, dtype=torch.complex64)}), n_head=2)
    large = {n: w.double() for n, w in state().items()}
    large["blocks.0.v.weight"][0, 0] = 1e60
    large["embed.weight"] = large["embed.weight"].half()
    save_file(large, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=r"blocks.0.v.weight holds 1e\+60, beyond what float16 can hold"):
        language_model(tmp_path / "w.safetensors", n_head=2)


def test_a_module_without_values_is_not_filled():
    with pytest.raises(ValueError, match="weight has no values"):
        load(nn.Linear(2, 2, device="meta"), nn.Linear(2, 2).state_dict())
