"""Several pictures of one size, and what they are in a few numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERCENTILES = (1, 25, 50, 75, 99)
ENOUGH = 2**22  # values, evenly chosen, that percentiles are taken of
MOST = 512  # pictures, evenly chosen, between which distances are taken


@dataclass(frozen=True)
class ImageSet:
    """Pictures of one size.

    Args:
        values: (N, C, H, W) in the type of the file; `values / value_max` is in `unit`.
        value_max: 255 or 65535 for 8 and 16 bit, 1 for other types and where the file states its unit.
        unit: "[0,1]" for 1, 8 and 16 bit; else what the file says ("HU" of a CT in DICOM), or "raw".
        attrs: attributes of an HDF5 file (source, licence, ...); `spacing_mm` and `affine` of a medical one.
        index: (N,) place of each picture in the file or the sorted folder.
        notes: what was converted or chosen.
        labels: (N,) int64 class of each picture, a place in `class_names`; None without classes.
        class_names: names of the classes, those of the other subset too.
    """

    values: np.ndarray
    value_max: float
    unit: str
    attrs: dict[str, Any] = field(default_factory=dict)
    index: np.ndarray = field(default_factory=lambda: np.arange(0))
    notes: tuple[str, ...] = ()
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


def fingerprint(images: ImageSet) -> dict[str, Any]:
    """What the pictures are, for a person and for a record, with the SHA-256 of their values.

    `min`, `max`, `mean` and `std` are of the numbers as they are stored, `percentiles` and `largest_distance` in the
    unit.
    """
    values = np.ascontiguousarray(images.values)
    return {
        "count": len(values),
        "channels": values.shape[1],
        "height": values.shape[2],
        "width": values.shape[3],
        "dtype": str(values.dtype),
        "unit": images.unit,
        "value_max": images.value_max,
        "min": float(values.min()),
        "max": float(values.max()),
        "mean": float(values.mean(dtype=np.float64)),
        "std": float(values.std(dtype=np.float64)),
        "percentiles": percentiles(images),
        "largest_distance": largest_distance(images),
        "classes": {name: int((images.labels == k).sum()) for k, name in enumerate(images.class_names)},
        "sha256": hashlib.sha256(values.data).hexdigest(),
    }


def percentiles(images: ImageSet) -> dict[str, float]:
    """Values in the unit below which so many percent lie, of at most ENOUGH values."""
    some = images.values.reshape(-1)[:: -(-images.values.size // ENOUGH)]
    levels = np.percentile(some, PERCENTILES) / images.value_max
    return {str(share): float(level) for share, level in zip(PERCENTILES, levels, strict=True)}


def largest_distance(images: ImageSet) -> float:
    """max |a - b| over pairs of at most MOST pictures, Euclidean over all their values, in the unit.

    Reference: Song and Ermon, Improved techniques for training score-based generative models, 2020, technique 1,
    arXiv:2006.09011: the largest noise level should be about this, in the units that a network sees.
    """
    chosen = np.linspace(0, len(images.values) - 1, min(MOST, len(images.values))).astype(int)
    flat = images.values[chosen].reshape(len(chosen), -1).astype(np.float32)
    flat -= flat.mean(0)  # distances stay, and squares do not drown their differences
    squares = np.einsum("nd,nd->n", flat, flat, dtype=np.float64)
    apart = squares[:, None] + squares[None, :] - 2.0 * (flat @ flat.T)
    return float(np.sqrt(max(apart.max(), 0.0)) / images.value_max)
