"""Samplers of deepinv on the board of the Gaussian field: the same data, the same exact denoiser, as many calls.

Their defaults hold, but for what follows. PiGDM and moment matching have no process of their own: they run on deepinv's
variance-exploding one by its ancestral solver, moment matching with ten iterations, each with the share of fresh noise
(`alpha`: 1 the reverse SDE, 0 the ODE) that was better here of 0, 0.25 and 1. deepinv's own physics are used where they
are decomposable, which makes their solves closed forms; CT is our operator, whose adjoint is exact.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import operators
import recon
from tests.benchmarks import field
from tests.benchmarks.peers import deepinv

ITERATIONS = 10  # of moment matching


class Counted(torch.autograd.Function):
    """The identity, which has a denoiser count how often a gradient passes."""

    @staticmethod
    def forward(x: Tensor, owner: Denoiser) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.owner = inputs[1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.owner.backpropagations += 1
        return gradient, None


class Denoiser(nn.Module):
    """The prior's exact denoiser on values in [0, 1], counting calls and backpropagations."""

    def __init__(self, prior: recon.GaussianPrior) -> None:
        super().__init__()
        self.prior, self.calls, self.backpropagations = prior, 0, 0

    def forward(self, x: Tensor, sigma: Tensor | float, **_: object) -> Tensor:
        self.calls += 1
        level = torch.as_tensor(sigma, dtype=x.dtype).flatten()[0] / self.prior.scale
        x0 = self.prior.to_value(self.prior.denoise(self.prior.from_value(x), level))
        return Counted.apply(x0, self)


def physics_of(task: str) -> nn.Module:
    """deepinv's physics of a task, checked against our operator."""
    A, noise = field.operator_of(task), operators.Gaussian(field.SIGMA)
    physics, shape = deepinv().physics, (1, *field.SIZE)
    if task == "inpaint":
        found = physics.Inpainting(img_size=shape, mask=A.measured.float().expand(shape))
    elif task == "blur":
        point = torch.zeros(1, *shape)
        point[..., 16, 16] = 1.0
        spread = A(point)[..., 1:, 1:]  # odd, centred on the point
        found = physics.BlurFFT(img_size=shape, filter=spread)
    else:
        return operators.to_deepinv(A, noise)
    found.noise_model = physics.GaussianNoise(field.SIGMA)
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    if float((found.A(x) - A(x)).abs().max()) > 1e-4:
        raise AssertionError(f"the physics of {task} differ: by {float((found.A(x) - A(x)).abs().max()):.2g}")
    return found


def exploding(fidelity: nn.Module, denoiser: Denoiser, calls: int, alpha: float) -> nn.Module:
    """Guidance on the variance-exploding process: calls - 1 ancestral steps and a last estimate."""
    sampling = deepinv().sampling
    sde = sampling.VarianceExplodingDiffusion(alpha=alpha)
    solver = sampling.AncestralSolver(timesteps=torch.linspace(1, 0, calls, dtype=torch.float64))
    return sampling.PosteriorDiffusion(fidelity, denoiser, sde, solver)


def theirs(
    method: str, task: str, m: recon.Measurement, options: argparse.Namespace, seed: int
) -> tuple[Tensor, dict]:
    """Samples (S, B, 1, H, W) of a sampler of deepinv, and its cost."""
    library, denoiser, calls = deepinv(), Denoiser(field.prior_of()), options.calls
    sampling = library.sampling
    made = {
        "DPS": lambda: sampling.DPS(denoiser, num_steps=calls + 1),
        "DiffPIR": lambda: sampling.DiffPIR(denoiser, library.optim.data_fidelity.L2(), field.SIGMA, max_iter=calls),
        "DDRM": lambda: sampling.DDRM(denoiser, sigmas=np.linspace(1, 0, calls)),
        "PiGDM": lambda: exploding(sampling.PiGDMDataFidelity(), denoiser, calls, 1.0),
        "moment matching": lambda: exploding(
            sampling.MomentMatchingDataFidelity(cg_max_iter=ITERATIONS), denoiser, calls, 0.0
        ),
    }
    sampler, physics, results = made[method](), physics_of(task), []
    for item, y in enumerate(m.y):
        torch.manual_seed(1000 * seed + item)
        start = {} if method == "DDRM" or task != "ct" else {"x_init": first(method, options.samples)}
        results.append(sampler(y.expand(options.samples, *y.shape), physics, **start).detach())
    cost = {"nfe": denoiser.calls // len(m.y), "backpropagations": denoiser.backpropagations // len(m.y)}
    return torch.stack(results, 1), cost


def first(method: str, samples: int) -> Any:
    """The start where data are no image: their shape for the SDEs, the mean image for DiffPIR."""
    return torch.full((samples, 1, *field.SIZE), 0.5) if method == "DiffPIR" else (samples, 1, *field.SIZE)
