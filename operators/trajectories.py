"""Paths through k-space that leave the Cartesian grid, as arrays (shots, samples, 2) of (row, column).

Units are cycles per pixel, from -1/2 to 1/2: k = m / size is index m + size // 2 of the centred transform. Rows count
downwards, and angles turn as those of tomography, counter-clockwise from the columns: by the projection-slice theorem
the spoke at an angle is the Fourier transform of the parallel-beam view at that angle.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from operators.checks import fault, finite_float, positive_int, real_array

GOLDEN_ANGLE = math.pi * (math.sqrt(5.0) - 1.0) / 2.0  # 111.25 degrees


def radial_trajectory(spokes: int, samples: int) -> np.ndarray:
    """Spokes through the origin, each turned by the golden angle from the one before.

    Args:
        spokes: Number of spokes; any stretch of them covers all directions about evenly.
        samples: Points of each, from -1/2 to 1/2 (end excluded), the origin being point samples // 2.

    Returns:
        (spokes, samples, 2) in cycles per pixel.

    Reference: Winkelmann et al., "An optimal radial profile order based on the golden ratio for time-resolved MRI",
        2007.
    """
    samples = positive_int("samples", samples)
    along = (np.arange(samples) - samples // 2) / samples
    return _turned(along, np.arange(positive_int("spokes", spokes)) * GOLDEN_ANGLE)


def spiral_trajectory(arms: int, samples: int, turns: float) -> np.ndarray:
    """Archimedean spirals from the origin out to 1/2, at constant speed, evenly turned against each other.

    Args:
        arms: Number of spirals.
        samples: Points of each.
        turns: How often each winds round the origin. Neighbouring windings are 1 / (2 arms turns) apart.

    Returns:
        (arms, samples, 2) in cycles per pixel.
    """
    arms, samples = positive_int("arms", arms), positive_int("samples", samples)
    turns = finite_float("turns", turns, low=0.0)
    # Most of the length of r = t exp(2 pi i turns t) lies in turning, so t grows as a root for constant speed.
    t = np.sqrt(np.arange(samples) / samples)
    radius, angle = t / 2.0, 2.0 * math.pi * turns * t
    return _turned(radius, 2.0 * math.pi * np.arange(arms) / arms, angle)


def trajectory_for(name: str, shape: tuple[int, int], acceleration: float) -> np.ndarray:
    """The trajectory "radial" or "spiral" with 1 / acceleration of the shots that the Nyquist criterion asks for.

    Full radial sampling has pi / 2 spokes for each pixel of the longer side, each of two points a pixel; spirals
    have windings 1 / size apart.
    """
    size = max(shape)
    share = size / finite_float("acceleration", acceleration, low=1.0)
    if name == "radial":
        return radial_trajectory(max(1, round(math.pi / 2.0 * share)), 2 * size)
    if name == "spiral":
        windings = share / 2.0
        arms = max(1, round(math.sqrt(windings)))
        turns = windings / arms
        return spiral_trajectory(arms, math.ceil(math.pi * turns * size), turns)
    raise fault("trajectory", repr(name), "'radial', 'spiral' or an array (shots, samples, 2)", "choose one of these")


def given_trajectory(trajectory: np.ndarray | Tensor) -> np.ndarray:
    """A trajectory (shots, samples, 2) in [-1/2, 1/2], checked."""
    points = real_array("trajectory", trajectory)
    if points.ndim != 3 or points.shape[2] != 2:
        remedy = "add an axis for the shots, e.g. points[None]" if points.ndim == 2 else "put the two coordinates last"
        raise fault("trajectory", f"shape {points.shape}", "(shots, samples, 2) of (row, column)", remedy)
    if np.abs(points).max() > 0.5 + 1e-9:
        raise fault("trajectory", f"values from {points.min():g} to {points.max():g}",
                    "cycles per pixel in [-0.5, 0.5]", "divide radians by 2 pi, and k-space indices by the size")
    return points


def _turned(radius: np.ndarray, starts: np.ndarray, angle: np.ndarray | float = 0.0) -> np.ndarray:
    angles = starts[:, None] + angle
    return np.stack([-radius * np.sin(angles), radius * np.cos(angles)], axis=-1)
