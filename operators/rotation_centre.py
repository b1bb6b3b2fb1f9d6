"""Where the rotation axis of a parallel-beam scan falls on the detector, from views of opposite sides.

The view half a turn later is the mirror image of a view about the axis:

    p(theta + pi, c + t) = p(theta, c - t)

so the shift between one and the other mirrored is 2 c - (bins - 1). Where no two views are half a turn apart, the
axis is found so for the nearest of them, and the line through what they give is read at half a turn: the error is of
first order in the missing angle, a point at depth y appears moved by y times it.

Reference: the relation is Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np

from operators.checks import fault

LEAST_OVERLAP = 0.25  # of two views, as a share of the bins
ALIKE = 1e-9  # variance relative to that of the whole views, below which nothing is seen
REACH, EXACT = 3.5, 0.1  # in steps between views: how far from half a turn is near, and how near is at it
MOST_PAIRS = 3


def opposite_views(angles_rad: np.ndarray) -> tuple[int, list[int], np.ndarray]:
    """A view and those nearest to its opposite side, and by how much they miss it.

    Args:
        angles_rad: (views,).

    Returns:
        The number of the first view; numbers of one view half a turn from it, or of up to three near that; and their
        angles beyond half a turn [rad].

    Raises:
        ValueError: no view is near half a turn away.
    """
    turned = np.sort(angles_rad % pi)
    step = float(np.median(np.diff(turned))) if len(turned) > 1 else pi
    first = int(np.argmin(angles_rad))
    beyond = angles_rad - angles_rad[first] - pi
    order = np.argsort(np.abs(beyond))
    near = [int(k) for k in order[:MOST_PAIRS] if abs(beyond[k]) < REACH * max(step, 1e-6) and k != first]
    if near and abs(beyond[near[0]]) < EXACT * step:
        near = near[:1]
    elif len(near) < 2:
        raise fault("angles", f"views from {np.rad2deg(angles_rad.min()):g} to {np.rad2deg(angles_rad.max()):g} "
                    "degrees", "two that are half a turn apart, or some near that", "state detector_centre")
    return first, near, beyond[near]


def rotation_centre(view: np.ndarray, opposite: np.ndarray, beyond_rad: Sequence[float] = (0.0,)) -> float:
    """The bin on which the rotation axis falls.

    Args:
        view: Line integrals (rows, bins).
        opposite: Those of the views on the other side, (views, rows, bins).
        beyond_rad: (views,), their angles from the first view beyond half a turn.

    Raises:
        ValueError: the views show nothing by which they could be matched.
    """
    bins = view.shape[-1]
    found = [(_shift(view, other[:, ::-1]) + bins - 1) / 2 for other in opposite]
    return found[0] if len(found) == 1 else float(np.polyval(np.polyfit(beyond_rad, found, 1), 0.0))


def _shift(a: np.ndarray, b: np.ndarray) -> float:
    """s of the least misfit of a(p) and b(p - s), to a fraction of a bin."""
    bins = a.shape[-1]
    most = int((1 - LEAST_OVERLAP) * bins)
    shifts = np.arange(-most, most + 1)
    misfits = np.array([_misfit(a, b, int(s)) for s in shifts])
    k = int(np.clip(np.argmin(misfits), 1, len(shifts) - 2))
    before, at, after = misfits[k - 1 : k + 2]
    curvature = before - 2 * at + after
    if not curvature > 0:
        raise fault("views", "nothing to match them by", "an object that is seen from both sides",
                    "state detector_centre")
    return float(shifts[k] + 0.5 * (before - after) / curvature)


def _misfit(a: np.ndarray, b: np.ndarray, shift: int) -> float:
    """Mean square of a(p) - b(p - shift) over the variances of both, where both are; 1 where these see air alone."""
    bins = a.shape[-1]
    own, other = a[:, max(0, shift) : bins + min(0, shift)], b[:, max(0, -shift) : bins - max(0, shift)]
    variance = own.var() + other.var()
    return float(np.square(own - other).mean() / variance) if variance > ALIKE * (a.var() + b.var()) else 1.0
