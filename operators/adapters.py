"""Sinograms of scikit-image, both ways.

scikit-image keeps the detector on the first axis and the angles, in degrees, on the second. It rotates about
pixel (N // 2, N // 2), seen by bin N // 2: half a pixel off the geometric centre where N is even. Angles turn
as ours do. That geometry is stated to `ct`, so nothing is resampled.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from operators.checks import fault, image_shape, positive_int, real_array


def from_skimage(sinogram: np.ndarray, theta: Sequence[float] | np.ndarray) -> tuple[np.ndarray, dict]:
    """Data and the arguments of `ct` for the output of skimage.transform.radon(image, theta, circle=True).

    Args:
        sinogram: (N, angles), for an image of N x N.
        theta: Angles in degrees.

    Returns:
        y (angles, N), and parameters such that ct(**parameters) is the operator that y belongs to.

    Raises:
        ValueError: the sinogram is not (N, len(theta)).
    """
    sinogram, theta = real_array("sinogram", sinogram), real_array("theta", theta)
    if theta.ndim != 1 or sinogram.ndim != 2 or sinogram.shape[1] != theta.size:
        turned = sinogram.ndim == 2 and sinogram.shape[0] == theta.size
        raise fault("sinogram", f"shape {sinogram.shape} with {theta.size} angles",
                    f"(detectors, {theta.size})",
                    "transpose it" if turned else "give the angles that radon was called with")
    return np.ascontiguousarray(sinogram.T), skimage_geometry(sinogram.shape[0], theta)


def to_skimage(y: np.ndarray, angles_rad: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(sinogram, theta) for skimage.transform.iradon from data of ct(**skimage_geometry(N, theta)).

    Args:
        y: (angles, N).
        angles_rad: Angles in radians.

    Returns:
        Sinogram (N, angles), and theta in degrees.
    """
    y, angles = real_array("y", y), real_array("angles_rad", angles_rad)
    if angles.ndim != 1 or y.ndim != 2 or y.shape[0] != angles.size:
        raise fault("y", f"shape {y.shape} with {angles.size} angles", f"({angles.size}, detectors)",
                    "give one sinogram, and the angles of its rows")
    return np.ascontiguousarray(y.T), np.rad2deg(angles)


def skimage_geometry(size: int, theta: Sequence[float] | np.ndarray) -> dict:
    """The arguments of `ct` that make it scikit-image's radon(image (size, size), theta, circle=True)."""
    size = positive_int("size", size)
    return {"shape": (size, size), "angles": np.deg2rad(real_array("theta", theta)), "detectors": size,
            "centre": (size // 2, size // 2), "detector_centre": float(size // 2)}


def skimage_padded_geometry(shape: Sequence[int], theta: Sequence[float] | np.ndarray) -> dict:
    """The arguments of `ct` that make it scikit-image's radon(image, theta, circle=False): bins cover the diagonal.

    Args:
        shape: (H, W) of the image.
        theta: Angles in degrees.
    """
    shape = image_shape(shape)
    bins = math.ceil(math.sqrt(2) * max(shape))
    return {"shape": shape, "angles": np.deg2rad(real_array("theta", theta)), "detectors": bins,
            "centre": tuple(n // 2 for n in shape), "detector_centre": float(bins // 2)}
