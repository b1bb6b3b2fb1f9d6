"""Pictures of a folder as one array: brought to one size, cut into windows of one, or refused where they differ."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from data.errors import InputRefused
from data.resizing import square


@dataclass(frozen=True)
class Shaping:
    """How pictures of different sizes become one array.

    Args:
        size: cut the central square out of each and bring it to size x size, antialiased.
        crop: cut pictures that differ into windows of one size, each at least crop x crop; nothing is scaled.
        at_least: leave out pictures with a side shorter than this; 0 keeps all.
    """

    size: int | None = None
    crop: int | None = None
    at_least: int = 0


def stacked(
    pictures: list[np.ndarray], names: list[str], where: str, shaping: Shaping
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """One array (N, C, H, W) of pictures (C, H, W), the picture that each came from (N,), and notes.

    Raises:
        InputRefused: E-SIZE for pictures smaller than `size` or `crop`; E-LAYOUT when they differ otherwise.
    """
    kept = [k for k, picture in enumerate(pictures) if min(picture.shape[1:]) >= shaping.at_least]
    notes = (f"{len(pictures) - len(kept)} of {len(pictures)} pictures in {where} are smaller than {shaping.at_least} "
             "pixels: left out",) if len(kept) < len(pictures) else ()  # fmt: skip
    if not kept:
        refuse_small(pictures[0], names[0], shaping.at_least)
    parts = [pictures[k] for k in kept]
    names = [names[k] for k in kept]
    if shaping.size is not None:
        parts = [square(part, shaping.size, name) for part, name in zip(parts, names, strict=True)]
    origin = np.array(kept)
    if shaping.crop is not None and len({part.shape[1:] for part in parts}) > 1:
        height, width = (min(part.shape[axis] for part in parts) for axis in (1, 2))
        for part, name in zip(parts, names, strict=True):
            refuse_small(part, name, shaping.crop)
        cut = [windows(part, height, width) for part in parts]
        origin = np.repeat(origin, [len(w) for w in cut])
        notes += (f"pictures of different sizes cut into {len(origin)} windows of {height} x {width}",)
        names = [name for name, w in zip(names, cut, strict=True) for _ in w]
        parts = [window for w in cut for window in w]
    refuse_mixed(parts, names, where)
    return np.stack(parts), origin, notes


def windows(picture: np.ndarray, height: int, width: int) -> list[np.ndarray]:
    """Views (C, height, width) that cover a picture (C, H, W), as few as can, evenly spaced."""
    starts = [
        np.linspace(0, length - part, -(-length // part)).round().astype(int)
        for length, part in zip(picture.shape[1:], (height, width), strict=True)
    ]
    return [picture[:, top : top + height, left : left + width] for top in starts[0] for left in starts[1]]


def refuse_small(picture: np.ndarray, name: str, crop: int) -> None:
    """Refuses a picture with a side shorter than the windows that are wanted: nothing is padded."""
    if min(picture.shape[1:]) < crop:
        found, fix = f"{picture.shape[1]} x {picture.shape[2]}", "a smaller crop, or leave this picture out"
        raise InputRefused("E-SIZE", "the picture is too small", name, found, f"at least {crop} x {crop}", fix)


def refuse_mixed(pictures: list[np.ndarray], names: list[str], where: str) -> None:
    """Refuses pictures of different sizes, channels or types."""
    kinds = [(p.shape, p.dtype) for p in pictures]
    counts = Counter(kinds).most_common()
    if len(counts) == 1:
        return
    found = [
        f"{count} of {shape[1]} x {shape[2]}, {shape[0]} channels, {dtype} ({names[kinds.index((shape, dtype))]})"
        for (shape, dtype), count in counts[:5]
    ]
    sizes = {shape[1:] for shape, _ in kinds}
    alike = "one of them at a time, or crop or scale them all to one size"
    fix = alike if len(sizes) > 1 else "--to-gray, or keep one kind only"
    expected = "one size, one type, equal channels"
    raise InputRefused("E-LAYOUT", "the pictures are not alike", where, "\n".join(found), expected, fix)
