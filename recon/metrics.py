"""How far a reconstruction is from the truth, and how honest its spread is: one number per item.

Protocol, the same everywhere in this package (scikit-image is the reference and does the computing):

* PSNR = 10 log10(data_range^2 / mean squared error), the error averaged over all channels and pixels of
  an item.
* SSIM of Wang et al. 2004: Gaussian window of std 1.5 px (11 x 11 px), K1 = 0.01, K2 = 0.03, biased
  (population) covariances, each channel by itself, then the mean over channels; a border of 5 px is left
  out.
* `data_range` is always given by the caller, never guessed from the images: 1 for values in [0, 1].
* Numbers are per item, and a table's entry is the mean over items of the number in dB (not the dB of the
  mean error).
"""

from __future__ import annotations

import numpy as np
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

SSIM_WINDOW = 11  # scikit-image's truncation of a Gaussian of std 1.5 px at 3.5 std


def psnr(x: Tensor, truth: Tensor, data_range: float) -> Tensor:
    """10 log10(data_range^2 / mean((x - truth)^2)) per item.

    Args:
        x: reconstruction, (B, C, H, W).
        truth: the true images, same shape and unit.
        data_range: distance between the lowest and highest possible value, > 0, in the unit of the images.

    Returns:
        dB, (B,) float64; infinite where an item equals its truth.

    Raises:
        ValueError: shapes differ, are not (B, C, H, W), or data_range is not positive.

    Reference: skimage.metrics.peak_signal_noise_ratio.
    """
    pairs = _pairs(x, truth, data_range)
    with np.errstate(divide="ignore"):
        values = [peak_signal_noise_ratio(b, a, data_range=data_range) for a, b in pairs]
    return torch.tensor(values, dtype=torch.float64)


def ssim(x: Tensor, truth: Tensor, data_range: float) -> Tensor:
    """Mean structural similarity per item, in [-1, 1], 1 for equal images.

    Args:
        x: reconstruction, (B, C, H, W) with H and W of at least 11 px.
        truth: the true images, same shape and unit.
        data_range: distance between the lowest and highest possible value, > 0, in the unit of the images.

    Returns:
        (B,) float64.

    Raises:
        ValueError: shapes differ, are not (B, C, H, W), are smaller than the window, or data_range is not
            positive.

    Reference: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural
    similarity", 2004; skimage.metrics.structural_similarity.
    """
    pairs = _pairs(x, truth, data_range)
    if min(x.shape[-2:]) < SSIM_WINDOW:
        raise ValueError(
            f"got images of {x.shape[-2]}x{x.shape[-1]} px; expected at least {SSIM_WINDOW} px a side, the "
            "window of SSIM; use psnr for images this small"
        )
    values = [
        structural_similarity(
            b, a, data_range=data_range, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in pairs
    ]
    return torch.tensor(values, dtype=torch.float64)


def crps(samples: Tensor, truth: Tensor) -> Tensor:
    """E|X - truth| - E|X - X'| / 2 per item: the error of a whole distribution, lowest for the right one.

    The fair estimator (pairs of different samples only), so its expectation does not depend on the number
    of samples and methods run with different numbers may be compared.

    Args:
        samples: (S, B, ...) draws, S >= 2.
        truth: (B, ...), same unit.

    Returns:
        (B,) in the unit of the values, averaged over an item's elements. May be slightly negative by chance.

    Raises:
        ValueError: fewer than two samples, or shapes that do not match.

    Reference: Gneiting, Raftery, "Strictly proper scoring rules, prediction, and estimation", 2007,
    equation 21; Ferro, "Fair scores for ensemble forecasts", 2014.
    """
    count = samples.shape[0]
    if count < 2:
        raise ValueError(f"got {count} sample; expected at least 2, spread needs pairs; draw more samples")
    if samples.shape[1:] != truth.shape:
        raise ValueError(
            f"got samples {tuple(samples.shape)} and truth {tuple(truth.shape)}; expected samples of shape "
            f"(S, *truth.shape); choose the truth of these items"
        )
    error = (samples - truth).abs().mean(0)
    # sum over i < j of (x_(j) - x_(i)) = sum over k of (2k - S + 1) x_(k), for sorted x and k from 0
    rank = torch.arange(count, dtype=samples.dtype, device=samples.device).mul(2).sub(count - 1)
    pairs = torch.tensordot(rank, samples.sort(0).values, dims=1)
    return (error - pairs / (count * (count - 1))).flatten(1).mean(1)


def _pairs(x: Tensor, truth: Tensor, data_range: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """The items of x and truth as float64 arrays (C, H, W), after checking that they can be compared."""
    if x.ndim != 4 or x.shape != truth.shape:
        raise ValueError(
            f"got images {tuple(x.shape)} and truth {tuple(truth.shape)}; expected the same shape "
            "(B, C, H, W) twice; add missing axes with x[None]"
        )
    if not 0 < data_range < float("inf"):
        raise ValueError(f"got data_range={data_range}; expected a positive number, 1.0 for values in [0, 1]")
    arrays = (t.detach().to("cpu", torch.float64).numpy() for t in (x, truth))
    return list(zip(*arrays, strict=True))
