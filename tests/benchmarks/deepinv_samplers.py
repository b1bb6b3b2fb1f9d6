"""Samplers of deepinv on our boards: the same data, the same denoiser, as many calls.

Their defaults hold, but for what follows. PiGDM and moment matching have no process of their own: they run on deepinv's
variance-exploding one by its ancestral solver, moment matching with ten iterations, each with the share of fresh noise
(`alpha`: 1 the reverse SDE, 0 the ODE) that was better here of 0, 0.25 and 1. deepinv's own physics are used where they
are decomposable, which makes their solves closed forms; the others are our operators, whose adjoints are exact, scaled
to norm 1 with their data, since their step sizes presume it. DDRM needs a decomposition and runs on no other.
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
DECOMPOSED = ("inpaint", "blur")  # tasks whose physics are deepinv's own


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
    """The prior's denoiser on values in [0, 1], counting calls and backpropagations; asked for no noise, the least."""

    def __init__(self, prior: recon.Prior) -> None:
        super().__init__()
        self.prior, self.calls, self.backpropagations = prior, 0, 0

    def forward(self, x: Tensor, sigma: Tensor | float, **_: object) -> Tensor:
        self.calls += 1
        level = torch.as_tensor(sigma, dtype=x.dtype).flatten()[0] / self.prior.scale
        level = level.clamp(min=self.prior.sde.sigma_min)
        x0 = self.prior.to_value(self.prior.denoise(self.prior.from_value(x), level))
        return Counted.apply(x0, self)


def physics_of(task: str, m: recon.Measurement) -> nn.Module:
    """deepinv's physics of a task, checked against our operator."""
    A, shape = m.operator, m.image_shape[1:]
    physics = deepinv().physics
    if task == "inpaint":
        found = physics.Inpainting(img_size=shape, mask=A.measured.float().expand(shape))
    elif task == "blur":
        point = torch.zeros(1, *shape)
        point[..., shape[-2] // 2, shape[-1] // 2] = 1.0
        spread = A(point)[..., 1:, 1:]  # odd, centred on the point
        found = physics.BlurFFT(img_size=shape, filter=spread)
    else:
        return operators.to_deepinv(A, m.noise)
    found.noise_model = physics.GaussianNoise(float(m.noise.sigma))
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0))
    if float((found.A(x) - A(x)).abs().max()) > 1e-4:
        raise AssertionError(f"the physics of {task} differ: by {float((found.A(x) - A(x)).abs().max()):.2g}")
    return found


def of_norm_one(task: str, m: recon.Measurement) -> recon.Measurement:
    """The measurement with operator, data and noise divided by the operator's norm, where that is not 1 by itself."""
    if task in DECOMPOSED:
        return m
    factor = 1 / operators.operator_norm(m.operator)
    return recon.Measurement(factor * m.operator, factor * m.y, operators.Gaussian(factor * float(m.noise.sigma)))


def exploding(fidelity: nn.Module, denoiser: Denoiser, calls: int, alpha: float) -> nn.Module:
    """Guidance on the variance-exploding process: calls - 1 ancestral steps and a last estimate."""
    sampling = deepinv().sampling
    sde = sampling.VarianceExplodingDiffusion(alpha=alpha)
    solver = sampling.AncestralSolver(timesteps=torch.linspace(1, 0, calls, dtype=torch.float64))
    return sampling.PosteriorDiffusion(fidelity, denoiser, sde, solver)


def theirs(
    method: str, task: str, m: recon.Measurement, options: argparse.Namespace, seed: int
) -> tuple[Tensor, dict]:
    """Samples (S, B, 1, H, W) of the Gaussian field by a sampler of deepinv, and its cost."""
    return drawn(method, task, m, field.prior_of(), options.calls, options.samples, seed)


def drawn(
    method: str, task: str, m: recon.Measurement, prior: recon.Prior, calls: int, samples: int, seed: int
) -> tuple[Tensor, dict]:
    """Samples (S, B, 1, H, W), in [0, 1], of a sampler of deepinv with a prior of ours, and its cost."""
    library, denoiser, m = deepinv(), Denoiser(prior), of_norm_one(task, m)
    sampling = library.sampling
    made = {
        "DPS": lambda: sampling.DPS(denoiser, num_steps=calls + 1),
        "DiffPIR": lambda: sampling.DiffPIR(
            denoiser, library.optim.data_fidelity.L2(), float(m.noise.sigma), max_iter=calls
        ),
        "DDRM": lambda: sampling.DDRM(denoiser, sigmas=np.linspace(1, 0, calls)),
        "PiGDM": lambda: exploding(sampling.PiGDMDataFidelity(), denoiser, calls, 1.0),
        "moment matching": lambda: exploding(
            sampling.MomentMatchingDataFidelity(cg_max_iter=ITERATIONS), denoiser, calls, 0.0
        ),
    }
    sampler, physics, results = made[method](), physics_of(task, m), []
    shape = (samples, *m.image_shape[1:])
    start = {} if method == "DDRM" or m.y.shape == m.image_shape else {"x_init": first(method, shape)}
    for item, y in enumerate(m.y):
        torch.manual_seed(1000 * seed + item)
        results.append(sampler(y.expand(samples, *y.shape), physics, **start).detach())
    cost = {"nfe": denoiser.calls // len(m.y), "backpropagations": denoiser.backpropagations // len(m.y)}
    return torch.stack(results, 1), cost


def first(method: str, shape: tuple[int, ...]) -> Any:
    """The start where data are no image: their shape for the SDEs, the mean image for DiffPIR."""
    return torch.full(shape, 0.5) if method == "DiffPIR" else shape
