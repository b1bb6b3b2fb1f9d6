"""Coil maps from the fully sampled centre of k-space.

`estimate_coils` is ESPIRiT, as the library sigpy has it. `low_resolution_coils` needs no library: it divides the
coils' blurred images by the root of their sum of squares, which is cruder where the image is dark. The data
leave one phase for each pixel open, between image and maps: here the maps take the smooth part of it. With them
the image is nearly real and not negative, so that mri(..., image="real") takes a prior of magnitudes.
"""

from __future__ import annotations

import importlib

import numpy as np
from torch import Tensor

from operators.checks import complex_array, fault, finite_float
from operators.masks import centre

KERNEL = 6  # width of ESPIRiT's kernels in k-space


def estimate_coils(
    kspace: np.ndarray | Tensor, center_fraction: float = 0.08, crop: float = 0.9
) -> np.ndarray:
    """Coil maps by ESPIRiT, through sigpy.

    Args:
        kspace: (C, H, W) complex, the origin at (H // 2, W // 2), zeros where not sampled.
        center_fraction: The middle round(center_fraction min(H, W)) points of both axes calibrate the maps; they
            must be sampled. 20 to 30 points are usual.
        crop: Maps are set to zero where the eigenvalue is below: outside the body, in [0, 1).

    Returns:
        (C, H, W) complex128, with sum |S|^2 = 1 over the coils where they are not zero.

    Raises:
        ValueError: kspace is of another shape, its centre is not fully sampled or too small.
        ImportError: sigpy is not installed.

    Reference: Uecker et al., "ESPIRiT, an eigenvalue approach to autocalibrating parallel MRI: where SENSE meets
        GRAPPA", 2014.
    """
    kspace = _checked(kspace)
    crop = finite_float("crop", crop, low=0.0)
    width = round(finite_float("center_fraction", center_fraction, low=0.0) * min(kspace.shape[1:]))
    if width < KERNEL + 2:
        enough = (KERNEL + 2) / min(kspace.shape[1:])
        raise fault("center_fraction", f"{center_fraction:g}, {width} points", f"at least {KERNEL + 2} points",
                    f"give center_fraction={enough:.2g} or more, or use low_resolution_coils")
    block = _calibration(kspace, tuple(width / n for n in kspace.shape[1:]))
    try:  # by name, because it is optional: only this function needs it
        sigpy = importlib.import_module("sigpy.mri.app")
    except ImportError as error:
        raise ImportError("estimate_coils: got no module sigpy; expected it installed; "
                          "run pip install 'recon[mri]', or use low_resolution_coils") from error
    maps = sigpy.EspiritCalib(kspace, calib_width=width, kernel_width=KERNEL, crop=crop, show_pbar=False).run()
    maps = np.where(np.isfinite(maps), maps, 0.0)  # sigpy gives the first coil phase zero, also where it sees nothing
    image = (maps.conj() * _blurred(kspace, block)).sum(axis=0)
    return maps * np.exp(1j * np.angle(image))


def low_resolution_coils(kspace: np.ndarray | Tensor, center_fraction: float = 0.08) -> np.ndarray:
    """Phase and magnitude of the coils' low-resolution images, over the root of their sum of squares.

    Args:
        kspace: (C, H, W) complex, the origin at (H // 2, W // 2), zeros where not sampled.
        center_fraction: The middle round(center_fraction n) points of each axis are used, under a Hann window;
            they must be sampled.

    Returns:
        (C, H, W) complex128, with sum |S|^2 = 1 over the coils everywhere; noise decides outside the body.

    Raises:
        ValueError: kspace is of another shape, or its centre is not fully sampled.

    Reference: McKenzie et al., "Self-calibrating parallel imaging with automatic coil sensitivity extraction", 2002.
    """
    kspace = _checked(kspace)
    share = finite_float("center_fraction", center_fraction, low=0.0, above=True)
    images = _blurred(kspace, _calibration(kspace, (share, share)))
    total = np.sqrt((np.abs(images) ** 2).sum(axis=0))
    return images / np.maximum(total, np.finfo(float).tiny)


def _blurred(kspace: np.ndarray, block: tuple[slice, slice]) -> np.ndarray:
    """The coils' images from the middle block under a Hann window."""
    windows = [np.hanning(part.stop - part.start + 2)[1:-1] for part in block]
    low = np.zeros_like(kspace)
    low[:, *block] = kspace[:, *block] * np.outer(*windows)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(low, axes=(1, 2)), norm="ortho"), axes=(1, 2))


def _checked(kspace: np.ndarray | Tensor) -> np.ndarray:
    array = complex_array("kspace", kspace)
    if array.ndim != 3:
        raise fault("kspace", f"shape {array.shape}", "(coils, H, W), complex",
                    "give one slice, the coils first; channels (C, 2, H, W) become complex by to_complex")
    return array


def _calibration(kspace: np.ndarray, shares: tuple[float, float]) -> tuple[slice, slice]:
    """The block in the middle, which must be sampled: some coil has a value other than zero at every point."""
    block = tuple(centre(n, share) for n, share in zip(kspace.shape[1:], shares, strict=True))
    inside = kspace[:, *block].any(axis=0)
    if inside.size == 0 or not inside.all():
        found = "no point" if inside.size == 0 else f"{int((~inside).sum())} of {inside.size} points without data"
        raise fault("the centre of kspace", found, "every point of the middle block sampled",
                    "lower center_fraction" if inside.size else "raise center_fraction")
    return block
