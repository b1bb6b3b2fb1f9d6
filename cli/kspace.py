"""Measured k-space as a measurement: coil maps, noise level and scale found in the data where nobody states them."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cli import noises, raw
from cli.errors import INPUT, USAGE, refusing, usage
from cli.images import chosen
from cli.measure import AUTO, ESTIMATED, STATED, Task
from cli.run_record import Run
from data.kspace import read_kspace

if TYPE_CHECKING:
    from torch import Tensor

    from operators import CorrelatedGaussian, Gaussian

VARIATION = 12.0  # weight of the image that the phase is taken of, where images are about 0 .. 1
PHASE_STEPS = 50  # to that image; its phase no longer changes


def from_kspace(path: Path, noise: str | None, flags: raw.RawFlags, items: str | None, run: Run) -> Task:
    """One slice of a file of k-space, scaled so that its image lies in about 0 .. 1."""
    import torch

    import recon
    from operators import CorrelatedGaussian, Gaussian, mri, to_channels
    from operators.calibration import brightness, calibration_fraction, outer_covariance, outer_noise

    found = read_kspace(path, flags.axes)
    wanted = range(len(found.kspace))[chosen(items, len(found.kspace))]
    if len(wanted) != 1:
        several, middle = f"{len(wanted)} slices", f"--items {len(wanted) // 2}"
        raise usage("one slice at a time", "--items", several, "one slice: coil maps differ", middle)
    kspace, mask = found.kspace[wanted[0]], found.mask
    with refusing("E-GEOMETRY", "k-space cannot be used", f"{path}:/kspace", INPUT):
        if found.coils is None:
            maps = estimated(kspace * mask, calibration_fraction(mask), run)
        else:
            maps = found.coils[wanted[0]]
        bright = brightness(kspace, mask)
        factor = raw.scale(flags.scale, bright)
        own = noise in (None, AUTO)
        level = outer_noise(kspace, mask) if own else noises.sigma(noise, bright)
        covariance = outer_covariance(kspace, mask) if own else None
    y = factor * to_channels(torch.from_numpy(kspace.astype(np.complex64)))[None, None]
    run.note(f"k-space is multiplied by {factor:.6g}: the image is about 0 .. 1" if raw.scaled(flags.scale)
             else f"k-space is multiplied by {factor:.6g}")  # fmt: skip
    if covariance is not None:
        run.note(f"noise of each coil and between coils ({factor * root(covariance).min():.4g} .. "
                 f"{factor * root(covariance).max():.4g}, scaled), estimated at the edge of k-space")  # fmt: skip
        level = float(np.sqrt(np.mean(root(covariance) ** 2)))
    elif own:
        run.note(f"noise {factor * level:.4g} (scaled), estimated at the edge of k-space")
    run.begin(scale=factor, noise_level=factor * level, coils=len(kspace))
    known = ESTIMATED if own else STATED
    with refusing("E-USAGE", "k-space cannot be scaled so", f"--scale {flags.scale}", USAGE):
        model = Gaussian(factor * level) if covariance is None else CorrelatedGaussian.of_coils(factor**2 * covariance)
    with refusing("E-GEOMETRY", "k-space cannot be used", f"{path}:/kspace", INPUT):
        if found.coils is None:
            maps = phased(maps, y.float(), mask, model, factor * bright)
            run.note("the phase is that of a complex image of least total variation")
        operator = mri(mask.shape, mask=mask, coils=maps, image="real")
        measurement = recon.Measurement(operator, y.float(), model)
    return Task(measurement, None, "[0,1]", known=known)


def phased(
    maps: np.ndarray, y: Tensor, mask: np.ndarray, noise: Gaussian | CorrelatedGaussian, bright: float
) -> np.ndarray:
    """The maps with the phase of the image in place of their own, so that it is real and not negative with them.

    That of samples with zeros between them is blurred and folded; a regularised image shows it at every pixel.

    Args:
        maps: (C, H, W) complex, with about the image's phase.
        y: (1, 1, C, 2, H, W), zeros where not sampled.
        mask: (H, W), True = sampled.
        noise: of y.
        bright: of the image.
    """
    import recon
    from operators import mri, to_complex
    from operators.coils import with_phase
    from recon.classical import CLASSICAL

    rough = recon.Measurement(mri(mask.shape, mask=mask, coils=maps, image="complex"), y[:, 0], noise)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # that it has not converged
        image = CLASSICAL["tv"](rough, VARIATION / bright, max_iterations=PHASE_STEPS)
    return with_phase(maps, to_complex(image)[0].numpy())


def root(covariance: np.ndarray) -> np.ndarray:
    """Standard deviation of each coil's noise, in the real and in the imaginary part."""
    return np.sqrt(np.diag(covariance).real / 2)


def estimated(kspace: np.ndarray, share: float, run: Run) -> np.ndarray:
    """Coil maps (C, H, W) from the middle of k-space, by ESPIRiT where that is large enough; the image's phase in them.

    Args:
        kspace: (C, H, W), zeros where not sampled.
        share: of both axes, around which all is sampled.
    """
    from operators.coils import KERNEL, estimate_coils, low_resolution_coils, with_image_phase

    width = round(share * min(kspace.shape[1:]))
    if len(kspace) > 1 and width >= KERNEL + 2:
        run.note(f"coil maps are estimated from the {width} x {width} points in the middle of k-space (ESPIRiT)")
        return with_image_phase(estimate_coils(kspace, share, crop=0.0), kspace)
    size = " x ".join(str(round(share * n)) for n in kspace.shape[1:])
    run.note(f"coil maps are estimated from the {size} points in the middle of k-space (low resolution)")
    return with_image_phase(low_resolution_coils(kspace, share), kspace)
