"""The spectrum of a denoiser's own error: how much of x0 stays unknown at each frequency and noise level.

At level sigma the error D(x, sigma) - x0 has the covariance of x0 given x, averaged over x (the residual of a
conditional mean). Measured on held-out images and averaged over directions it is a table lambda(|f|, sigma): a
stationary stand-in for that covariance which costs two FFTs and no backpropagation. It is exact for stationary
isotropic Gaussian images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=32)
def radius(height: int, width: int) -> Tensor:
    """|f| in cycles a pixel on the grid of torch.fft.rfft2, (H, W // 2 + 1), float64."""
    rows = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    return (rows.square() + torch.fft.rfftfreq(width, dtype=torch.float64).square()).sqrt()


@dataclass(frozen=True)
class ErrorSpectrum:
    """lambda(|f|, sigma) in normalised units squared; white error of variance v has lambda = v.

    Args:
        sigmas: noise levels, rising.
        frequencies: |f| in cycles a pixel, rising, the first one 0.
        power: for each level, lambda at each frequency.
    """

    sigmas: tuple[float, ...]
    frequencies: tuple[float, ...]
    power: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        table = torch.tensor(self.power, dtype=torch.float64)
        if table.shape != (len(self.sigmas), len(self.frequencies)) or not bool((table > 0).all()):
            raise ValueError(
                f"got a table of shape {tuple(table.shape)}; "
                f"expected positive values, ({len(self.sigmas)}, {len(self.frequencies)})"
            )

    def gains(self, sigma: float, height: int, width: int) -> Tensor:
        """lambda on the rfft2 grid of an image, (H, W // 2 + 1), float64; log-linear between the measured points.

        Outside the measured levels the error goes with sigma^2 below and stays above.
        """
        return interpolated(self, sigma, height, width)

    def power_of(self, sigma: float, power: float, like: Tensor) -> Tensor:
        """lambda^power, rounded to the type of images (..., H, W) and where they lie."""
        return rounded(self, sigma, power, *like.shape[-2:], like.dtype, like.device)


@lru_cache(maxsize=8)
def logarithms(spectrum: ErrorSpectrum) -> Tensor:
    """log lambda, a row a level."""
    return torch.tensor(spectrum.power, dtype=torch.float64).log()


@lru_cache(maxsize=8)
def places(frequencies: tuple[float, ...], height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where the frequencies of an image lie between the measured ones: the number of the upper, and how near to it."""
    f = torch.tensor(frequencies, dtype=torch.float64)
    axis = torch.cat([f[1:2] / 2, f[1:]]).log()  # log |f|; the constant is treated as half the lowest frequency
    where = radius(height, width).clamp(min=float(f[1]) / 2, max=float(f[-1])).log()
    right = torch.searchsorted(axis, where).clamp(1, len(axis) - 1)
    part = ((where - axis[right - 1]) / (axis[right] - axis[right - 1])).clamp(0, 1)
    return right, part


@lru_cache(maxsize=8)
def interpolated(spectrum: ErrorSpectrum, sigma: float, height: int, width: int) -> Tensor:
    """`ErrorSpectrum.gains`; a sampler asks many times at one level."""
    table, logs = logarithms(spectrum), [math.log(s) for s in spectrum.sigmas]
    place = math.log(min(max(sigma, spectrum.sigmas[0]), spectrum.sigmas[-1]))
    upper = next((i for i, v in enumerate(logs) if v >= place and i), len(logs) - 1)
    share = (place - logs[upper - 1]) / (logs[upper] - logs[upper - 1])
    row = (1 - share) * table[upper - 1] + share * table[upper]
    row = row + 2 * math.log(min(1.0, sigma / spectrum.sigmas[0]))
    right, part = places(spectrum.frequencies, height, width)
    return ((1 - part) * row[right - 1] + part * row[right]).exp()


@lru_cache(maxsize=8)
def rounded(
    spectrum: ErrorSpectrum, sigma: float, power: float, height: int, width: int, dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    """`ErrorSpectrum.power_of`; solvers ask for it in every iteration."""
    return interpolated(spectrum, sigma, height, width).pow(power).to(device, dtype)


def measure(
    denoise: Callable[[Tensor, Tensor], Tensor],
    images: Tensor,
    low: float,
    high: float,
    levels: int = 16,
    seed: int = 7,
) -> ErrorSpectrum:
    """The error spectrum of a denoiser on held-out normalised images (N, C, H, W), at geometric levels from low to
    high.
    """
    height, width = images.shape[-2:]
    edges = torch.logspace(math.log10(0.75 / max(height, width)), math.log10(0.72), 17, dtype=torch.float64)
    f = radius(height, width)
    bins = torch.bucketize(f, edges)  # 0 is the constant alone
    used = [b for b in range(int(bins.max()) + 1) if bool((bins == b).any())]
    weight = torch.full((height, width // 2 + 1), 2.0, dtype=torch.float64)  # rfft2 leaves out mirror images
    weight[:, 0] = 1
    if width % 2 == 0:
        weight[:, -1] = 1
    generator = torch.Generator().manual_seed(seed)
    sigmas, rows = [low * (high / low) ** (i / (levels - 1)) for i in range(levels)], []
    for sigma in sigmas:
        power = torch.zeros(height, width // 2 + 1, dtype=torch.float64)
        for part in images.split(32):
            noise = torch.randn(part.shape, generator=generator).to(part)
            error = denoise(part + sigma * noise, part.new_full((len(part),), sigma)) - part
            power += torch.fft.rfft2(error.double(), norm="ortho").abs().square().sum((0, 1)).cpu()
        power /= images.shape[0] * images.shape[1]
        rows.append(tuple(float((power * weight)[bins == b].sum() / weight[bins == b].sum()) for b in used))
    centres = [0.0] + [float((f * weight)[bins == b].sum() / weight[bins == b].sum()) for b in used[1:]]
    return ErrorSpectrum(tuple(sigmas), tuple(centres), tuple(rows))
