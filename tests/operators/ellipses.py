"""Ellipses: their images and exact line integrals, from formulas that share nothing with the projector."""

from __future__ import annotations

import numpy as np

# value, half axes a and b, centre x and y, tilt in degrees; in units of half the image's width, y upwards.
SHEPP_LOGAN = np.array([
    (1.0, 0.69, 0.92, 0.0, 0.0, 0), (-0.8, 0.6624, 0.874, 0.0, -0.0184, 0), (-0.2, 0.11, 0.31, 0.22, 0.0,
    -18), (-0.2, 0.16, 0.41, -0.22, 0.0, 18), (0.1, 0.21, 0.25, 0.0, 0.35, 0), (0.1, 0.046, 0.046, 0.0, 0.1,
    0), (0.1, 0.046, 0.046, 0.0, -0.1, 0), (0.1, 0.046, 0.023, -0.08, -0.605, 0), (0.1, 0.023, 0.023, 0.0,
    -0.606, 0), (0.1, 0.023, 0.046, 0.06, -0.605, 0),
])
LOPSIDED = np.array([
    (1.0, 0.5, 0.3, 0.25, 0.3, 30), (2.0, 0.15, 0.1, -0.4, -0.35, 70), (-0.5, 0.2, 0.1, 0.3, 0.3, 0),
])


def image(ellipses: np.ndarray, size: int, subpixels: int = 1) -> np.ndarray:
    """Means of the ellipses over size x size pixels, by subpixels^2 points in each; rows count downwards."""
    along = (np.arange(size * subpixels) + 0.5) / (size * subpixels) * 2 - 1
    x, y = np.meshgrid(along, -along)
    fine = np.zeros_like(x)
    for value, a, b, x0, y0, tilt in ellipses:
        c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        inside = (((x - x0) * c + (y - y0) * s) / a) ** 2 + (((y - y0) * c - (x - x0) * s) / b) ** 2 <= 1
        fine += value * inside
    return fine.reshape(size, subpixels, size, subpixels).mean(axis=(1, 3))


def sinogram(ellipses: np.ndarray, width: float, angles_rad: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Integrals along the lines x cos(angle) + y sin(angle) = offset, (angles, offsets).

    Args:
        ellipses: As above.
        width: Of the image; sets the unit of offsets and of the integrals.
        angles_rad: (angles,).
        offsets: (offsets,), or (angles, offsets) where they differ by angle.

    Reference: a chord at distance d from the centre has the length 2 a b sqrt(r^2 - d^2) / r^2, where r is
        the
    half width of the ellipse seen along the line.
    """
    total = 0.0
    angles = angles_rad[:, None]
    for value, a, b, x0, y0, tilt in ellipses * np.array([1, *[width / 2] * 4, 1]):
        turned = angles - np.deg2rad(tilt)
        r2 = (a * np.cos(turned)) ** 2 + (b * np.sin(turned)) ** 2
        d = offsets - (x0 * np.cos(angles) + y0 * np.sin(angles))
        total = total + value * 2 * a * b / r2 * np.sqrt(np.maximum(r2 - d**2, 0.0))
    return total


def fan_sinogram(ellipses: np.ndarray, width: float, geometry, subrays: int = 1) -> np.ndarray:
    """Integrals along the rays of a fan, from the source's place and the bins' places alone, (angles, detectors).

    Args:
        ellipses: As above, about the middle of the grid, which need not be the rotation centre.
        width: Of the image, in mm.
        geometry: A `FanBeam`.
        subrays: Rays evenly over the width of each bin, whose mean is taken; 1 is that to its centre.
    """
    g, total = geometry, 0.0
    turned = g.angles_rad[:, None]
    middle = [(n - 1) / 2 - c for n, c in zip(g.shape, g.centre, strict=True)]
    away = np.array([middle[1], -middle[0]]) * g.spacing_mm  # of the grid's middle from the rotation centre
    towards = np.stack([-np.sin(turned), np.cos(turned)]) + np.zeros((1, 1, g.detectors))
    along = np.stack([np.cos(turned), np.sin(turned)]) + np.zeros((1, 1, g.detectors))
    source = -g.source_mm * towards
    for fraction in (np.arange(subrays) + 0.5) / subrays - 0.5:
        u = (np.arange(g.detectors) + fraction - g.detector_centre) * g.detector_spacing_mm
        if g.detector == "flat":
            bins = source + g.detector_mm * towards + u * along
        else:
            bins = source + g.detector_mm * (np.cos(u / g.detector_mm) * towards + np.sin(u / g.detector_mm) * along)
        total = total + _chords(ellipses, width, source - away[:, None, None], bins - source)
    return total / subrays


def _chords(ellipses: np.ndarray, width: float, start: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """Integrals along lines: where |start + s direction| is 1 in the ellipse's own frame, a quadratic equation in s."""
    total, length = 0.0, np.linalg.norm(direction, axis=0)
    for value, a, b, x0, y0, tilt in ellipses * np.array([1, *[width / 2] * 4, 1]):
        c, s = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        p, q = start[0] - x0, start[1] - y0
        p, q = (p * c + q * s) / a, (q * c - p * s) / b
        u, v = (direction[0] * c + direction[1] * s) / a, (direction[1] * c - direction[0] * s) / b
        square, cross = u**2 + v**2, p * v - q * u
        total = total + value * length * 2 * np.sqrt(np.maximum(square - cross**2, 0.0)) / square
    return total


def relative_error(found: np.ndarray, truth: np.ndarray) -> float:
    """|found - truth| / |truth|."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))
