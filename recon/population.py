"""One particle filter for each item, whose particles are the samples: they share what each has found.

Where the posterior has several modes this is worth far more than a few particles for each sample: the weights choose
among all of them. The samples of an item then depend on each other, and on how many they are; not on the batch size
nor on the other items.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from recon.likelihood import Measurement
from recon.noise import CounterNoise
from recon.particles import Kernel, MCGDiff, Twisted, effective, gaussian_twist, systematic, uniform
from recon.posterior import Posterior
from recon.presets import DEFAULT_STEPS, default_levels, white_variance
from recon.prior import Prior

MakeKernel = Callable[[Measurement, Prior, list[float]], Kernel]


def mcgdiff(measurement: Measurement, prior: Prior, levels: list[float]) -> Kernel:
    """For linear operators with a cheap singular value decomposition, no backpropagation; see `MCGDiff`."""
    return MCGDiff(measurement, prior, levels[-2])


def twisted(measurement: Measurement, prior: Prior, levels: list[float]) -> Kernel:
    """For any differentiable operator, one backpropagation a call; see `Twisted`."""
    return Twisted(gaussian_twist(measurement, white_variance(prior)))


def population(
    measurement: Measurement,
    prior: Prior,
    samples: int = 64,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    kernel: MakeKernel = mcgdiff,
    batch_size: int | None = None,
    threshold: float = 0.5,
) -> Posterior:
    """Samples of p(x | y) for each item by a filter of as many particles, at one network call a sample and level.

    Args:
        measurement: operator, data (B, ...) and noise, in the units of the images' values.
        prior: its units are applied here.
        samples: S, particles an item; dozens at least.
        steps: levels, so network calls a sample.
        seed: of the run.
        kernel: `mcgdiff` or `twisted`.
        batch_size: particles computed together; default: all of an item.
        threshold: a population worth fewer than this share of its particles is resampled.

    Returns:
        Posterior with samples (S, B, *event) in values, on the CPU.

    Reference: Cardoso et al., 2023, algorithm 2, arXiv:2308.07983; Wu et al., 2023, algorithm 1, arXiv:2306.17775.
    """
    if samples < 1 or steps < 1:
        raise ValueError(f"got samples={samples} and steps={steps}; expected at least 1 of each")
    given = measurement.to(prior.device, prior.dtype)
    normalised, started, levels = given.in_units_of(prior).whitened(), time.monotonic(), default_levels(prior, steps)
    event, found = measurement.image_shape[1:], []
    with torch.no_grad():
        for item in range(measurement.image_shape[0]):
            parts = [range(first, min(samples, first + (batch_size or samples)))
                     for first in range(0, samples, batch_size or samples)]
            noises = [CounterNoise(seed, [item] * len(part), part) for part in parts]
            kernels = [kernel(normalised.rows([item] * len(part)), prior, levels) for part in parts]
            found.append(prior.to_value(_filtered(prior, event, kernels, noises, levels, threshold)).cpu())
    result = torch.stack(found, 1)
    chi_square = None if given.noiseless else measurement.to("cpu", prior.dtype).chi_square(result.mean(0))
    return Posterior(result, steps, steps if kernel is twisted else 0, seed, time.monotonic() - started, chi_square)


def _filtered(
    prior: Prior,
    event: tuple[int, ...],
    kernels: list[Kernel],
    noises: list[CounterNoise],
    levels: list[float],
    threshold: float,
) -> Tensor:
    """The particles of one item at the last level, (S, *event); `kernels` and `noises` belong to parts of them."""
    sizes = [len(noise.rows) for noise in noises]
    count, begun = sum(sizes), []
    for kernel, noise, size in zip(kernels, noises, sizes, strict=True):
        zero = torch.zeros((size, *event), dtype=prior.dtype, device=prior.device)
        begun.append(
            kernel.begin(prior.start(noise(zero), levels[0]), prior.start(zero, levels[0]), levels[0], noise)
        )
    x, log_weights = torch.cat([state for state, _ in begun]), -torch.cat([debt for _, debt in begun])
    for sigma, sigma_next in zip(levels, levels[1:], strict=False):
        parts = zip(kernels, x.split(sizes), strict=True)
        looked = [kernel.look(prior.denoise, part, sigma, sigma_next) for kernel, part in parts]
        worth, x0, shift = (torch.cat(tensors) for tensors in zip(*looked, strict=True))
        log_weights = log_weights + worth
        numbers = torch.cat([uniform(noise, part) for noise, part in zip(noises, x.split(sizes), strict=True)])
        if sigma_next == 0 or float(effective(log_weights[None])) < threshold * count:
            kept = systematic(log_weights[None], numbers[:1], count)[0]
            log_weights = torch.zeros_like(log_weights)
            worth, x, x0, shift = (tensor[kept] for tensor in (worth, x, x0, shift))
        split = zip(kernels, noises, *(tensor.split(sizes) for tensor in (worth, x, x0, shift)), strict=True)
        drawn = [kernel.draw(*tensors, sigma, sigma_next, noise) for kernel, noise, *tensors in split]
        x, debt = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
        log_weights = log_weights - debt
    return x
