"""What measured k-space says of itself: its calibration region, its noise, and how bright its image is."""

from __future__ import annotations

import numpy as np

from operators.checks import complex_array, fault
from operators.masks import centre

OUTER = 0.05  # share of the samples, those farthest out, that are taken for noise
ENOUGH = 10  # samples a coil from which a covariance is estimated: its entries err by a tenth of the level or so
MAD_TO_STD = 1.4826  # of normal values
BRIGHT = 99.9  # percentile of the image that becomes 1


def calibration_fraction(mask: np.ndarray) -> float:
    """The largest share of both axes whose block around the origin is sampled throughout; 0 where there is none.

    Args:
        mask: (H, W), True = sampled.
    """
    shape = np.asarray(mask).shape
    for count in range(min(shape), 0, -1):
        share = count / min(shape)
        if mask[tuple(centre(n, share) for n in shape)].all():
            return share
    return 0.0


def outer_noise(kspace: np.ndarray, mask: np.ndarray) -> float:
    """Standard deviation of the noise in each real and imaginary part, from the samples farthest from the origin.

    1.4826 times the median absolute value of the real and imaginary parts of the outer 5 % of the samples. Where the
    image still has contrast there, as in a narrow k-space, that is too much rather than too little.

    Args:
        kspace: (C, H, W) complex.
        mask: (H, W), True = sampled.

    Raises:
        ValueError: nothing is sampled, or what is sampled there is zero.
    """
    values = _outer(kspace, mask)
    level = MAD_TO_STD * float(np.median(np.abs(np.concatenate([values.real, values.imag], axis=None))))
    if not level > 0:
        raise fault("kspace", "zeros at its edge", "samples with noise", "state the noise level")
    return level


def outer_covariance(kspace: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """E[n n^H] of the coils' complex noise, (C, C), from the samples farthest from the origin.

    Coils differ in their noise, and share some of it, by a tenth to a third in practice. One level for all calls too
    good what the noisier ones say, and what several say alike.

    Args:
        kspace: (C, H, W) complex.
        mask: (H, W), True = sampled.

    Returns:
        The covariance, or None where there is one coil, or too few samples to tell: fewer than `ENOUGH` a coil.

    Raises:
        ValueError: nothing is sampled.

    Reference: Roemer et al., "The NMR phased array", 1990.
    """
    values = _outer(kspace, mask)
    coils, count = values.shape
    return None if coils == 1 or count < ENOUGH * coils else values @ values.conj().T / count


def _outer(kspace: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The samples farthest from the origin, (C, samples)."""
    kspace, mask = complex_array("kspace", kspace), np.asarray(mask, dtype=bool)
    far = np.hypot(*np.meshgrid(*((np.arange(n) - n // 2) / max(1, n // 2) for n in mask.shape), indexing="ij"))
    if not mask.any():
        raise fault("mask", "no sampled point", "at least one", "invert the mask (True or 1 = sampled)")
    return kspace[:, mask & (far >= np.quantile(far[mask], 1.0 - OUTER))]


def brightness(kspace: np.ndarray, mask: np.ndarray) -> float:
    """The 99.9th percentile of the root of the sum of squares of the coils' images, zeros where nothing was sampled.

    Args:
        kspace: (C, H, W) complex, the origin at (H // 2, W // 2).
        mask: (H, W), True = sampled.
    """
    kspace = complex_array("kspace", kspace) * mask
    images = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=(1, 2)), norm="ortho"), axes=(1, 2))
    return float(np.percentile(np.sqrt((np.abs(images) ** 2).sum(axis=0)), BRIGHT))
