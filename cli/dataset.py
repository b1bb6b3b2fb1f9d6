"""Training images: read, split, and described before a long run starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import data
from cli.run_record import Run

ORIGIN = ("source", "licence", "attribution", "description")


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) in the file's own type; `values / value_max` is in `unit`; their origin."""

    training: np.ndarray
    validation: np.ndarray
    value_max: float
    unit: str
    provenance: dict[str, Any]
    fingerprint: dict[str, Any]


def load(path: Path, size: int | None, to_gray: bool, max_pixels: int, run: Run) -> Dataset:
    """The training and validation images of a folder or file, at `size` x `size` if given."""
    parts = {
        name: data.read_images(path, name, to_gray, None, size, max_pixels)
        for name in ("train", "validation")
    }
    found = parts["train"]
    for note in found.notes:
        run.note(note)
    marks = data.fingerprint(found)
    origin = {key: str(found.attrs[key]) for key in ORIGIN if key in found.attrs}
    provenance = {"data": path.name, "training_images_sha256": marks["sha256"], **origin}
    return Dataset(found.values, parts["validation"].values, found.value_max, found.unit, provenance, marks)


def lines(found: Dataset) -> list[str]:
    """The fingerprint as text, so that a person sees whether these are the images meant."""
    marks = found.fingerprint
    return [
        f"images   {marks['count']} for training, {len(found.validation)} for validation",
        f"size     {marks['height']} x {marks['width']}, {marks['channels']} channel(s), {marks['dtype']}",
        f"values   {marks['min']:g} .. {marks['max']:g}, mean {marks['mean']:.4g}, std {marks['std']:.4g}; "
        f"in unit {marks['unit']} after division by {marks['value_max']:g}",
        f"licence  {found.provenance.get('licence', 'not stated in the data')}",
        f"sha256   {marks['sha256']}",
    ]
