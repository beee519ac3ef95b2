"""Labelled images, flattened and split in two."""

import math
import os
import zipfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F

from tnsim.disk.tensorfile import check_archive, check_content

__all__ = ["Dataset", "load_digits", "load_npz"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images with labels, one part to train on and one to test on.

    Args:
        x_train: pixels in [0, 1], float32, shape (n_train, height · width).
        y_train: labels in 0 … classes − 1, int64, shape (n_train,).
        x_test: as x_train, shape (n_test, height · width).
        y_test: as y_train, shape (n_test,).
        shape: height and width of an image.
        classes: number of classes.

    Raises:
        ValueError: if the parts do not fit together.

    Example:
        >>> import torch, tnsim
        >>> x, y = torch.rand(20, 6), torch.arange(20) % 2
        >>> data = tnsim.lab.Dataset(x[:15], y[:15], x[15:], y[15:], shape=(2, 3), classes=2)
        >>> data.only([1]).y_train.unique()
        tensor([1])
    """

    x_train: Tensor
    y_train: Tensor
    x_test: Tensor
    y_test: Tensor
    shape: tuple[int, int]
    classes: int

    def __post_init__(self) -> None:
        size = self.shape[0] * self.shape[1]
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            if x.ndim != 2 or x.shape[1] != size or x.dtype != torch.float32:
                raise ValueError(
                    f"x_{part} is {x.dtype} of shape {tuple(x.shape)}; images of {self.shape} "
                    f"are written as float32 of shape (n, {size})."
                )
            if y.shape != x.shape[:1] or y.dtype != torch.int64:
                raise ValueError(
                    f"y_{part} is {y.dtype} of shape {tuple(y.shape)}; "
                    f"{len(x)} images need int64 labels of shape ({len(x)},)."
                )
            if not len(x):
                raise ValueError(f"x_{part} holds no image.")
            if not bool(((x >= 0) & (x <= 1)).all()):  # also catches NaN, which compares false
                raise ValueError(f"x_{part} holds NaN or values outside [0, 1]; scale the pixels first.")
            if not bool(((y >= 0) & (y < self.classes)).all()):
                raise ValueError(f"y_{part} holds labels outside 0 … {self.classes - 1}.")

    def only(self, classes: Iterable[int]) -> "Dataset":
        """The images of some classes, in both parts; labels and the number of classes stay as they are.

        Example:
            >>> load_digits().only([3, 5]).y_test.unique()
            tensor([3, 5])
        """
        wanted = torch.tensor(sorted(set(classes)), dtype=torch.int64)
        train, test = torch.isin(self.y_train, wanted), torch.isin(self.y_test, wanted)
        return replace(
            self,
            x_train=self.x_train[train],
            y_train=self.y_train[train],
            x_test=self.x_test[test],
            y_test=self.y_test[test],
        )

    def part(self, k: int, n: int) -> "Dataset":
        """Every n-th training image, from the k-th on, so that n parts share none; the test stays whole.

        Example:
            >>> [len(load_digits().part(k, 2).x_train) for k in range(2)]
            [674, 673]
        """
        if not 0 <= k < n:
            raise ValueError(f"part {k} of {n}: write a number from 0 to {n - 1}.")
        return replace(self, x_train=self.x_train[k::n], y_train=self.y_train[k::n])

    def to(self, device: torch.device | str) -> "Dataset":
        """The same on another device."""
        parts = {name: getattr(self, name).to(device) for name in ("x_train", "y_train", "x_test", "y_test")}
        return replace(self, **parts)


def load_digits(size: int = 8, test_share: float = 0.25, seed: int = 0) -> Dataset:
    """The 1797 handwritten digits that ship with scikit-learn; nothing is downloaded.

    Args:
        size: height and width; above 8 the images are enlarged bilinearly.
        test_share: share of the images kept for the test, the same in every class.
        seed: seed of the split.

    Raises:
        ValueError: if size is below 8, or the split leaves a part without some class.

    Example:
        >>> data = load_digits()
        >>> data.x_train.shape, data.x_test.shape, data.shape, data.classes
        (torch.Size([1347, 64]), torch.Size([450, 64]), (8, 8), 10)
    """
    if size < 8:
        raise ValueError(f"load_digits: size={size} is smaller than the digits; write size=8 or more.")
    if not 0.01 <= test_share <= 0.99:
        raise ValueError(f"load_digits: test_share={test_share} is not between 0.01 and 0.99.")
    raw = datasets.load_digits()
    images = torch.tensor(raw.images / 16.0, dtype=torch.float32)
    if size > 8:
        images = F.interpolate(images[:, None], size=(size, size), mode="bilinear", align_corners=False)
    pixels, labels = images.flatten(1).clamp(0, 1), torch.tensor(raw.target, dtype=torch.int64)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=test_share, stratify=raw.target, random_state=seed
    )
    return Dataset(pixels[train], labels[train], pixels[test], labels[test], (size, size), 10)


def load_npz(path: str | os.PathLike[str]) -> Dataset:
    """Read images from a `.npz` file with arrays x_train, y_train, x_test and y_test.

    Images have shape (n, height, width): either uint8, divided by 255 here, or floats in [0, 1].
    Labels are integers of shape (n,). Pickled objects are refused, so an unknown file is safe to open.

    Args:
        path: the file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not such an archive, declares more than it holds, an array is missing, or the arrays do not
            fit together.

    Example:
        >>> import pathlib, tempfile, numpy, tnsim
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "images.npz"
        >>> pixels, labels = numpy.zeros((6, 4, 4), "uint8"), numpy.arange(6) % 3
        >>> numpy.savez(file, x_train=pixels, y_train=labels, x_test=pixels, y_test=labels)
        >>> data = tnsim.lab.load_npz(file)
        >>> data.x_train.shape, data.classes
        (torch.Size([6, 16]), 3)
    """
    try:
        arrays = _read(path)
        pixels = {name: _pixels(name, arrays[name]) for name in ("x_train", "x_test")}
        labels = {name: _labels(name, arrays[name]) for name in ("y_train", "y_test")}
        classes = 1 + max((int(y.max()) for y in labels.values() if len(y)), default=0)
        height, width = arrays["x_train"].shape[1:]
        return Dataset(**pixels, **labels, shape=(height, width), classes=classes)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"cannot read {os.fspath(path)} as a data set: {error}") from None


_DEFLATED = 1032  # how many times its size a deflated stream may hold, at most
_ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def _read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays, after a look at what they declare: numpy asks for memory before it reads."""
    check_content(Path(path))
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            if file.read(6) == np.lib.format.MAGIC_PREFIX:
                raise ValueError("it is a single array; write np.savez(path, x_train=..., y_train=..., ...)")
        raise ValueError("it is not a .npz archive, or only the beginning of one")
    check_archive(Path(path), _DEFLATED)
    with zipfile.ZipFile(path) as archive:
        held = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        missing = [name for name in _ARRAYS if name not in held]
        if missing:
            raise ValueError(f"it lacks {', '.join(missing)} (it holds {', '.join(held) or 'nothing'})")
        for name in _ARRAYS:
            _check_header(archive, name, held[name])
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in _ARRAYS}


def _check_header(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> None:
    """Whether an array holds what it declares."""
    if info.file_size > _DEFLATED * info.compress_size:
        raise ValueError(f"{name} declares {info.file_size} bytes and holds {info.compress_size}, compressed")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(
                f"{name} is written in version {version} of the format; arrays of numbers are 1.0"
            )
        shape, _, dtype = read[version](file)
        held = info.file_size - file.tell()
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects, which are never read (allow_pickle=False)")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held:
        raise ValueError(f"{name} declares shape {shape} of {dtype} and holds {held} bytes")


def _pixels(name: str, images: np.ndarray) -> Tensor:
    if images.ndim != 3:
        raise ValueError(f"{name} has shape {images.shape}; images are written as (n, height, width)")
    if images.dtype == np.uint8:
        images = images / np.float32(255)
    elif not np.issubdtype(images.dtype, np.floating):
        raise ValueError(f"{name} is {images.dtype}; images are uint8, or floats between 0 and 1")
    return torch.tensor(images, dtype=torch.float32).flatten(1)


def _labels(name: str, labels: np.ndarray) -> Tensor:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{name} is {labels.dtype} of shape {labels.shape}; labels are integers (n,)")
    return torch.tensor(labels.astype(np.int64))
