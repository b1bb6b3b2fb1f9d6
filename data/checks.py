"""Checks of values that every reader shares: numbers, finite, in the range that the prior was trained on."""

from __future__ import annotations

import numpy as np

from data.errors import InputRefused

RANGES = {"[0,1]": (0.0, 1.0), "HU": (-1024.0, 3071.0)}  # value ranges of the units that have one
OVERSHOOT = 0.1  # share of the range by which resampled images may exceed it


def check_range(values: np.ndarray, unit: str, where: str) -> None:
    """Refuses values outside the range of a unit, such as 0..255 given as "[0,1]"; nothing is clipped.

    Args:
        values: any shape, finite.
        unit: of the prior; a unit without a known range is not checked.
        where: file, for the message.

    Raises:
        InputRefused: E-RANGE with both ranges and the conversion that is probably missing.
    """
    low, high = RANGES.get(unit, (-np.inf, np.inf))
    slack = OVERSHOOT * (high - low)
    least, most = float(values.min()), float(values.max())
    if low - slack <= least and most <= high + slack:
        return
    raise InputRefused(
        "E-RANGE",
        f"values outside the range of {unit}",
        where,
        f"{least:.6g} .. {most:.6g}",
        f"{low:g} .. {high:g}",
        range_remedy(least, most, unit),
    )


def range_remedy(least: float, most: float, unit: str) -> str:
    """The conversion that values of this range most likely miss."""
    if unit != "[0,1]":
        return f"convert the values to {unit}, or use a prior of their own unit"
    if least >= -1.1 and most <= 1.1:
        return "the values look like -1..1: use (x + 1) / 2"
    for top in (255, 4095, 65535):
        if least >= 0 and most <= top:
            return f"the values look like 0..{top}: divide by {top}"
    if least >= -3100 and most <= 33000:
        return "the values look like Hounsfield units: map a window to 0..1, (HU - low) / (high - low)"
    return "scale the values to 0..1 as the prior's training images were, or use a prior of their own unit"


def refuse_not_real(dtype: np.dtype, where: str) -> None:
    """Refuses values that are not real numbers."""
    if dtype.kind == "c":
        raise InputRefused(
            "E-FORMAT",
            "complex values where real ones are expected",
            where,
            str(dtype),
            "real numbers",
            "store the magnitude or the real part (numpy.abs, numpy.real)",
        )
    if dtype.kind not in "biuf":
        raise InputRefused(
            "E-FORMAT",
            "values are not numbers",
            where,
            f"type {dtype}",
            "integers or floating point",
            "store the image as a numeric array",
        )


def refuse_not_finite(array: np.ndarray, where: str) -> None:
    """Refuses NaN and infinite values, with their number and the first index."""
    if array.dtype.kind not in "fc":
        return
    bad = ~np.isfinite(array)
    count = int(bad.sum())
    if count:
        first = tuple(int(i) for i in np.unravel_index(int(bad.argmax()), bad.shape))
        nan = int(np.isnan(array).sum())
        raise InputRefused(
            "E-VALUES",
            "values that are not finite",
            where,
            f"{nan} NaN and {count - nan} infinite of {array.size} values, the first at index {first}",
            "finite values",
            "mend the source; unknown pixels belong in a mask (--operator inpaint --mask)",
        )
