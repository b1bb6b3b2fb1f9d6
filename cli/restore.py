"""A measurement to a result, by a sampler or a classical method; arrays come in value units, unpadded."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cli import likeness, methods
from cli.errors import RESOURCES, USAGE, refusing, usage
from cli.likeness import Likeness
from cli.measure import Task
from cli.progress import bar
from cli.provenance import Supplied, supplied
from cli.scores import LEVEL
from cli.verdict import Fit
from data.errors import InputRefused
from data.rules import event_labels

if TYPE_CHECKING:
    from torch import Tensor

    from recon import Prior


COPIES = 6  # of the samples: as drawn and as stored, their residuals, what the data fix, the sorted ones


@dataclass(frozen=True)
class Plan:
    """How to sample, resolved: the settings of `recon.reconstruct`."""

    method: str
    steps: int
    samples: int
    seed: int
    batch_size: int | None
    device: str
    options: dict[str, Any]


def plan(
    method: str | None, steps: int | None, samples: int, seed: int, batch_size: int | None, device: str | None,
    options: list[str],
) -> Plan:  # fmt: skip
    """The plan, with the toolkit's own choice for what is not given; `options` as typed."""
    from recon.presets import DEFAULT_METHOD, DEFAULT_STEPS

    method, device = method or DEFAULT_METHOD, choose_device(device)
    return Plan(
        method, steps or DEFAULT_STEPS, samples, seed, batch_size, device, methods.options(method, options)
    )


@dataclass(frozen=True)
class Result:
    """What a method made of a measurement.

    Args:
        method: its name.
        estimate: (B, C, H, W), the posterior mean or the classical image.
        chi_square: (B,) mean squared residual of the estimate over the noise variance; None without noise.
        fits: for each item how the samples fit its data; of a classical method, how the estimate does.
        seconds: wall-clock.
        samples: (S, B, C, H, W), or None for a classical method, as all that follows.
        std, width: (B, C, H, W) of the samples and of their interval; None also for a single sample.
        nfe, backpropagations: network calls per sample, and gradients through them.
        likeness: whether data and samples are like the prior's images.
        supplied: what the data do not fix.
    """

    method: str
    estimate: np.ndarray
    chi_square: np.ndarray | None
    fits: list[Fit]
    seconds: float
    samples: np.ndarray | None = None
    std: np.ndarray | None = None
    width: np.ndarray | None = None
    nfe: int = 0
    backpropagations: int = 0
    likeness: Likeness | None = None
    supplied: Supplied | None = None


def choose_device(name: str | None) -> str:
    """The device asked for, checked; without a wish, the accelerator if there is one."""
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise usage(
            "device cannot be used",
            f"--device {name}",
            str(error).splitlines()[0],
            "cpu, or a device that torch sees",
            "--device cpu",
        ) from error
    return name


def classical(task: Task, method: str, options: dict[str, Any]) -> Result:
    """Filtered backprojection, total variation or pseudo-inverse."""
    start = time.perf_counter()
    with refusing("E-METHOD", f"{method} cannot be used here", f"--method {method}", USAGE):
        estimate = methods.function(method)(task.measurement, **options)
    seconds = time.perf_counter() - start
    chi_square = residual(task, estimate)
    return Result(method, array(task, estimate), chi_square, fits(task, estimate[None], of_samples=False), seconds)


def posterior(task: Task, prior: Prior, plan: Plan, told: dict[str, Any]) -> Result:
    """Draws from the posterior and their statistics; `told` is what `cli.labelling` makes of a label."""
    import recon

    refuse_many(plan.samples, task.measurement.image_shape)
    wrong = refusing("E-METHOD", "these settings cannot work", f"--method {plan.method}", USAGE)
    with bar("sampling") as progress, wrong:
        drawn = recon.reconstruct(task.measurement, prior, **asdict(plan), **told, progress=progress)
    several = plan.samples > 1
    return Result(
        plan.method,
        array(task, drawn.mean),
        residual(task, drawn.mean),
        fits(task, drawn.samples, of_samples=True),
        drawn.seconds,
        array(task, drawn.samples),
        array(task, drawn.std) if several else None,
        array(task, drawn.width(LEVEL)) if several else None,
        drawn.nfe,
        drawn.backpropagations,
        likeness.of_result(task, drawn.samples, prior),
        supplied(task, drawn.samples, plan.device),
    )


def refuse_many(samples: int, shape: tuple[int, ...]) -> None:
    """Refuses more samples of images (B, C, H, W) than the memory holds, with what is computed of them."""
    needed = COPIES * samples * math.prod(shape) * 4
    room = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > room:
        raise InputRefused("E-MEMORY", "not enough memory", f"--samples {samples}", f"{needed / 2**30:.3g} GiB needed",
                           f"at most {room / 2**30:.3g} GiB, which this machine has",
                           "fewer --samples, or fewer --items at a time", exit_code=RESOURCES)  # fmt: skip


def array(task: Task, images: Tensor) -> np.ndarray:
    """Without padding, as the files store it."""
    return task.crop(images.cpu().float().numpy())


def fits(task: Task, images: Tensor, of_samples: bool) -> list[Fit]:
    """For each item how images (S, B, C, H, W) fit its data: by their mean chi-square and their largest residual."""
    import torch

    from recon.posterior import fitted_degrees

    m = task.measurement
    images = images.to(m.y)
    sizes = torch.stack([m.residual(x).abs() for x in images], 1)  # (B, S, ...)
    signed = sizes if m.noiseless else torch.stack([m.deviations(x) for x in images], 1)
    scaled, several = signed.abs(), of_samples and len(images) > 1 and not m.noiseless
    fitted = fitted_degrees(signed.transpose(0, 1)).tolist() if several else [None] * len(sizes)
    averages = None if m.noiseless else (scaled.square().flatten(2).sum(2) / m.count).mean(1).tolist()
    seen = m.y if m.operator.measured is None else m.y[..., m.operator.measured.expand(m.operator.out_shape)]
    found = []
    for k, values in enumerate(seen):
        place = np.unravel_index(int(scaled[k].argmax()), scaled[k].shape)
        span = float(values.max() - values.min()) or 1.0
        found.append(Fit(
            chi_square=None if averages is None else averages[k],
            peak=None if averages is None else float(scaled[k][place]),
            misfit=float(sizes[k][place]) / span,
            place=named(task, place[-len(m.operator.out_shape) :]),
            count=m.count,
            of_samples=of_samples,
            known=task.known,
            fitted=fitted[k],
        ))  # fmt: skip
    return found


def named(task: Task, index: Sequence[int]) -> str:
    """A place in the data, without padding, in words: "row 60, column 9"."""
    axes = ("channel", *event_labels(**task.measurement.operator.spec))[-len(index) :]
    first = (0,) * (len(index) - 2) + task.corner
    return ", ".join(f"{axis} {n - start}" for axis, n, start in zip(axes, index, first[-len(index) :], strict=True))


def residual(task: Task, images: Tensor) -> np.ndarray | None:
    """(B,) chi-square of images; None where the data are noiseless."""
    if task.measurement.noiseless:
        return None
    return task.measurement.chi_square(images.to(task.measurement.y)).numpy()
