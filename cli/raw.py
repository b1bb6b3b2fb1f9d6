"""What a scanner wrote, raw: the flags that say how it is to be read, and the scale of its image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cli.errors import usage


@dataclass(frozen=True)
class RawFlags:
    """How raw data are to be read, as typed.

    Args:
        axes: names of the axes of k-space, where they are in doubt.
        scale: "auto", or the number by which the image is multiplied.
        air: where projections see only air.
        stripes: width in bins of what is levelled in projections.
        angles: of the views, in place of those of the file.
        set: NAME=VALUE, parameters of the operator.
    """

    axes: str | None = None
    scale: str | None = None
    air: str | None = None
    stripes: int | None = None
    angles: str | None = None
    set: list[str] | None = None


def scale(text: str | None, bright: float) -> float:
    """The factor that was typed, or the one that makes the brightest of the image 1."""
    if text in (None, "auto"):
        return 1.0 / bright
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (np.isfinite(value) and value > 0):
        raise usage("scale not understood", "--scale", text, "auto, or a number above zero", "--scale auto")
    return value


def scaled(text: str | None) -> bool:
    """Whether the scale is to be found."""
    return text in (None, "auto")
