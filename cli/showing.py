"""Data that are no picture, as one: sinograms, k-space, lists of values."""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any

import numpy as np

DECADES = 4  # of k-space that are shown, below its largest value


def data(y: np.ndarray, spec: dict[str, Any]) -> tuple[str, np.ndarray, str]:
    """What the data of one item are called, a picture (1, H, W) of them, and what it shows.

    Args:
        y: data of one item, (channels, ...).
        spec: of the operator.
    """
    name, parameters = spec["name"], spec["parameters"]
    if name in ("ct", "ct_fan"):
        return "sinogram", y, "angle down, detector across"
    if name == "mri":
        coils = parameters.get("coils") is not None
        size = np.sqrt((y.reshape(-1, *y.shape[-2:]) ** 2).sum(0, keepdims=True))
        drawn = "black not sampled" if parameters.get("trajectory") is None else "shot down, sample across"
        return "k-space", decades(size), f"log10 |y|{' over all coils' if coils else ''}, {drawn}"
    if name == "phase_retrieval":
        return "diffraction", decades(y.reshape(-1, y.shape[-1])[None]), "log10 y"
    return "values", rows(y), "row by row"


def decades(size: np.ndarray) -> np.ndarray:
    """log10 of sizes, cut off `DECADES` below the largest."""
    largest = float(size.max()) or 1.0
    return np.log10(np.maximum(size, largest * 10.0**-DECADES))


def rows(values: np.ndarray) -> np.ndarray:
    """A list of values as an almost square picture (1, H, W), filled up with the smallest."""
    flat = values.ravel()
    width = ceil(sqrt(flat.size))
    height = ceil(flat.size / width)
    filled = np.full(height * width, flat.min(), flat.dtype)
    filled[: flat.size] = flat
    return filled.reshape(1, height, width)
