"""Filtered backprojection of parallel-beam data, the classical reconstruction.

f = sum over angles of weight x backprojection of the data convolved with the ramp filter. The ramp is sampled
in space, not in frequency, so that its mean is right (sampled in frequency it loses the constant part of the
image).

Reference: Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, section 3.3, eq. 61.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from operators.checks import fault, trailing_axes
from operators.ct import ParallelBeamTransform

WINDOWS = {  # of the frequency, as a share of the highest one
    "ramp": torch.ones_like,
    "shepp-logan": lambda f: torch.sinc(f / 2),
    "cosine": lambda f: torch.cos(math.pi * f / 2),
    "hann": lambda f: torch.cos(math.pi * f / 2) ** 2,
}


def fbp(A: ParallelBeamTransform, y: Tensor, window: str = "ramp") -> Tensor:
    """Filtered backprojection.

    Args:
        A: An operator that `ct` built.
        y: Data (..., angles, detectors) in value mm.
        window: Applied to the ramp: "ramp" (none), "shepp-logan", "cosine" or "hann", in order of smoothness.

    Returns:
        Image (..., H, W) in the units of the image.

    Raises:
        ValueError: A is no ct operator, the data do not fit it, or the window is unknown.
    """
    if not isinstance(A, ParallelBeamTransform):
        raise fault("fbp", type(A).__name__, "an operator built by ct", "use A.pinv(y) for other operators")
    if window not in WINDOWS:
        raise fault("window", repr(window), " or ".join(map(repr, WINDOWS)), "choose one of these")
    y = trailing_axes("y", y, A.out_shape)
    geometry = A.geometry
    weights = torch.from_numpy(angular_weights(geometry.angles_rad)).to(y)[:, None]
    filtered = ramp_filtered(y, geometry.detector_spacing_mm, window)
    # The weights of a pixel in one view sum to spacing^2 / detector spacing; without it A^H interpolates.
    return A.adjoint(filtered * weights) * (geometry.detector_spacing_mm / geometry.spacing_mm**2)


def ramp_filtered(y: Tensor, spacing_mm: float, window: str = "ramp") -> Tensor:
    """y convolved along its last axis with the band-limited ramp (times the window), zeros outside."""
    bins = y.shape[-1]
    size = 2 ** math.ceil(math.log2(2 * bins))
    lag = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    odd = lag.long() % 2 != 0
    kernel = torch.where(odd, -1.0 / (math.pi * torch.where(odd, lag, 1.0) * spacing_mm) ** 2, 0.0)
    kernel[0] = 1.0 / (4.0 * spacing_mm**2)
    frequency = torch.fft.rfftfreq(size, 0.5, dtype=torch.float64)
    gain = torch.fft.rfft(kernel).real * WINDOWS[window](frequency) * spacing_mm
    return torch.fft.irfft(torch.fft.rfft(y, size) * gain.to(y), size)[..., :bins]


def angular_weights(angles_rad: np.ndarray) -> np.ndarray:
    """The angle that each view stands for: half the gaps to its neighbours, modulo a half turn [rad].

    They sum to pi, except for a limited-angle scan: a gap of more than three times the next widest was not
    scanned, and the views at its edges count their other side twice.
    """
    count = angles_rad.size
    order = np.argsort(angles_rad % math.pi)
    turned = (angles_rad % math.pi)[order]
    gaps = np.diff(turned, append=turned[:1] + math.pi)  # gap i lies after view i
    before, after = np.roll(gaps, 1), gaps.copy()
    widest = int(np.argmax(gaps))
    if count > 2 and gaps[widest] > 3 * np.partition(gaps, -2)[-2]:
        after[widest] = before[widest]
        before[(widest + 1) % count] = gaps[(widest + 1) % count]
    weights = np.empty(count)
    weights[order] = (before + after) / 2
    return weights
