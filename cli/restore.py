"""One measurement to one result, by a sampler or a classical method; arrays come back in value units, unpadded."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from cli.errors import USAGE, refusing, usage
from cli.measure import Task
from cli.run_record import bar

LEVEL = 0.9


@dataclass(frozen=True)
class Result:
    """What a method made of a measurement.

    Args:
        method: its name.
        estimate: (B, C, H, W), the posterior mean or the classical image.
        samples: (S, B, C, H, W), or None for a classical method.
        std, width: (B, C, H, W) spread of the samples and width of the 90 % interval, or None (one sample, classical).
        chi_square: (B,) of the estimate, or None for noiseless data.
        nfe: network calls per sample.
        seconds: wall-clock.
    """

    method: str
    estimate: np.ndarray
    samples: np.ndarray | None
    std: np.ndarray | None
    width: np.ndarray | None
    chi_square: np.ndarray | None
    nfe: int
    seconds: float


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
    import recon

    start = time.perf_counter()
    with refusing("E-METHOD", f"{method} cannot be used here", f"--method {method}", USAGE):
        estimate = recon.CLASSICAL[method](task.measurement)
    seconds = time.perf_counter() - start
    return Result(
        method, task.crop(estimate.numpy()), None, None, None, chi_square(task, estimate), 0, seconds
    )


def posterior(
    task: Task,
    prior,
    method: str | None,
    steps: int | None,
    samples: int,
    seed: int,
    batch_size: int | None,
    device: str,
) -> Result:
    """Draws from the posterior and their statistics."""
    import recon

    with (
        bar("sampling") as progress,
        refusing("E-METHOD", "these settings cannot work", f"--method {method or 'default'}", USAGE),
    ):
        drawn = recon.reconstruct(
            task.measurement,
            prior,
            method=method,
            steps=steps,
            samples=samples,
            seed=seed,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
    several = samples > 1
    return Result(
        method or "default",
        array(task, drawn.mean),
        array(task, drawn.samples),
        array(task, drawn.std) if several else None,
        array(task, drawn.width(LEVEL)) if several else None,
        None if drawn.chi_square is None else drawn.chi_square.cpu().numpy(),
        drawn.nfe,
        drawn.seconds,
    )


def array(task: Task, images) -> np.ndarray:
    return task.crop(images.detach().cpu().float().numpy())


def chi_square(task: Task, estimate) -> np.ndarray | None:
    """(B,) mean squared residual over the noise variance; None where the data are noiseless."""
    import torch

    if not bool((torch.as_tensor(task.measurement.noise.sigma) > 0).all()):
        return None
    return task.measurement.chi_square(estimate).numpy()
