"""Magnetic resonance imaging: k-space of an image, seen by one coil or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from operators.channels import RealToComplex
from operators.checks import complex_array, fault, image_shape, real_array
from operators.each import Each
from operators.inpaint import Inpaint
from operators.kspace import CentredFourier, CoilMaps
from operators.linear import LinearOperator
from operators.lines import LineKspace
from operators.masks import sampling_mask
from operators.nufft import nonuniform_fourier
from operators.points import PointKspace
from operators.real_kspace import RealCartesian
from operators.trajectories import given_trajectory, trajectory_for

IMAGES = ("complex", "real")


def mri(
    shape: Sequence[int],
    acceleration: float = 4.0,
    center_fraction: float = 0.08,
    mask: np.ndarray | Tensor | None = None,
    coils: np.ndarray | Tensor | None = None,
    kind: str = "random",
    trajectory: str | np.ndarray | Tensor | None = None,
    image: str = "complex",
    seed: int = 0,
) -> LinearOperator:
    """y = M F S x: undersampled k-space of an image, the product of a mask, Fourier transforms and coil maps.

    Complex numbers are two real channels (see `operators.channels`), so noise of standard deviation sigma has
    sigma on the real and on the imaginary part each. The transform is orthonormal with the origin in the middle,
    as in fastMRI. Points that are not sampled stay in y as zeros; `measured` tells them from data.

    Args:
        shape: (H, W) of the image and of k-space.
        acceleration: How many times fewer points than full sampling, 1 or more.
        center_fraction: Share of the lines, in the middle of k-space, that are always sampled.
        kind: Lines "random", "equispaced" or "gaussian", or points "poisson", see `operators.sampling_mask`.
        seed: Of the mask.
        mask: Takes the place of a drawn one: (H, W), or (W,) for whole columns; True or 1 = sampled.
        trajectory: Takes the place of a mask where k-space is not sampled on a grid: "radial" (golden angle) or
            "spiral", with 1 / acceleration of the shots of full sampling, or points (shots, samples, 2) of (row,
            column) in cycles per pixel, see `operators.radial_trajectory`.
        coils: Coil maps S, (C, H, W) complex; by default one coil that sees everything alike, without a coil axis.
        image: "complex": x is (..., 2, H, W). "real": x is (..., H, W), for priors of magnitudes; channels of x
            are kept in front, so that (B, 1, H, W) gives (B, 1, 2, H, W). What phase the image has must then be
            part of the coil maps, as it is in `operators.low_resolution_coils`.

    Returns:
        The operator, to (..., 2, H, W), or (..., C, 2, H, W) with coils; with a trajectory the last axes are (shots,
        samples). With a mask and one coil, solves are in closed form.

    Raises:
        ValueError: an argument is out of range or of another shape; the text has the remedy.
    """
    shape = image_shape(shape)
    if image not in IMAGES:
        raise fault("image", repr(image), " or ".join(map(repr, IMAGES)), "choose one of these")
    parameters = {"shape": list(shape), "image": image}
    if trajectory is None:
        sampled = sampling_mask(shape, acceleration, center_fraction, kind, seed) if mask is None else mask
        parameters["mask"] = sampled = _given_mask(sampled, shape)
        transform: LinearOperator = CentredFourier(shape)
    elif mask is None:
        named = isinstance(trajectory, str)
        points = trajectory_for(trajectory, shape, acceleration) if named else given_trajectory(trajectory)
        parameters["trajectory"] = points
        transform = nonuniform_fourier(shape, points)
    else:
        raise fault("mri", "mask and trajectory", "one of them", "leave out the mask: a trajectory is no grid")
    maps = None
    if coils is not None:
        parameters["coils"] = maps = _given_coils(coils, shape)
        transform = Each(maps.shape[:1], transform) @ CoilMaps(maps)
    operator = transform @ RealToComplex(shape) if image == "real" else transform
    if trajectory is None:
        operator = _sampled(operator, sampled, maps)
    operator.spec = {"name": "mri", "parameters": parameters}
    return operator


def _sampled(transform: LinearOperator, mask: np.ndarray, maps: np.ndarray | None) -> LinearOperator:
    """M times the transform, in one pass."""
    kept = torch.from_numpy(mask.copy())
    product = Inpaint(kept.expand(transform.out_shape)) @ transform
    few_lines = (mask == mask[0]).all() and 2 * mask[0].sum() < mask.shape[1]
    operator = LineKspace(product, mask[0], maps) if few_lines else PointKspace(product, mask, maps)
    if maps is None and len(transform.in_shape) == 2:
        return RealCartesian(operator, kept)
    return operator


def _given_mask(mask: np.ndarray | Tensor, shape: tuple[int, int]) -> np.ndarray:
    values = real_array("mask", mask)
    if values.shape not in (shape, shape[1:]):
        turned = values.shape == shape[::-1]
        raise fault("mask", f"shape {values.shape}", f"{shape}, or ({shape[1]},) for columns",
                    "transpose the mask" if turned else "resize the mask or correct `shape`")
    if not np.isin(values, (0.0, 1.0)).all():
        raise fault("mask", f"values from {values.min():g} to {values.max():g}", "True/False, or 0 and 1",
                    "threshold it, e.g. mask > 0 (True = sampled)")
    if not values.any():
        raise fault("mask", "no sampled point", "at least one", "invert the mask (True or 1 = sampled)")
    return np.broadcast_to(values.astype(bool), shape).copy()


def _given_coils(coils: np.ndarray | Tensor, shape: tuple[int, int]) -> np.ndarray:
    maps = complex_array("coils", coils)
    if maps.ndim != 3 or maps.shape[1:] != shape:
        raise fault("coils", f"shape {maps.shape}", f"(coils, {shape[0]}, {shape[1]}), complex",
                    "give one map for each coil, of the size of the image")
    if not maps.any():
        raise fault("coils", "only zeros", "at least one other value", "give the sensitivities of the coils")
    return maps
