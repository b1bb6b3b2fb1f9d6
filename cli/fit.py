"""Whether a measurement fits a prior: unit, channels, range, size; padded where that is honest."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from cli.images import Pictures
from cli.measure import Task
from cli.priors import facts
from cli.run_record import Run
from data.checks import OVERSHOOT, RANGES, range_remedy
from data.errors import InputRefused

if TYPE_CHECKING:
    from torch import Tensor

    from recon import Measurement, Prior

MIXED = ("mri", "hadamard", "random_projection", "phase_retrieval")  # each datum adds up pixels with both signs


def for_prior(task: Task, prior: Prior, where: str, run: Run) -> Task:
    """The task as the prior takes it: unit, channels, range checked; padded where the size asks for it."""
    check_values(task, prior, where)
    if task.unit in ("", "raw"):
        task = replace(task, unit=prior.unit)
    size = task.measurement.operator.in_shape[-2:]
    note_size(size, prior, run)
    return fitted(task, fitting_size(size, prior), where, run)


def note_size(size: tuple[int, int], prior: Prior, run: Run) -> None:
    """Notes a size that the prior takes but has not been trained at."""
    trained = prior.shape[-2:]
    if prior.any_size and size != trained:
        images = facts(prior.header).get("trained on", "images")
        known, found = (f"{n[0]} x {n[1]}" for n in (trained, size))
        run.note(f"prior {prior.name} was trained at {known}, not {found}, on: {images}")


def whole_images(pictures: Pictures, prior: Prior, where: str, run: Run) -> Tensor:
    """Images (B, C, H, W) that the prior can judge as they are: unit, channels, range and size checked, none padded."""
    import torch

    import recon
    from operators import OPERATORS, Gaussian

    values = torch.from_numpy(pictures.values)
    size = tuple(values.shape[-2:])
    given = recon.Measurement(OPERATORS["identity"](shape=size), values, Gaussian(0.0))
    check_values(Task(given, None, pictures.unit), prior, where)
    note_size(size, prior, run)
    if fitting_size(size, prior) != size:
        raise refused_size(size, fitting_size(size, prior), where)
    return values


def refused_size(found: tuple[int, int], expected: tuple[int, int], where: str) -> InputRefused:
    """The refusal of an image that the prior cannot take and that cannot be padded."""
    wanted = f"{expected[0]} x {expected[1]}"
    return InputRefused(
        "E-SIZE",
        "the prior cannot take images of this size",
        where,
        f"{found[0]} x {found[1]}",
        wanted,
        f"measure a picture of {wanted} (pad or crop it before), or take another prior",
    )


def fitted(task: Task, size: tuple[int, int], where: str, run: Run) -> Task:
    """The task with its image padded to `size`: the border is unobserved, and cropped from the result.

    Where the operator acts pixel by pixel the data are padded too, and what was a mask stays one.
    """
    import torch
    from torch.nn.functional import pad

    import recon
    from operators import OPERATORS, Crop

    operator = task.measurement.operator
    height, width = operator.in_shape[-2:]
    if (height, width) == size:
        return task
    name = operator.spec["name"]
    if height > size[0] or width > size[1]:
        raise refused_size((height, width), size, where)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    window, y = (top, left, height, width), task.measurement.y
    to = f"{size[0]} x {size[1]} with unseen pixels"
    run.note(f"{where} is {height} x {width}: padded to {to} for the prior, cropped again in the result")
    if name in ("inpaint", "identity"):
        border = (left, size[1] - width - left, top, size[0] - height - top)
        seen = torch.ones(height, width, dtype=torch.bool) if name == "identity" else operator.mask
        padded, y = OPERATORS["inpaint"](shape=size, mask=pad(seen, border).numpy()), pad(y, border)
    else:
        padded = operator @ Crop((*operator.in_shape[:-2], *size), window)
        padded.spec = operator.spec
    return replace(task, measurement=recon.Measurement(padded, y, task.measurement.noise), window=window)


def check_values(task: Task, prior: Prior, where: str) -> None:
    """Refuses data of other channels, another unit, or values that no image of the prior gives."""
    import torch

    m = task.measurement
    check_channels(m.image_shape[1], prior, where)
    if task.unit not in ("", "raw", prior.unit):
        raise InputRefused(
            "E-RANGE",
            "the data are in another unit than the prior",
            where,
            task.unit,
            prior.unit,
            "take a prior of that unit, or measure images in the prior's unit",
        )
    white = torch.ones(1, prior.shape[0], *m.operator.in_shape[-2:], dtype=m.y.dtype)
    reach = float(m.operator(white).max())
    compared = as_clean(m)
    if compared is None:
        return
    y, sigma = compared
    if m.operator.spec["name"] in MIXED:
        check_size(m, value_range(prior), sigma, prior.unit, where)
    else:
        check_range(y.numpy(), value_range(prior), reach, sigma, prior.unit, where)


def value_range(prior: Prior) -> tuple[float, float]:
    """Values that an image of this prior takes: what its unit says, else normalised -1 .. 1."""
    return RANGES.get(prior.unit, (prior.shift - prior.scale, prior.shift + prior.scale))


def check_range(
    y: np.ndarray, expected: tuple[float, float], reach: float, sigma: float, unit: str, where: str
) -> None:
    """Refuses data that no image in the prior's range can have given; nothing is ever clipped.

    Args:
        y: the data.
        expected: lowest and highest value of an image, in `unit`.
        reach: largest sum of weights with which the operator adds up an image (1 where it only averages).
        sigma: standard deviation of the noise; six of them are taken for noise.
    """
    low, high = float(y.min()), float(y.max())
    bottom, top = min(expected[0] * reach, 0.0), max(expected[1] * reach, 0.0)
    slack = OVERSHOOT * (top - bottom) + 6 * sigma
    if bottom - slack <= low and high <= top + slack:
        return
    raise InputRefused(
        "E-RANGE",
        "values outside the range of the prior",
        where,
        f"{low:.6g} .. {high:.6g}",
        f"{bottom:.6g} .. {top:.6g} (images of {expected[0]:g} .. {expected[1]:g}, unit {unit})",
        range_remedy(0.0 if abs(low) <= 6 * sigma else low / reach, high / reach, unit),
    )


def as_clean(m: Measurement) -> tuple[Tensor, float] | None:
    """The data in units of A x, and the standard deviation of their noise; None where counts fall with the image."""
    import torch

    from operators import CorrelatedGaussian, Laplace, Poisson, TransmissionCT

    if isinstance(m.noise, TransmissionCT):
        return None
    if isinstance(m.noise, Poisson):
        y = (m.y - m.noise.background) / m.noise.gain
        return y, float(((m.y + 1).sqrt() / m.noise.gain).max())
    if isinstance(m.noise, CorrelatedGaussian):
        return m.y, float(torch.as_tensor(m.noise.factor).norm(dim=1).max())
    level = m.noise.scale if isinstance(m.noise, Laplace) else m.noise.sigma
    return m.y, float(torch.as_tensor(level).max())


def check_size(m: Measurement, expected: tuple[float, float], sigma: float, unit: str, where: str) -> None:
    """Refuses data of a norm that no image in the prior's range can have given, |A x| <= |A| |x|, and their noise."""
    from operators import LinearOperator, operator_norm

    y, white = m.y.flatten(1).double(), m.y.new_ones(1, *m.image_shape[1:])
    image = sqrt(white.numel())
    linear = isinstance(m.operator, LinearOperator)
    norm = operator_norm(m.operator) if linear else float(m.operator(white).norm()) / image
    size = float((y.square().sum(1) - 2 * sigma**2 * m.count).clamp(min=0).max()) ** 0.5 / (norm * image)
    low, high = expected
    most = max(-low, high) + OVERSHOOT * (high - low)
    if size <= most:
        return
    raise InputRefused(
        "E-RANGE",
        "values outside the range of the prior",
        where,
        f"data of images with values of {size:.6g} and more (root mean square)",
        f"at most {most:.6g} (images of {low:g} .. {high:g}, unit {unit})",
        range_remedy(0.0, size, unit),
    )


def check_channels(found: int, prior: Prior, where: str) -> None:
    """Refuses an image with other channels than the prior's."""
    if found != prior.shape[0]:
        grey = "--to-gray, of `recon simulate` if that made a measurement file"
        fix = grey if prior.shape[0] == 1 else f"a prior for {found}-channel images"
        raise InputRefused(
            "E-CHANNELS",
            "channels do not fit the prior",
            where,
            f"{found} channels",
            f"{prior.shape[0]}, as in prior {prior.name}",
            fix,
        )


def fitting_size(size: tuple[int, int], prior: Prior) -> tuple[int, int]:
    """The smallest (H, W) that holds an image of `size` and that the prior takes."""
    if prior.any_size:
        return tuple(-(-n // prior.multiple) * prior.multiple for n in size)
    return tuple(max(n, m) for n, m in zip(size, prior.shape[-2:], strict=True))
