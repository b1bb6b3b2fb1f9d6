"""Stored numbers to values of a unit, value = slope * stored + intercept, as DICOM, NIfTI and HDF5 state it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from data.errors import InputRefused
from data.image_set import ImageSet

INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Rescaling:
    """value = slope * stored + intercept, in `unit`."""

    unit: str = "raw"
    slope: float = 1.0
    intercept: float = 0.0

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        """The values, int16 where that holds them exactly (HU of a CT: half the memory), else float32."""
        whole = stored.dtype.kind in "iub" and self.slope == 1 and float(self.intercept).is_integer()
        if whole and stored.size:
            low, high = (int(end) + int(self.intercept) for end in (stored.min(), stored.max()))
            if INT16.min <= low and high <= INT16.max:
                return (stored.astype(np.int32) + np.int32(self.intercept)).astype(np.int16)
        values = stored.astype(np.float32)
        if self.slope != 1:
            values *= np.float32(self.slope)
        if self.intercept != 0:
            values += np.float32(self.intercept)
        return values


def checked(unit: str, slope: float, intercept: float, where: str) -> Rescaling:
    """The rescaling that these numbers state.

    Raises:
        InputRefused: E-VALUES when they are not finite, or the slope is zero.
    """
    if math.isfinite(slope) and math.isfinite(intercept) and slope != 0:
        return Rescaling(unit, float(slope), float(intercept))
    raise InputRefused(
        "E-VALUES",
        "no such rescaling",
        where,
        f"slope {slope}, intercept {intercept}",
        "value = slope * stored + intercept with finite numbers, slope not zero",
        "correct the slope and the intercept",
    )


def rescaled(images: ImageSet, rescaling: Rescaling | None) -> ImageSet:
    """The images with the values that a rescaling states for what is stored; as they are without one."""
    if rescaling is None:
        return images
    return replace(images, values=rescaling(images.values), value_max=1.0, unit=rescaling.unit)


def stated(attrs: dict[str, object], where: str) -> Rescaling | None:
    """The rescaling of an HDF5 file with the attributes `unit`, `rescale_slope` or `rescale_intercept`.

    A unit other than [0,1] alone says that the stored numbers are values of that unit.
    """
    unit = attrs.get("unit")
    unit = unit if isinstance(unit, str) and unit else "raw"
    slope, intercept = attrs.get("rescale_slope", 1.0), attrs.get("rescale_intercept", 0.0)
    if unit in {"raw", "[0,1]"} and not {"rescale_slope", "rescale_intercept"} & set(attrs):
        return None
    try:
        return checked(unit, float(slope), float(intercept), where)
    except (TypeError, ValueError):
        found = f"rescale_slope {slope!r}, rescale_intercept {intercept!r}"
        raise InputRefused("E-VALUES", "no such rescaling", where, found, "numbers", "correct the attributes") from None
