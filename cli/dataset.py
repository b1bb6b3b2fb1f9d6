"""Training images: read, split, brought to size and range, and described before a long run starts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import data
from cli import suggest
from cli.run_record import Run
from cli.values import Values, in_range
from data import ImageSet
from data.errors import InputRefused

ORIGIN = ("source", "licence", "attribution", "description")
CLASSES_SHOWN = 12
Multiple = Callable[[int], int]  # what height and width must be multiples of, for images with this shorter side


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W); `values / value_max` is in `unit`, from `low` to `high`; their origin.

    Args:
        labels, validation_labels: (N,) int64 classes, places in `class_names`; None where the data have none.
        spacing_mm: edge of a pixel where it is known and one.
    """

    training: np.ndarray
    validation: np.ndarray
    value_max: float
    unit: str
    provenance: dict[str, Any]
    fingerprint: dict[str, Any]
    low: float = 0.0
    high: float = 1.0
    spacing_mm: float | None = None
    labels: np.ndarray | None = None
    validation_labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """How images are read for a training.

    Args:
        size: square to bring them to; None to see what they need.
        crop: side of the random windows that are trained on, or None.
        to_gray, max_pixels: as for `data.read_images`.
        values: what their numbers mean.
    """

    size: int | None = None
    crop: int | None = None
    to_gray: bool = False
    max_pixels: int = 10**8
    values: Values = field(default_factory=Values)


def load(path: Path, reading: Reading, multiple: Multiple, chosen: bool, run: Run) -> Dataset:
    """The training and validation images of a folder or file.

    Args:
        multiple: of the network that will be trained.
        chosen: whether nobody has set the network, so that images which do not fit it are brought to size.
    """
    sizes = data.image_sizes(path, reading.max_pixels)
    size, at_least = fitting(sizes, reading, multiple, chosen, path, run)
    parts = []
    for name in ("train", "validation"):
        found = data.read_images(
            path, name, reading.to_gray, None, size, reading.max_pixels,
            crop=reading.crop, at_least=at_least, rescaling=reading.values.rescaling,
        )  # fmt: skip
        if name == "train":
            for note in found.notes:
                run.note(note)
        parts.append(in_range(found, reading.values, f"{path} ({name})", run))
    (training, ends), (validation, _) = parts
    return described(path, training, validation, ends, sizes, size)


def described(
    path: Path, training: ImageSet, validation: ImageSet, ends: tuple[float, float], sizes: list, size: int | None
) -> Dataset:
    """The images with their fingerprint and origin."""
    marks = data.fingerprint(training)
    half = (ends[1] - ends[0]) / 2
    common, count = Counter(sizes).most_common(1)[0]
    marks |= {
        "validation": len(validation.values),
        "sizes": {"smallest": min(sizes), "largest": max(sizes), "most_common": common, "of_which": count},
        "suggested_size": suggest.side(sizes),
        "range": list(ends),
        "normalised_std": marks["std"] / marks["value_max"] / half,
        "sigma_max": marks["largest_distance"] / half,
    }
    origin = {key: str(training.attrs[key]) for key in ORIGIN if key in training.attrs}
    clipped = {"range": f"{ends[0]:g} .. {ends[1]:g} {training.unit}"}
    provenance = {"data": path.name, "training_images_sha256": marks["sha256"], **clipped, **origin}
    spacing = None if size is not None else training.attrs.get("spacing_mm")
    return Dataset(
        training.values, validation.values, training.value_max, training.unit, provenance, marks, *ends,
        spacing, training.labels, validation.labels, training.class_names,
    )  # fmt: skip


def fitting(
    sizes: list[tuple[int, int]], reading: Reading, multiple: Multiple, chosen: bool, path: Path, run: Run
) -> tuple[int | None, int]:
    """The size to bring pictures to (None: as they are) and the side below which they are left out (0: none)."""
    if reading.size is not None or reading.crop is not None:
        return reading.size, 0
    if len(set(sizes)) == 1:
        shape = sizes[0]
        fits = max(shape) <= suggest.LARGEST and not any(n % multiple(min(shape)) for n in shape)
        if fits or not chosen:
            return None, 0
        why = f"pictures of {shape[0]} x {shape[1]}"
    else:
        why = "pictures of different sizes"
    side = suggest.side(sizes, 0 if chosen else multiple(0))
    if side is None:
        expected = f"at least {suggest.SIDES[0] if chosen else multiple(0)} pixels on the shorter side"
        raise InputRefused("E-SIZE", "the pictures are too small", str(path), f"{min(sizes)} .. {max(sizes)}", expected,
                           "larger pictures, or a network for small ones in --config")  # fmt: skip
    run.note(f"{why}: central squares brought to {side} x {side}; --size chooses another")
    return side, side


def lines(found: Dataset) -> list[str]:
    """The fingerprint as text, so that a person sees whether these are the images meant."""
    marks = found.fingerprint
    shown = list(marks["classes"].items())[:CLASSES_SHOWN]
    classes = ", ".join(f"{name} {count}" for name, count in shown)
    more = ", ..." if len(marks["classes"]) > CLASSES_SHOWN else ""
    kinds = [f"classes  {len(marks['classes'])}: {classes}{more}"] if marks["classes"] else []
    shares = ", ".join(f"{share} % {level:.4g}" for share, level in marks["percentiles"].items())
    return [
        f"images   {marks['count']} for training, {len(found.validation)} for validation",
        *kinds,
        f"size     {marks['height']} x {marks['width']}, {marks['channels']} channel(s), {marks['dtype']}"
        + origins(marks),
        f"values   {marks['min']:g} .. {marks['max']:g}, mean {marks['mean']:.4g}, std {marks['std']:.4g}; "
        f"in unit {marks['unit']} after division by {marks['value_max']:g}",
        f"below    {shares} ({marks['unit']})",
        f"range    {found.low:g} .. {found.high:g} {marks['unit']} for the network's -1 .. 1, there std "
        f"{marks['normalised_std']:.3g}, largest distance {marks['sigma_max']:.4g} (sigma_max of ve)",
        f"licence  {found.provenance.get('licence', 'not stated in the data')}",
        f"sha256   {marks['sha256']}",
    ]


def origins(marks: dict[str, Any]) -> str:
    """What sizes the files have, where they are not those of the images."""
    sizes = marks["sizes"]
    if {sizes["smallest"], sizes["largest"]} == {(marks["height"], marks["width"])}:
        return ""
    least, most, common = (" x ".join(map(str, sizes[key])) for key in ("smallest", "largest", "most_common"))
    return f"; in the files {least} .. {most}, most often {common}; suggested {marks['suggested_size']}"


def suggested(found: Dataset) -> dict[str, Any]:
    """Settings that these images suggest."""
    size = min(found.training.shape[2:])
    return {**suggest.network(size), **suggest.levels(size, found.fingerprint["normalised_std"])}
