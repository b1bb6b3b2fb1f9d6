"""Images to measure, to train on, or to compare with, from whatever file they are in."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import data
from cli.errors import usage
from cli.run_record import Run
from data.errors import InputRefused


def images(
    path: Path, items: str | None, subset: str | None, to_gray: bool, run: Run
) -> tuple[np.ndarray, str]:
    """Images (N, C, H, W) float32 and their unit; `items` and `subset` choose from files that hold several."""
    found = data.read_images(path, subset=subset, to_gray=to_gray)
    for note in found.notes:
        run.note(note)
    values = found.values[chosen(items, len(found.values))]
    return (values / np.float32(found.value_max)).astype(np.float32), found.unit


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


def truth(
    path: Path | None,
    items: str | None,
    subset: str | None,
    to_gray: bool,
    stored: np.ndarray | None,
    shape: tuple[int, ...],
    where: Path,
    run: Run,
) -> np.ndarray:
    """The images (B, C, H, W) that a result is compared with: from a file, else those stored beside the result.

    Args:
        path: image, array, `images` file or measurement file; None for the stored truth.
        stored: truth in the result file, or None.
        shape: (B, C, H, W) of the result.
        where: the result, for messages.
    """
    if path is None:
        if stored is None:
            raise usage(
                "no truth to compare with",
                str(where),
                "a result without truth",
                "--truth IMAGE or FILE",
                "name the true image with --truth",
            )
        return stored
    if data.is_measurement(path):
        reference = data.read_measurement(path).x
        if reference is None:
            raise InputRefused(
                "E-LAYOUT",
                "the measurement holds no truth",
                f"{path}:/x",
                "nothing",
                "the true images",
                "name the true image instead",
            )
        reference = reference[chosen(items, len(reference))]
    else:
        reference, _ = images(path, items, subset, to_gray, run)
    if reference.shape != shape:
        raise InputRefused(
            "E-SHAPE",
            "result and truth are of different shape",
            str(path),
            " x ".join(map(str, reference.shape)),
            " x ".join(map(str, shape)) + " (items, channels, height, width)",
            "choose the same images with --items and --subset, or --to-gray",
        )
    return reference
