"""Coil maps from the fully sampled centre of k-space.

`estimate_coils` is ESPIRiT: of the library sigpy where it is installed, else of `operators.espirit`.
`low_resolution_coils` divides the coils' blurred images by the root of their sum of squares, which is cruder where the
image is dark, but takes a smaller centre. The data leave one phase for each pixel open, between image and maps: here
the maps take the smooth part of it, as far as the centre shows it; `with_image_phase` takes it from all samples. With
it the image is nearly real and not negative, so that mri(..., image="real") takes a prior of magnitudes.
"""

from __future__ import annotations

import importlib

import numpy as np
from torch import Tensor

from operators.checks import complex_array, fault, finite_float
from operators.espirit import eigen_maps
from operators.masks import centre

KERNEL = 6  # width of ESPIRiT's kernels in k-space


def estimate_coils(
    kspace: np.ndarray | Tensor, center_fraction: float = 0.08, crop: float = 0.9
) -> np.ndarray:
    """Coil maps by ESPIRiT.

    Args:
        kspace: (C, H, W) complex, the origin at (H // 2, W // 2), zeros where not sampled.
        center_fraction: The middle round(center_fraction min(H, W)) points of both axes calibrate the maps; they
            must be sampled. 20 to 30 points are usual.
        crop: Maps are set to zero where the eigenvalue is below: outside the body, in [0, 1).

    Returns:
        (C, H, W) complex128, with sum |S|^2 = 1 over the coils where they are not zero.

    Raises:
        ValueError: kspace is of another shape, its centre is not fully sampled or too small.

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
    try:  # by name, because it is optional
        sigpy = importlib.import_module("sigpy.mri.app")
    except ImportError:
        maps, eigenvalue = eigen_maps(kspace[:, *block], kspace.shape[1:], KERNEL)
        maps = np.where(eigenvalue >= crop, maps, 0.0)
    else:
        maps = sigpy.EspiritCalib(kspace, calib_width=width, kernel_width=KERNEL, crop=crop, show_pbar=False).run()
        maps = np.where(np.isfinite(maps), maps, 0.0)  # sigpy's phase is the first coil's, also where that sees nothing
    image = (maps.conj() * _blurred(kspace, block)).sum(axis=0)
    return with_phase(maps, image)


def with_image_phase(maps: np.ndarray, kspace: np.ndarray | Tensor, radius: float = 0.15) -> np.ndarray:
    """The maps with the smooth phase of the image in place of their own: the image is nearly real with them.

    The image is sum_c conj(S_c) x_c, x_c the coils' images from all samples, under a Hann window in k-space. The
    centre alone shows less of its phase. Incoherent sampling (random, Poisson disc) leaves that phase as it is; an
    equispaced one folds the image, and with it the phase.

    Args:
        maps: (C, H, W) complex.
        kspace: (C, H, W) complex, the origin at (H // 2, W // 2), zeros where not sampled.
        radius: Of the window, as a share of min(H, W); larger ones let noise into the phase.

    Returns:
        (C, H, W) complex128, of the magnitude of `maps`.
    """
    kspace, share = _checked(kspace), finite_float("radius", radius, low=0.0, above=True)
    image = (maps.conj() * _image(kspace)).sum(axis=0)
    steps = np.hypot(*np.meshgrid(*(np.arange(n) - n // 2 for n in image.shape), indexing="ij"))
    window = np.cos(np.pi / 2 * np.minimum(steps / (share * min(image.shape)), 1.0)) ** 2
    spectrum = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image), norm="ortho"))
    return with_phase(maps, _image(spectrum * window))


def with_phase(maps: np.ndarray, image: np.ndarray) -> np.ndarray:
    """S exp(i phase of the image): an image found with the maps S becomes its magnitude.

    Args:
        maps: (C, H, W) complex.
        image: (H, W) complex.
    """
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
    return _image(low)


def _image(kspace: np.ndarray) -> np.ndarray:
    """The centred orthonormal inverse transform over the last two axes."""
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(kspace, axes=axes), norm="ortho"), axes=axes)


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
