"""Result files: HDF5 with the reconstruction, its mean, spread and samples, and what made them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data import hdf5
from data.errors import InputRefused, first_line
from data.tree import read_tree, write_tree

FORMAT = 1
NAME = "result.h5"  # of the file in the folder of a reconstruction


@dataclass(frozen=True)
class ResultFile:
    """`reconstruction`, `mean` (B, C, H, W); `std`, `null_std` (B, C, H, W) and `samples` (S, B, C, H, W) or None.

    `null_std` is the standard deviation over the samples of what the data do not fix.
    """

    reconstruction: np.ndarray
    mean: np.ndarray
    std: np.ndarray | None = None
    samples: np.ndarray | None = None
    attrs: dict[str, Any] = field(default_factory=dict)
    null_std: np.ndarray | None = None


def result_files(path: str | os.PathLike[str]) -> dict[str, Path]:
    """The result files that a path stands for: itself, the one in a folder, or those in the folders of a folder.

    Returns:
        Path by name; a single result has the name "", several those of their folders, in their order. Nothing for a
        folder without results.
    """
    path = Path(path)
    single = path / NAME if path.is_dir() else path
    if single.exists() or not path.is_dir():
        return {"": single}
    return {place.parent.name: place for place in sorted(path.glob(f"*/{NAME}"))}


def write_result(
    path: str | os.PathLike[str],
    reconstruction: np.ndarray,
    mean: np.ndarray,
    std: np.ndarray | None = None,
    samples: np.ndarray | None = None,
    attrs: dict[str, Any] | None = None,
    null_std: np.ndarray | None = None,
) -> None:
    """Writes a result file that `read_result` reads back bit for bit; it replaces one that exists.

    Args:
        attrs: numbers, texts, lists, dicts and arrays.

    Raises:
        ValueError: shapes that differ, or NaN: that is never written as a result.
    """
    arrays = {"reconstruction": reconstruction, "mean": mean, "std": std, "samples": samples, "null_std": null_std}
    for name, array in arrays.items():
        if array is None:
            continue
        shape = array.shape[1:] if name == "samples" else array.shape
        if shape != mean.shape or mean.ndim != 4:
            raise ValueError(
                f"got {name} of shape {array.shape}; expected mean (B, C, H, W) {mean.shape} to fit it"
            )
        if not np.isfinite(array).all():
            raise ValueError(
                f"got NaN or Inf in {name}; expected finite values; these are never written as a result"
            )
    with hdf5.created(path) as file:
        file.attrs["recon_format"] = FORMAT
        for name, array in arrays.items():
            if array is not None:
                file[name] = array
                axes = ("item", "channel", "row", "column")
                for axis, label in zip(
                    file[name].dims, ("sample",) * (name == "samples") + axes, strict=True
                ):
                    axis.label = label
        write_tree(file.create_group("attributes"), attrs or {})


def read_result(path: str | os.PathLike[str], max_elements: int = hdf5.MAX_ELEMENTS) -> ResultFile:
    """Reads a result file.

    Raises:
        InputRefused: E-FILE, E-FORMAT, E-LAYOUT when it is none; E-LIMIT and E-UNSAFE (exit 7).
    """
    path = Path(path)
    with hdf5.opened(path) as file:
        if not {"reconstruction", "mean"} <= set(file):
            raise hdf5.wrong_layout(file, "recon result")
        arrays = {
            name: hdf5.dataset(file, name, max_elements)[()] if name in file else None
            for name in ("reconstruction", "mean", "std", "samples", "null_std")
        }
        try:
            attrs = read_tree(file["attributes"]) if "attributes" in file else {}
        except ValueError as problem:
            where = f"{path}:/attributes"
            raise InputRefused("E-LAYOUT", "unreadable attributes", where, first_line(problem), "JSON",
                               "reconstruct again") from problem  # fmt: skip
    return ResultFile(**arrays, attrs=attrs)
