"""Data sets are complete, in range, and say what is wrong when they are not."""

import io
import struct
import zipfile
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch
from sklearn import datasets

from tnsim.lab import Dataset, load_digits, load_npz


def _arrays(n=6, h=4, w=5):
    rng = np.random.default_rng(0)
    return {
        "x_train": rng.integers(0, 256, (n, h, w), dtype=np.uint8),
        "y_train": np.arange(n, dtype=np.uint8) % 3,
        "x_test": rng.integers(0, 256, (n - 2, h, w), dtype=np.uint8),
        "y_test": np.arange(n - 2, dtype=np.uint8) % 3,
    }


def _save(path, arrays):
    np.savez(path, **arrays)
    return path


def test_digits_are_scikit_learns():
    data = load_digits()
    assert (data.shape, data.classes, len(data.x_train), len(data.x_test)) == ((8, 8), 10, 1347, 450)
    assert data.x_train.dtype == torch.float32 and data.y_train.dtype == torch.int64
    ours = torch.cat([data.x_train, data.x_test]).mul(16).round().int()
    theirs = torch.tensor(datasets.load_digits().data).int()
    assert sorted(map(tuple, ours.tolist())) == sorted(map(tuple, theirs.tolist()))


def test_digits_keep_their_labels():
    raw = datasets.load_digits()
    known = {tuple(row): int(label) for row, label in zip(raw.data.astype(int), raw.target, strict=True)}
    data = load_digits(seed=3)
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert [known[tuple(row)] for row in x.mul(16).round().int().tolist()] == y.tolist()


def test_digits_split_is_stratified_and_seeded():
    counts = torch.bincount(load_digits(test_share=0.2).y_test)
    assert counts.sum() == 360 and counts.min() >= 34 and counts.max() <= 38
    assert torch.equal(load_digits(seed=1).x_test, load_digits(seed=1).x_test)
    assert not torch.equal(load_digits(seed=1).x_test, load_digits(seed=2).x_test)


def test_digits_enlarged():
    small, large = load_digits(), load_digits(16)
    assert large.shape == (16, 16) and large.x_train.shape == (1347, 256)
    assert float(large.x_train.min()) >= 0 and float(large.x_train.max()) <= 1
    # Bilinear enlargement by two, away from the borders: four pixels average to the one they come from.
    blocks = large.x_train.view(-1, 8, 2, 8, 2).mean((2, 4)).flatten(1)
    assert torch.corrcoef(torch.stack([blocks.flatten(), small.x_train.flatten()]))[0, 1] > 0.97


@pytest.mark.parametrize(
    ("arguments", "says"), [({"size": 7}, "write size=8 or more"), ({"test_share": 1.0}, "1.0")]
)
def test_digits_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        load_digits(**arguments)


def test_npz_bytes(tmp_path):
    arrays = _arrays()
    data = load_npz(_save(tmp_path / "a.npz", arrays))
    assert data.shape == (4, 5) and data.classes == 3
    assert np.allclose(data.x_train.numpy(), arrays["x_train"].reshape(6, 20) / 255, atol=1e-7)
    assert data.y_test.tolist() == arrays["y_test"].tolist()
    assert data.x_test.dtype == torch.float32 and data.y_test.dtype == torch.int64


def test_npz_floats_are_left_as_they_are(tmp_path):
    arrays = _arrays()
    arrays |= {name: arrays[name] / 255 for name in ("x_train", "x_test")}
    data = load_npz(_save(tmp_path / "a.npz", arrays))
    assert np.allclose(data.x_train.numpy(), arrays["x_train"].reshape(6, 20), atol=1e-7)


def _changed(**changes):
    return lambda arrays: arrays | {name: change(arrays[name]) for name, change in changes.items()}


def _nan(x):
    x = x / 255
    x[0, 0, 0] = np.nan
    return x


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda a: {k: v for k, v in a.items() if k != "y_test"},
            "it lacks y_test (it holds x_train, y_train, x_test)",
        ),
        (_changed(x_train=lambda x: x.reshape(6, 20)), "x_train has shape (6, 20)"),
        (_changed(x_train=lambda x: x[..., None]), "images are written as (n, height, width)"),
        (_changed(x_train=lambda x: x.astype(np.int32)), "x_train is int32"),
        (_changed(x_train=lambda x: x.astype(float)), "outside [0, 1]"),
        (_changed(x_test=_nan), "x_test holds NaN"),
        (_changed(x_test=lambda x: x[:, :3]), "x_test is torch.float32 of shape (4, 15)"),
        (_changed(x_train=lambda x: x[:0], y_train=lambda y: y[:0]), "x_train holds no image"),
        (_changed(y_train=lambda y: y[:5]), "6 images need int64 labels of shape (6,)"),
        (_changed(y_train=lambda y: y.astype(float)), "y_train is float64"),
        (_changed(y_train=lambda y: y.astype(np.int64) - 1), "y_train holds labels outside 0 … 2"),
        (_changed(y_train=lambda y: y.astype(object)), "allow_pickle=False"),
    ],
)
def test_npz_faults_are_named(tmp_path, change, says):
    path = _save(tmp_path / "bad.npz", change(_arrays()))
    with pytest.raises(ValueError) as caught:
        load_npz(path)
    assert says in str(caught.value) and "bad.npz" in str(caught.value)


def test_npz_of_another_kind(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_npz(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("not an archive")
    with pytest.raises(ValueError, match=r"cannot read .*text\.npz"):
        load_npz(tmp_path / "text.npz")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with pytest.raises(ValueError, match="single array"):
        load_npz(tmp_path / "one.npy")
    whole = _save(tmp_path / "cut.npz", _arrays()).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"cannot read .*cut\.npz"):
        load_npz(tmp_path / "cut.npz")


def npy(shape, data=b"", dtype="<f8", version=(1, 0)):
    file = io.BytesIO()
    write = (
        np.lib.format.write_array_header_1_0 if version == (1, 0) else np.lib.format.write_array_header_2_0
    )
    write(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    return file.getvalue() + data


def archived(path, x_train, how=zipfile.ZIP_STORED):
    arrays = _arrays()
    _save(path, arrays)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", how) as archive:
        for name, content in (contents | {"x_train.npy": x_train}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            npy((10**6, 10**3, 10**3)),
            "x_train declares shape (1000000, 1000, 1000) of float64 and holds 0 bytes",
        ),
        (npy((2**32, 2**32, 4), bytes(32)), "x_train declares shape"),
        (npy((2**62, 2**62, 2**62)), "x_train declares shape"),
        (npy((-1, 4, 5), bytes(32)), "x_train declares shape"),
        (npy((6, 4, 5), bytes(8)), "x_train declares shape"),
        (npy((6, 4, 5), bytes(8), version=(2, 0)), "x_train declares shape"),
        (npy((6, 4, 5), bytes(8 * 120 + 1)), "x_train declares shape"),
        (npy((6, 4, 5), bytes(8 * 120), dtype="|O"), "allow_pickle=False"),
        (b"\x93NUMPY\x03\x00" + bytes(100), "version (3, 0)"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 65535, "cannot read"),
        (b"", "cannot read"),
    ],
    ids=range(11),
)
def test_an_array_that_holds_less_than_it_declares(tmp_path, monkeypatch, content, says):
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("memory was asked for"))
    with pytest.raises(ValueError) as caught:
        load_npz(archived(tmp_path / "a.npz", content))
    assert says in str(caught.value) and len(str(caught.value)) < 500


def test_an_archive_whose_directory_lies(tmp_path, monkeypatch):
    path = archived(tmp_path / "a.npz", npy((10**6, 10, 10)), zipfile.ZIP_DEFLATED)
    content = path.read_bytes()
    at = content.rindex(b"PK\x01\x02", 0, content.rindex(b"x_train.npy"))
    path.write_bytes(content[: at + 24] + struct.pack("<I", 8 * 10**8 + 128) + content[at + 28 :])
    monkeypatch.setattr(np, "load", lambda *a, **k: pytest.fail("memory was asked for"))
    with pytest.raises(ValueError, match=r"declares \d+ bytes"):
        load_npz(path)


def test_a_compressed_archive_is_read(tmp_path):
    arrays = _arrays()
    np.savez_compressed(tmp_path / "a.npz", **{k: np.zeros_like(x) for k, x in arrays.items()})
    assert not load_npz(tmp_path / "a.npz").x_train.any()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"", "it is empty"), (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS")],
)
def test_an_archive_that_is_not_there(tmp_path, content, says):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        load_npz(tmp_path / "a.npz")


def test_dataset_is_frozen_and_checks_its_shape():
    x, y = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
    data = Dataset(x, y, x, y, (2, 2), 1)
    with pytest.raises(FrozenInstanceError):
        data.classes = 3
    with pytest.raises(ValueError, match=r"float32 of shape \(n, 6\)"):
        Dataset(x, y, x, y, (2, 3), 1)
