"""Which pictures are for training and which for validation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputRefused
from data.hdf5 import dataset, opened

if TYPE_CHECKING:
    import h5py

SUBSETS = {"train": 0, "validation": 1}
HELD_OUT = 10  # the last tenth validates where the data do not say what does


def split(count: int, subset: str | None, where: str) -> np.ndarray:
    """Indices of a subset of `count` pictures where none is stated: the last tenth (at least 1) validates."""
    if subset is None:
        return np.arange(count)
    held = max(1, count // HELD_OUT)
    if count < 2:
        fix = "give more pictures, or a file with train and validation subsets"
        raise InputRefused("E-LAYOUT", "too few to split", where, f"{count} pictures", "at least 2", fix)
    return np.arange(count - held) if subset == "train" else np.arange(count - held, count)


def held_out_note(count: int, subset: str | None) -> tuple[str, ...]:
    held = max(1, count // HELD_OUT)
    return (f"no subsets stated: the last {held} of {count} pictures validate",) if subset else ()


def stored_subset(file: h5py.File, path: Path, count: int, subset: str) -> np.ndarray:
    """The dataset `subset`, (N,) 0 for training, 1 for validation; some pictures are in the wanted one."""
    found, fix = dataset(file, "subset"), "store one number for each picture, or choose the other subset"
    numbers = found.shape == (count,) and found.dtype.kind in "biu"
    if not numbers or SUBSETS[subset] not in found[()]:
        raise InputRefused(
            "E-LAYOUT",
            "subset does not fit the images",
            f"{path}:/subset",
            f"shape {found.shape}, type {found.dtype}"
            + (f", values {np.unique(found[()])[:9].tolist()}" if numbers else ""),
            f"({count},) integers: 0 train, 1 validation; some of them {SUBSETS[subset]}",
            fix,
        )
    return found[()]


def stored_labels(path: Path, index: np.ndarray) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """The class (N,) int64 of the pictures `index` by the dataset `labels` of an HDF5 file, and the classes' names.

    Classes are the values that occur anywhere in the file, in their order; the attribute `class_names` of the dataset
    or the file may name the values 0, 1, ... None and () without such a dataset.
    """
    with opened(path) as file:
        if "labels" not in file:
            return None, ()
        found, count = dataset(file, "labels"), len(file["images"])
        if found.shape != (count,) or found.dtype.kind not in "iu":
            raise InputRefused(
                "E-LAYOUT",
                "labels do not fit the images",
                f"{path}:/labels",
                f"shape {found.shape}, type {found.dtype}",
                f"({count},) integers",
                "store one whole number for each picture",
            )
        values = found[()]
        told = found.attrs.get("class_names", file.attrs.get("class_names"))
    classes, labels = np.unique(values, return_inverse=True)
    names = () if told is None else tuple(n.decode() if isinstance(n, bytes) else str(n) for n in np.ravel(told))
    named = [names[value] if 0 <= value < len(names) else str(value) for value in classes.tolist()]
    return labels[index].astype(np.int64), tuple(named)
