"""Filtered backprojection of a fan beam: data weighted, filtered, and backprojected with the distance's weight.

    flat    f = sum over angles  (source_mm / U)^2  [w cos(gamma) y] * ramp          at the rotation centre's scale
    curved  f = sum over angles  source_mm / L^2    [w cos(gamma) y] * ramp (gamma / sin gamma)^2

U and L are the distances from the source to the pixel, along the central ray and straight, and w shares each line
between the rays that measured it.

Reference: Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, section 3.4.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor

from operators.backprojection import backprojected
from operators.fan_geometry import FanBeam
from operators.filters import angular_weights, ramp_filtered, scanned_arc, sine_ramp_filtered

LEAST_TAPER = math.radians(10.0)  # of the ends of an arc, where it is too short to say


def fan_backprojection(geometry: FanBeam, y: Tensor, window: str) -> Tensor:
    """Filtered backprojection of checked data (..., angles, detectors), (..., H, W)."""
    gammas = geometry.fan_angles(np.arange(geometry.detectors))
    step = angular_weights(geometry.angles_rad, 2 * math.pi)[:, None]
    weighted = y * torch.from_numpy(step * ray_shares(geometry) * np.cos(gammas)).to(y)
    # What the shorter side of a detector lacks, the opposite rays measured: the filter spreads them over it.
    extra = 2 * _off_centre(geometry)
    left, right = math.ceil(max(-extra, 0.0)), math.ceil(max(extra, 0.0))
    weighted = torch.nn.functional.pad(weighted, (left, right))
    if geometry.detector == "flat":
        spacing = geometry.detector_spacing_mm * geometry.source_mm / geometry.detector_mm
        filtered = ramp_filtered(weighted, spacing, window)
    else:
        filtered = sine_ramp_filtered(weighted, geometry.detector_spacing_mm / geometry.detector_mm, window)
    return backprojected(geometry, filtered, partial(_shadows, geometry, left))


def ray_shares(geometry: FanBeam) -> np.ndarray:
    """How much each ray counts for its line, (angles, detectors): those of the rays along one line sum to 1.

    The ray (theta, gamma) runs along the line of (theta - 2 gamma + pi, -gamma), from the other side. Each counts
    c / (c + c of the other), with c smooth, falling to 0 at the ends of the scanned arc, and of the shorter side
    of a detector that is set off the centre. On a full turn that is 1/2; on a short scan it does what Parker's
    weights do.

    Reference: Noo, Defrise, Clackdoyle and Kudo, "Image reconstruction from fan-beam projections on less than a
        short scan", 2002; Parker, "Optimal short scan convolution reconstruction for fanbeam CT", 1982; Wang,
        "X-ray micro-CT with a displaced detector array", 2002.
    """
    gammas = geometry.fan_angles(np.arange(geometry.detectors))[None]
    angles = geometry.angles_rad[:, None]
    own = _on_arc(geometry, angles) * _on_detector(geometry, gammas)
    other = _on_arc(geometry, angles - 2 * gammas + math.pi) * _on_detector(geometry, -gammas)
    total = own + other
    return np.divide(own, total, out=np.zeros_like(total), where=total > 0)


def _on_arc(geometry: FanBeam, angles: np.ndarray) -> np.ndarray:
    """1 on the scanned arc, falling to 0 at its ends as far as it scans lines twice; 0 outside."""
    start, arc = scanned_arc(geometry.angles_rad, 2 * math.pi)
    if arc == 2 * math.pi:
        return np.ones_like(angles)
    inside = np.minimum((angles - start) % (2 * math.pi), arc)
    width = min(max(arc - math.pi, LEAST_TAPER), arc / 2)
    return _smooth(np.minimum(inside, arc - inside) / width)


def _on_detector(geometry: FanBeam, gammas: np.ndarray) -> np.ndarray:
    """1 on the detector; set off the centre, falling to 0 from the centre to its shorter side, 0 outside."""
    low, high = geometry.fan_angles(np.array([-0.5, geometry.detectors - 0.5]))
    if _off_centre(geometry) == 0.0:
        return np.ones_like(gammas)
    short, side = (-low, 1.0) if -low < high else (high, -1.0)
    return _smooth(1.0 + side * gammas / short) if short > 0 else (side * gammas >= -short).astype(float)


def _off_centre(geometry: FanBeam) -> float:
    """How far from the detector's middle the central ray falls, in bins; half a bin (a quarter offset) is none."""
    away = geometry.detector_centre - (geometry.detectors - 1) / 2
    return away if abs(away) > 0.5 else 0.0


def _smooth(share: np.ndarray) -> np.ndarray:
    """sin^2, from 0 at 0 to 1 at 1, constant outside."""
    return np.sin(share.clip(0.0, 1.0) * (math.pi / 2)) ** 2


def _shadows(
    geometry: FanBeam, left: int, x: np.ndarray, y: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle and half width in bins, `left` of which were added before the first, and the distance's weight."""
    cosines, sines = np.cos(angles), np.sin(angles)
    along, across = geometry.source_mm - x * sines + y * cosines, x * cosines + y * sines
    bins_per_rad = geometry.detector_mm / geometry.detector_spacing_mm
    if geometry.detector == "flat":
        place, weight, distance = across / along, (geometry.source_mm / along) ** 2, along
    else:
        distance = np.hypot(along, across)
        place, weight = np.arctan2(across, along), geometry.source_mm / distance**2
    half = 0.5 * geometry.spacing_mm * bins_per_rad / distance
    return place * bins_per_rad + (geometry.detector_centre + left), half, weight
