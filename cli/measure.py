"""What is to be reconstructed: a measurement from a file, or from a degraded image and the flags that describe how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import data
from cli import priors, spec
from cli.errors import INPUT, USAGE, refusing, usage
from cli.run_record import Run
from data.errors import InputRefused

if TYPE_CHECKING:
    from recon import Measurement, Prior

QUANTISATION = 1 / 255
MEASUREMENT = 2**32 - 1  # the sample number of measurement noise


@dataclass(frozen=True)
class Task:
    """A measurement and what belongs to it but not to the mathematics.

    Args:
        measurement: operator, y (B, ...) and noise.
        truth: (B, C, H, W) where the file stores it.
        unit: unit of the image's values, "" if unknown.
        window: (top, left, height, width) of the image inside the padded one, or None.
    """

    measurement: Measurement
    truth: np.ndarray | None
    unit: str
    window: tuple[int, int, int, int] | None = None

    def crop(self, images: np.ndarray) -> np.ndarray:
        """(..., H, W) without the padding."""
        if self.window is None:
            return images
        top, left, height, width = self.window
        return images[..., top : top + height, left : left + width]


def from_file(
    path: Path,
    noise: str | None,
    operator: str | None,
    flags: spec.OperatorFlags,
    items: str | None,
    run: Run,
) -> Task:
    """The measurement of an HDF5 file, which is enough to reconstruct from."""
    import torch

    import recon
    from operators import OPERATORS, Gaussian

    given = [f"--{name}" for name in flags.given()] + ["--operator"] * (operator is not None)
    if given:
        raise usage(
            "a measurement file brings its own operator",
            str(path),
            ", ".join(given),
            "no operator flags",
            "remove them, or simulate another measurement",
        )
    stored = data.read_measurement(path)
    name = stored.operator["name"]
    if name not in OPERATORS:
        raise InputRefused(
            "E-OPERATOR", "unknown operator", f"{path}:/operator", name, ", ".join(OPERATORS), "update recon"
        )
    y = torch.from_numpy(stored.y)
    with refusing("E-OPERATOR", "operator cannot be built", f"{path}:/operator", INPUT):
        built = OPERATORS[name](**stored.operator["parameters"])
    sigma = stored.noise["sigma"]
    if noise is not None:
        sigma = spec.sigma(noise, float(y.abs().max()))
        run.note(f"noise level {sigma:g} from --noise replaces {stored.noise['sigma']:g} of {path.name}")
    with refusing("E-GEOMETRY", "measurement does not fit its operator", f"{path}:/y", INPUT):
        measurement = recon.Measurement(built, y, Gaussian(sigma))
    return Task(measurement, stored.x, stored.unit)


def simulated(
    x: np.ndarray, operator: str, flags: spec.OperatorFlags, noise: str, seed: int, unit: str
) -> tuple[Task, dict[str, Any]]:
    """Measures images (B, C, H, W): the task, and the arguments of `data.write_measurement` that keep it.

    The noise is that of a sample number which no sampler reaches, so it never repeats as a sampler's noise.
    """
    import torch

    import recon
    from operators import Gaussian
    from recon.noise import CounterNoise

    images = torch.from_numpy(x)
    built = spec.build(operator, flags, x.shape[-2:], seed)
    clean = built(images)
    model = Gaussian(spec.sigma(noise, float(clean.abs().max())))
    y = model.sample(clean, CounterNoise(seed, range(len(x)), [MEASUREMENT] * len(x))(clean))
    if built.measured is not None:
        y = y * built.measured
    stored = {
        "y": y.numpy(),
        "operator": built.spec,
        "noise": {"model": "gaussian", "sigma": model.sigma},
        "x": x,
        "unit": unit,
        "attrs": {"seed": seed},
    }
    return Task(recon.Measurement(built, y, model), x, unit), stored


def from_image(
    path: Path,
    noise: str | None,
    operator: str | None,
    flags: spec.OperatorFlags,
    seed: int,
    to_gray: bool,
    run: Run,
) -> Task:
    """A degraded image and flags: what the operator made of an unknown image is the image given."""
    import torch

    import recon
    from operators import Gaussian

    if operator is None:
        raise usage(
            "how was this image degraded?",
            str(path),
            "an image and no --operator",
            "a measurement file, or an image with --operator",
            "--operator inpaint --mask mask.png, or see `recon info operators`",
        )
    if operator == "ct":
        raise usage(
            "ct data come in a measurement file",
            str(path),
            "an image",
            "HDF5 as `recon simulate` writes it",
            f"recon simulate {path.name} --operator ct --angles 60 --noise 1% -o scan.h5",
        )
    image = data.read_image(path, to_gray=to_gray)
    for note in image.notes:
        run.note(note)
    size = image.values.shape[-2:]
    factor = (flags.factor or 1) if operator == "downsample" else 1
    built = spec.build(operator, flags, (size[0] * factor, size[1] * factor), seed)
    if tuple(built.out_shape) != tuple(size):
        raise usage(
            "image is not what the operator gives",
            str(path),
            f"{size[0]} x {size[1]}",
            " x ".join(str(n) for n in built.out_shape),
            "correct the operator's parameters",
        )
    y = torch.from_numpy(image.values)[None]
    if operator == "inpaint":
        y = built(y)
    level = spec.sigma(noise, float(y.abs().max())) if noise is not None else QUANTISATION
    if noise is None:
        run.note(f"no --noise given: sigma {level:.4f} (one step of 8-bit values) is assumed")
    with refusing("E-USAGE", "noise level cannot be used", "--noise", USAGE):
        return Task(recon.Measurement(built, y, Gaussian(level)), None, image.unit)


def for_prior(task: Task, prior: Prior, where: str, run: Run) -> Task:
    """The task as the prior takes it: unit, channels, range checked; padded where the size asks for it."""
    check_values(task, prior, where)
    if task.unit in ("", "raw"):
        task = replace(task, unit=prior.unit)
    return fitted(task, priors.fitting_size(task.measurement.operator.in_shape[-2:], prior), where, run)


def fitted(task: Task, size: tuple[int, int], where: str, run: Run) -> Task:
    """The task with its image padded to `size`: the border is unobserved, and cropped from the result.

    Only operators that act pixel by pixel can be padded so; for the others the size is part of the measurement.
    """
    import torch
    from torch.nn.functional import pad

    import recon
    from operators import OPERATORS

    operator = task.measurement.operator
    height, width = operator.in_shape[-2:]
    if (height, width) == size:
        return task
    name = operator.spec["name"]
    if name not in ("inpaint", "identity") or height > size[0] or width > size[1]:
        raise InputRefused(
            "E-SIZE",
            "the prior cannot take images of this size",
            where,
            f"{height} x {width}",
            f"{size[0]} x {size[1]}",
            f"measure or simulate at {size[0]} x {size[1]}, or take another prior",
        )
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    border = (left, size[1] - width - left, top, size[0] - height - top)
    seen = torch.ones(height, width, dtype=torch.bool) if name == "identity" else operator.mask
    padded = OPERATORS["inpaint"](shape=size, mask=pad(seen, border).numpy())
    run.note(
        f"{where} is {height} x {width}; padded to {size[0]} x {size[1]} with unobserved pixels, cropped in the result"
    )
    measurement = recon.Measurement(padded, pad(task.measurement.y, border), task.measurement.noise)
    return replace(task, measurement=measurement, window=(top, left, height, width))


def check_values(task: Task, prior: Prior, where: str) -> None:
    """Refuses data of other channels, another unit, or values that no image of the prior gives."""
    import torch

    m = task.measurement
    priors.check_channels(m.y.shape[1], prior, where)
    if task.unit not in ("", "raw", prior.unit):
        raise InputRefused(
            "E-RANGE",
            "the data are in another unit than the prior",
            where,
            task.unit,
            prior.unit,
            "take a prior of that unit, or measure images in the prior's unit",
        )
    reach = float(m.operator(torch.ones(1, 1, *m.operator.in_shape[-2:])).max())
    sigma = float(torch.as_tensor(m.noise.sigma).max())
    priors.check_range(m.y.numpy(), priors.value_range(prior), reach, sigma, prior.unit, where)
