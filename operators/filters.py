"""The ramp filter of backprojections, with its windows, and the angle that each view of a scan stands for.

The ramp is sampled in space, not in frequency, so that its mean is right (sampled in frequency it loses the
constant part of the image).

Reference: Kak and Slaney, "Principles of Computerized Tomographic Imaging", 1988, sections 3.3 and 3.4, eq. 61.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

WINDOWS = {  # of the frequency, as a share of the highest one
    "ramp": torch.ones_like,
    "shepp-logan": lambda f: torch.sinc(f / 2),
    "cosine": lambda f: torch.cos(math.pi * f / 2),
    "hann": lambda f: torch.cos(math.pi * f / 2) ** 2,
}
GAP = 3.0  # a gap between views that is wider than this times the next widest was not scanned


def ramp_filtered(y: Tensor, spacing: float, window: str = "ramp") -> Tensor:
    """y convolved along its last axis with the band-limited ramp (times the window), zeros outside.

    Args:
        y: (..., bins).
        spacing: Between bins.
        window: One of `WINDOWS`.
    """
    size = _padded(y.shape[-1])
    return _convolved(y, _ramp(size, spacing), spacing, window)


def sine_ramp_filtered(y: Tensor, spacing_rad: float, window: str = "ramp") -> Tensor:
    """As `ramp_filtered`, the ramp times (gamma / sin gamma)^2: for bins at equal angles of a fan.

    Reference: Kak and Slaney, eq. 3.98; gamma = lag x spacing_rad.
    """
    size = _padded(y.shape[-1])
    lag = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64).clamp(1 - y.shape[-1], y.shape[-1] - 1)
    return _convolved(y, _ramp(size, spacing_rad) / torch.sinc(lag * (spacing_rad / math.pi)) ** 2, spacing_rad, window)


def _padded(bins: int) -> int:
    return 2 ** math.ceil(math.log2(2 * bins))


def _ramp(size: int, spacing: float) -> Tensor:
    """The band-limited ramp at lags 0, 1, ..., -1, float64."""
    lag = torch.fft.fftfreq(size, 1 / size, dtype=torch.float64)
    odd = lag.long() % 2 != 0
    kernel = torch.where(odd, -1.0 / (math.pi * torch.where(odd, lag, 1.0) * spacing) ** 2, 0.0)
    kernel[0] = 1.0 / (4.0 * spacing**2)
    return kernel


def _convolved(y: Tensor, kernel: Tensor, spacing: float, window: str) -> Tensor:
    size = kernel.numel()
    frequency = torch.fft.rfftfreq(size, 0.5, dtype=torch.float64)
    gain = torch.fft.rfft(kernel).real * WINDOWS[window](frequency) * spacing
    return torch.fft.irfft(torch.fft.rfft(y, size) * gain.to(y), size)[..., : y.shape[-1]]


def angular_weights(angles_rad: np.ndarray, period: float = math.pi) -> np.ndarray:
    """The angle that each view stands for: half the gaps to its neighbours, modulo the period [rad].

    They sum to the period, except for a limited scan: a gap of more than three times the next widest was not
    scanned, and the views at its edges count their other side twice.

    Args:
        angles_rad: (angles,).
        period: A half turn for a parallel beam, whose views from opposite sides are the same.
    """
    order, gaps, missing = _gaps(angles_rad, period)
    before, after = np.roll(gaps, 1), gaps.copy()
    if missing is not None:
        following = (missing + 1) % angles_rad.size
        after[missing], before[following] = before[missing], gaps[following]
    weights = np.empty(angles_rad.size)
    weights[order] = (before + after) / 2
    return weights


def scanned_arc(angles_rad: np.ndarray, period: float) -> tuple[float, float]:
    """Where the arc of the views begins, and its length: the period if no gap was left out [rad]."""
    order, gaps, missing = _gaps(angles_rad, period)
    if missing is None:
        return float(angles_rad[order[0]] % period), period
    first = (missing + 1) % angles_rad.size
    half_steps = gaps[first] / 2, gaps[missing - 1] / 2
    return float(angles_rad[order[first]] % period - half_steps[0]), float(period - gaps[missing] + sum(half_steps))


def _gaps(angles_rad: np.ndarray, period: float) -> tuple[np.ndarray, np.ndarray, int | None]:
    """The order of the views, the gap after each in that order, and which of them was not scanned, if any."""
    turned = angles_rad % period
    order = np.argsort(turned)
    gaps = np.diff(turned[order], append=turned[order[:1]] + period)
    widest = int(np.argmax(gaps))
    left_out = angles_rad.size > 2 and gaps[widest] > GAP * np.partition(gaps, -2)[-2]
    return order, gaps, widest if left_out else None
