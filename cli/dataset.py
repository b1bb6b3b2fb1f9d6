"""Training images: read, brought to one size, split, and described before a long run starts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import data
from cli.errors import usage
from cli.run_record import Run

HELD_OUT = 20  # every 20th image validates where the data name no validation subset


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) in the file's own type, and where they come from."""

    training: np.ndarray
    validation: np.ndarray
    value_max: float
    unit: str
    provenance: dict[str, Any]


def load(path: Path, size: int | None, to_gray: bool, run: Run) -> Dataset:
    """The training and validation images of a folder or file, at `size` x `size` where that is given."""
    if data.has_subsets(path):
        found, held = (
            data.read_images(path, subset=subset, to_gray=to_gray) for subset in ("train", "validation")
        )
        training, validation = found.values, held.values
    else:
        found = data.read_images(path, to_gray=to_gray)
        test = np.arange(len(found.values)) % HELD_OUT == HELD_OUT - 1
        training, validation = found.values[~test], found.values[test]
        run.note(
            f"no subsets in {path.name}: every {HELD_OUT}th image is held out for validation ({test.sum()} of {len(test)})"
        )
    for note in found.notes:
        run.note(note)
    if size is not None and training.shape[-2:] != (size, size):
        run.note(
            f"images of {training.shape[-2]} x {training.shape[-1]} resized to {size} x {size}, antialiased"
        )
        training, validation = resized(training, size), resized(validation, size)
    digest = hashlib.sha256(np.ascontiguousarray(training)).hexdigest()
    keys = ("source", "licence", "attribution", "description")
    provenance = {
        "data": path.name,
        "training_images_sha256": digest,
        **{key: str(found.attrs[key]) for key in keys if key in found.attrs},
    }
    return Dataset(training, validation, float(found.value_max), found.unit, provenance)


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """(N, C, H, W) at size x size in the type it came in; the aspect ratio must be 1 already."""
    from skimage.transform import resize

    height, width = images.shape[-2:]
    if height != width:
        raise usage(
            "images are not square",
            "--size",
            f"{height} x {width}",
            "square images",
            "crop them to squares first",
        )
    small = resize(
        images, (*images.shape[:2], size, size), order=1, anti_aliasing=size < height, preserve_range=True
    )
    return (small.round() if images.dtype.kind in "iu" else small).astype(images.dtype)


def fingerprint(found: Dataset) -> list[str]:
    """Lines that let a person see that these are the images meant."""
    images = found.training
    return [
        f"training    {len(images)} images, validation {len(found.validation)}",
        f"size        {images.shape[2]} x {images.shape[3]}, {images.shape[1]} channel(s), {images.dtype}",
        f"values      {images.min():g} .. {images.max():g}, mean {images.mean(dtype=np.float64):.4g}, unit {found.unit} at 1/{found.value_max:g}",
        f"sha256      {found.provenance['training_images_sha256'][:16]}",
        f"licence     {found.provenance.get('licence', 'not stated')}",
    ]
