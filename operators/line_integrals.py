"""Line integrals of attenuation from the counts of a detector, and what measured ones say of themselves.

    y = -log((p - dark) / (flat - dark)) = line integral + log of the beam's change since the flat + stripes + noise

The change of the beam is read where only air is seen. Stripes are what the flat does not know of each pixel, the same
in all views. The noise of p photons, and of a detector that gives a constant number of counts for each, has variance
gain / (p - dark) after the logarithm; the gain is found from the data.

Axes are (views, rows, bins) throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter

from operators.checks import fault

UNSEEN = 100.0  # standard deviation of a mended value, in those of its row: it has no say


@dataclass(frozen=True)
class LineIntegrals:
    """Line integrals.

    Args:
        values: (views, rows, bins); those that were not counted are interpolated along the detector.
        transmitted: counts above the dark level, of the same shape.
        counted: of the same shape, False where neither count nor flat was above the dark level.
        dead: (rows, bins), where no view has a count, or the flat has none.
    """

    values: np.ndarray
    transmitted: np.ndarray
    counted: np.ndarray
    dead: np.ndarray


def line_integrals(
    projections: np.ndarray, flat: np.ndarray, dark: np.ndarray, intensity: np.ndarray | None = None
) -> LineIntegrals:
    """-log((projections - dark) / (intensity (flat - dark))).

    Args:
        projections: Counts, (views, rows, bins).
        flat: Without the object, (rows, bins).
        dark: Without the beam, (rows, bins).
        intensity: Of the beam in each view over that in the flat, (views,), above zero; by default 1.

    Raises:
        ValueError: a row of a view has no count above the dark level.
    """
    transmitted, beam = projections - dark, flat - dark
    counted = (transmitted > 0) & (beam > 0)
    if not counted.any(axis=2).all():
        view, row = np.argwhere(~counted.any(axis=2))[0]
        raise fault("projections", f"no count above the dark level in row {row} of view {view}", "at least one",
                    "leave that row out, or check that flats and darks have not changed places")
    values = np.log(np.where(counted, beam, 1.0) / np.where(counted, transmitted, 1.0))
    values += 0.0 if intensity is None else np.log(intensity)[:, None, None]
    dead = ~counted.any(axis=0) | ~(beam > 0)
    return LineIntegrals(interpolated(values, counted), transmitted, counted, dead)


def interpolated(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Values with those that are not known interpolated along the last axis, continued by the nearest at its ends."""
    filled, places = values.copy(), np.arange(values.shape[-1])
    for index in np.argwhere(~known.all(axis=-1)):
        here = tuple(index)
        filled[here] = np.interp(places, places[known[here]], values[here][known[here]])
    return filled


def air_beside(values: np.ndarray, bins: int) -> np.ndarray:
    """The level of the air behind the object: the line through both ends of each row, (views, rows, bins).

    A view differs from the mean of all by as much as its ends do beyond their noise: with m values at an end, of which
    the noise has variance v, their mean's deviations of variance V shrink by the factor max(0, 1 - v / (m V)).

    Args:
        values: Line integrals.
        bins: How many at each end of a row see air only.
    """
    ends = np.stack([_steadied(values[..., :bins]), _steadied(values[..., -bins:])], axis=-1)
    width = values.shape[-1]
    share = (np.arange(width) - (bins - 1) / 2) / (width - bins)  # 0 and 1 in the middle of the ends
    return ends[..., :1] * (1 - share) + ends[..., 1:] * share


def _steadied(end: np.ndarray) -> np.ndarray:
    level = end.mean(axis=-1)
    mean = level.mean(axis=0)
    moved = level - mean
    own = end - end.mean(axis=0) - moved[..., None]
    noise = own.var(axis=(0, 2)) / max(1, end.shape[-1] - 1)
    return mean + moved * np.clip(1 - noise / np.maximum(moved.var(axis=0), 1e-300), 0.0, 1.0)


def stripes(values: np.ndarray, width: int) -> np.ndarray:
    """What is the same in all views, and of no bin's neighbours: (rows, bins).

    The mean over the views less its running median along the detector. What the object has in a ring about the
    rotation axis, and narrower than half the width, counts as a stripe.

    Args:
        values: Line integrals.
        width: Of the median, in bins; odd.

    Reference: Rivers, "Tutorial: introduction to X-ray computed microtomography data processing", 1998 (there with a
        running mean).
    """
    means = values.mean(axis=0)
    return means - median_filter(means, size=(1, width), mode="nearest")


def count_noise(transmitted: np.ndarray, counted: np.ndarray, gain: float) -> np.ndarray:
    """Standard deviation sqrt(gain / counts) of line integrals; what was not counted has a hundred times the largest.

    Args:
        transmitted: Counts above the dark level.
        counted: Where these are above zero.
        gain: Counts for a photon, as far as noise goes.
    """
    sigma = np.sqrt(gain / np.where(counted, transmitted, np.inf))
    return np.where(counted, sigma, UNSEEN * sigma.max())
