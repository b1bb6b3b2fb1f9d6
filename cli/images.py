"""Images to measure, to train on, or to compare with, from whatever file they are in."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import data
from cli.errors import usage
from cli.options import MANY
from cli.run_record import Run
from data.errors import InputRefused

if TYPE_CHECKING:
    from data import ResultFile


@dataclass(frozen=True)
class Selection:
    """Which images of a file, and how they may be read."""

    items: str | None = None
    subset: str | None = None
    to_gray: bool = False
    max_pixels: int = MANY


@dataclass(frozen=True)
class Pictures:
    """Images (N, C, H, W) float32, their unit, and the standard deviation of their rounding, None where not known."""

    values: np.ndarray
    unit: str
    rounding: float | None

    @property
    def step(self) -> float | None:
        """The step in which the values are stored, None where not known."""
        return None if self.rounding is None else self.rounding * sqrt(12)


def images(path: Path, wanted: Selection, run: Run) -> Pictures:
    """The images that are wanted; rounding to steps of 1 / n has standard deviation 1 / (n sqrt(12))."""
    found = data.read_images(path, wanted.subset, wanted.to_gray, max_pixels=wanted.max_pixels)
    for note in found.notes:
        run.note(note)
    values = found.values[chosen(wanted.items, len(found.values))]
    rounding = 1 / (found.value_max * sqrt(12)) if found.value_max > 1 else None
    return Pictures((values / np.float32(found.value_max)).astype(np.float32), found.unit, rounding)


def sources(path: Path) -> list[Path]:
    """The files that images come from: the file, or all that a folder holds."""
    return sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def chosen(items: str | None, count: int) -> slice:
    """`START:STOP` as in Python, or one index, as a slice of `count` items that is not empty."""
    if items is None:
        return slice(None)
    start, colon, stop = items.partition(":")
    try:
        first = int(start) if start else 0
        last = (int(stop) if stop else count) if colon else first + 1
    except ValueError:
        raise usage(
            "items not understood", "--items", items, "START:STOP or one number", "--items 0:64"
        ) from None
    wanted = slice(first, last)
    if not 0 <= first < count or not range(count)[wanted]:
        raise usage(
            "no such items", "--items", items, f"a range inside 0:{count}", f"--items 0:{min(count, 8)}"
        )
    return wanted


def reference(path: Path | None, wanted: Selection, stored: ResultFile, run: Run) -> np.ndarray | None:
    """The images (B, C, H, W) that a result is compared with: from a file, else what the result stores; None without.

    Args:
        path: image, array, `images` file or measurement file; None for the stored truth.
        stored: the result.
    """
    shape = stored.reconstruction.shape
    if path is None:
        return stored.attrs.get("truth")
    if path.is_file() and data.is_measurement(path):
        found = data.read_measurement(path).x
        if found is None:
            fix = "name the true image instead"
            raise InputRefused(
                "E-LAYOUT", "the measurement holds no truth", f"{path}:/x", "nothing", "images", fix
            )
        found = found[chosen(wanted.items, len(found))]
        found = found[:, None] if found.ndim == 3 else found
    else:
        found = images(path, wanted, run).values
    if found.shape != shape:
        alike = found.shape[-2:] == shape[-2:]
        fix = "choose the same images with --items and --subset, or --to-gray" if alike else "name the image itself"
        raise InputRefused(
            "E-SHAPE", "result and truth differ in shape", str(path), sizes(found.shape), sizes(shape), fix
        )
    return found


def note_without(missing: list[Path], others: int, run: Run) -> None:
    """Notes the results that no truth is known of, beside `others`; refuses where it is known of none."""
    names, fix = ", ".join(map(str, missing)), "name the true image with --truth"
    if missing and not others:
        raise usage("no truth to compare with", names, "a result without truth", "--truth IMAGE or FILE", fix)
    if missing:
        run.note(f"not scored, no truth is stored: {names}")


def sizes(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) + " (items, channels, height, width)"
