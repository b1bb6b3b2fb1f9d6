"""Blur: convolution with the point spread of a Gaussian, a straight motion, a lens out of focus, or the user's own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from operators.checks import fault, finite_float, image_shape, real_array
from operators.fourier import CircularConvolution, ZeroConvolution
from operators.linear import LinearOperator

BOUNDARIES = {"circular": CircularConvolution, "zero": ZeroConvolution}


def blur(
    shape: Sequence[int],
    std: float | None = None,
    kernel: np.ndarray | Tensor | None = None,
    motion: tuple[float, float] | None = None,
    boundary: str = "circular",
    defocus: float | None = None,
) -> LinearOperator:
    """y = k * x, of the size of x. Give one of std, kernel, motion and defocus.

    Args:
        shape: (H, W) of the image.
        std: Standard deviation of a Gaussian in pixels, above zero; cut at 4 std and normalised to sum 1.
        kernel: (h, w), odd or even sizes, centre at (h // 2, w // 2); used as it is (`recon` brings a
            kernel file to sum 1 first). It is convolved, not correlated: an impulse in the image turns into the kernel.
        motion: (length in pixels, angle in degrees, counter-clockwise from the horizontal axis) of a straight
            motion at constant speed; sums to 1.
        defocus: Radius in pixels, above zero, of the disc that a lens out of focus makes of a point; sums to 1.
        boundary: "circular" (the image continues periodically; closed-form solves) or "zero" (black outside).

    Raises:
        ValueError: none or several of std, kernel, motion and defocus; values that are out of range, NaN or of another
            shape; an unknown boundary. The text says how to mend it.
    """
    shape = image_shape(shape)
    choices = {"std": std, "kernel": kernel, "motion": motion, "defocus": defocus}
    given = [name for name, value in choices.items() if value is not None]
    if len(given) != 1:
        raise fault("blur", " and ".join(given) or "none of std, kernel, motion and defocus", "exactly one of them",
                    "give std=2.0, or kernel=array, or motion=(length, angle), or defocus=3.0")
    if boundary not in BOUNDARIES:
        raise fault("boundary", repr(boundary), " or ".join(map(repr, BOUNDARIES)), "choose one of these")
    if std is not None:
        kernel = gaussian_kernel(std, largest=max(shape))
    elif motion is not None:
        kernel = motion_kernel(motion, longest=max(shape))
    elif defocus is not None:
        kernel = disc_kernel(defocus, largest=max(shape))
    kernel = real_array("kernel", kernel)
    if kernel.ndim != 2:
        raise fault("kernel", f"shape {kernel.shape}", "two axes (height, width)",
                    "give one kernel for all channels, e.g. kernel[0]")
    if not kernel.any():
        raise fault("kernel", "only zeros", "at least one other value", "give the point spread function")
    operator = BOUNDARIES[boundary](kernel, shape)
    parameters = {"shape": list(shape), "kernel": kernel, "boundary": boundary}
    operator.spec = {"name": "blur", "parameters": parameters}
    return operator


def gaussian_kernel(std: float, largest: float = 1000.0) -> np.ndarray:
    """exp(-|j|^2 / (2 std^2)) out to 4 std, normalised to sum 1; std in pixels, at most `largest`."""
    std = finite_float("std", std, low=0.0, above=True)
    if std > largest:
        raise fault("std", std, f"at most the longer side of the image, {largest} pixels",
                    "give std in pixels")
    radius = int(4.0 * std + 0.5)
    profile = np.exp(-0.5 * (np.arange(-radius, radius + 1) / std) ** 2)
    profile /= profile.sum()
    return np.outer(profile, profile)


def disc_kernel(radius: float, largest: float = 1000.0) -> np.ndarray:
    """The share of each pixel's area in a disc of `radius` pixels, normalised to sum 1."""
    radius = finite_float("defocus", radius, low=0.0, above=True)
    if radius > largest:
        raise fault("defocus", radius, f"at most the longer side of the image, {largest} pixels",
                    "give the radius in pixels")
    reach = math.ceil(radius - 0.5)
    edges = np.arange(-reach, reach + 2) - 0.5
    within = np.clip(edges / radius, -1.0, 1.0)
    corner = np.sign(edges) * np.sign(edges)[:, None] * _quarter_disc(abs(within), abs(within)[:, None])
    kernel = np.diff(np.diff(corner, axis=0), axis=1)
    return kernel / kernel.sum()


def _quarter_disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The area of the unit disc within [0, x] times [0, y], both in [0, 1]."""

    def under_arc(t: np.ndarray) -> np.ndarray:
        return (t * np.sqrt(1.0 - t**2) + np.arcsin(t)) / 2.0

    flat = np.minimum(np.sqrt(1.0 - y**2), x)  # up to here the height is y, beyond it is that of the arc
    return y * flat + under_arc(x) - under_arc(flat)


def motion_kernel(motion: tuple[float, float], longest: float = 1000.0) -> np.ndarray:
    """The share of a straight path spent in each pixel; `motion` is (length in pixels, angle in degrees)."""
    if not isinstance(motion, (Sequence, np.ndarray)) or len(motion) != 2:
        raise fault("motion", repr(motion), "(length in pixels, angle in degrees)", "e.g. motion=(9, 30)")
    length = finite_float("motion length", motion[0], low=0.0, above=True)
    if length > longest:
        raise fault("motion length", length, f"at most the longer side of the image, {longest} pixels",
                    "give the length in pixels")
    angle = math.radians(finite_float("motion angle", motion[1]))
    direction = np.array([-math.sin(angle), math.cos(angle)])  # (row, column); rows count downwards
    radius = math.ceil(length / 2)
    edges = np.arange(-radius, radius) + 0.5
    with np.errstate(divide="ignore"):
        crossings = (edges / direction[:, None]).ravel()
    cuts = np.unique(np.clip(np.append(crossings, [-length / 2, length / 2]), -length / 2, length / 2))
    cuts = cuts[np.append(True, np.diff(cuts) > 1e-9)]  # a path through a corner crosses two edges at once
    pixels = np.rint(direction[:, None] * (cuts[:-1] + cuts[1:]) / 2).astype(int) + radius
    kernel = np.zeros((2 * radius + 1,) * 2)
    np.add.at(kernel, tuple(pixels), np.diff(cuts))
    return kernel / kernel.sum()
