"""A measurement to a result, by a sampler or a classical method; arrays come in value units, unpadded."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from cli.errors import USAGE, refusing, usage
from cli.measure import Task
from cli.run_record import bar

if TYPE_CHECKING:
    from torch import Tensor

    from recon import Prior

LEVEL = 0.9


@dataclass(frozen=True)
class Plan:
    """How to sample, resolved: the settings of `recon.reconstruct`."""

    method: str
    steps: int
    samples: int
    seed: int
    batch_size: int | None
    device: str


def plan(
    method: str | None, steps: int | None, samples: int, seed: int, batch_size: int | None, device: str | None
) -> Plan:
    """The plan, with the toolkit's own choice for what is not given."""
    from recon.presets import DEFAULT_METHOD, DEFAULT_STEPS

    return Plan(
        method or DEFAULT_METHOD, steps or DEFAULT_STEPS, samples, seed, batch_size, choose_device(device)
    )


@dataclass(frozen=True)
class Result:
    """What a method made of a measurement.

    Args:
        method: its name.
        estimate: (B, C, H, W), the posterior mean or the classical image.
        chi_square: (B,) mean squared residual of the estimate over the noise variance; None without noise.
        seconds: wall-clock.
        samples: (S, B, C, H, W), or None for a classical method, as all that follows.
        fit: (B,) mean chi-square of the samples: 1 on average where they are as likely as the truth.
        std, width: (B, C, H, W) of the samples and of the 90 % interval; None also for a single sample.
        nfe: network calls per sample.
    """

    method: str
    estimate: np.ndarray
    chi_square: np.ndarray | None
    seconds: float
    samples: np.ndarray | None = None
    fit: np.ndarray | None = None
    std: np.ndarray | None = None
    width: np.ndarray | None = None
    nfe: int = 0


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


def classical(task: Task, method: str) -> Result:
    """Filtered backprojection, total variation or pseudo-inverse."""
    from recon.classical import CLASSICAL

    start = time.perf_counter()
    with refusing("E-METHOD", f"{method} cannot be used here", f"--method {method}", USAGE):
        estimate = CLASSICAL[method](task.measurement)
    seconds = time.perf_counter() - start
    return Result(method, array(task, estimate), residual(task, estimate), seconds)


def posterior(task: Task, prior: Prior, plan: Plan) -> Result:
    """Draws from the posterior and their statistics."""
    import recon

    wrong = refusing("E-METHOD", "these settings cannot work", f"--method {plan.method}", USAGE)
    with bar("sampling") as progress, wrong:
        drawn = recon.reconstruct(task.measurement, prior, **asdict(plan), progress=progress)
    fits = [residual(task, sample) for sample in drawn.samples]
    several = plan.samples > 1
    return Result(
        plan.method,
        array(task, drawn.mean),
        residual(task, drawn.mean),
        drawn.seconds,
        array(task, drawn.samples),
        None if fits[0] is None else np.mean(fits, 0),
        array(task, drawn.std) if several else None,
        array(task, drawn.width(LEVEL)) if several else None,
        drawn.nfe,
    )


def array(task: Task, images: Tensor) -> np.ndarray:
    """Without padding, as the files store it."""
    return task.crop(images.cpu().float().numpy())


def residual(task: Task, images: Tensor) -> np.ndarray | None:
    """(B,) chi-square of images; None where the data are noiseless."""
    if task.measurement.noiseless:
        return None
    return task.measurement.chi_square(images.to(task.measurement.y)).numpy()
