"""Several pictures of one size, and what they are in a few numbers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class ImageSet:
    """Pictures of one size.

    Args:
        values: (N, C, H, W) in the type of the file; `values / value_max` is in `unit`.
        value_max: 255 or 65535 for 8 and 16 bit, 1 for other types.
        unit: "[0,1]" for 1, 8 and 16 bit; else what the file says, or "raw".
        attrs: attributes of an HDF5 file (source, licence, ...).
        index: (N,) place of each picture in the file or the sorted folder.
        notes: what was converted or chosen.
    """

    values: np.ndarray
    value_max: float
    unit: str
    attrs: dict[str, Any] = field(default_factory=dict)
    index: np.ndarray = field(default_factory=lambda: np.arange(0))
    notes: tuple[str, ...] = ()


def fingerprint(images: ImageSet) -> dict[str, Any]:
    """What the pictures are, for a person and for a record, with the SHA-256 of their values."""
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
        "sha256": hashlib.sha256(values.data).hexdigest(),
    }
