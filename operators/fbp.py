"""Filtered backprojection, the classical reconstruction of tomography.

f = sum over angles of weight x backprojection of the data convolved with the ramp filter.

Reference: Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, section 3.3.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from torch import Tensor

from operators.backprojection import backprojected
from operators.checks import fault, trailing_axes
from operators.fan_fbp import fan_backprojection
from operators.fan_geometry import FanBeam
from operators.filters import WINDOWS, angular_weights, ramp_filtered
from operators.geometry import ParallelBeam
from operators.linear import LinearOperator


def fbp(A: LinearOperator, y: Tensor, window: str = "ramp") -> Tensor:
    """Filtered backprojection of a parallel or a fan beam.

    Args:
        A: An operator that `ct` or `ct_fan` built; the views of a fan may cover a full turn, half a turn and the
            fan's angle (a short scan), or any other arc.
        y: Data (..., angles, detectors) in value mm.
        window: Applied to the ramp: "ramp" (none), "shepp-logan", "cosine" or "hann", in order of smoothness.

    Returns:
        Image (..., H, W) in the units of the image.

    Raises:
        ValueError: A is no such operator, the data do not fit it, or the window is unknown.
    """
    geometry = getattr(A, "geometry", None)
    if not isinstance(geometry, ParallelBeam | FanBeam):
        raise fault("fbp", type(A).__name__, "an operator built by ct or ct_fan", "use A.pinv(y) for other operators")
    if window not in WINDOWS:
        raise fault("window", repr(window), " or ".join(map(repr, WINDOWS)), "choose one of these")
    y = trailing_axes("y", y, A.out_shape)
    if isinstance(geometry, FanBeam):
        return fan_backprojection(geometry, y, window)
    weights = torch.from_numpy(angular_weights(geometry.angles_rad)).to(y)[:, None]
    filtered = ramp_filtered(y, geometry.detector_spacing_mm, window)
    return backprojected(geometry, filtered * weights, partial(_shadows, geometry))


def _shadows(
    geometry: ParallelBeam, x: np.ndarray, y: np.ndarray, angles: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Middle and half width of the pixels' shadows in bins, and their weight, which is one."""
    half = 0.5 * geometry.spacing_mm / geometry.detector_spacing_mm
    return geometry.bins_of(x, y, angles), np.float64(half), np.float64(1.0)
