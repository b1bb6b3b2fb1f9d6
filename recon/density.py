"""Log-density of images under a prior, and the encoding that comes with it, by the probability-flow ODE.

With tau = log sigma the flow is dx/dtau = x - D(x, sigma), and along it d log p / dtau = -div = tr dD/dx - n, so

    log p(x) at sigma_min = log N(x_end; mean, sigma_max^2 + s^2) + integral of (n - tr dD/dx) dtau.

The trace is exact (n vector-Jacobian products) or an average of v^T (dD/dx) v over random signs v (Hutchinson, 1990),
the same v along the whole flow, so that each probe gives one unbiased number and their scatter a standard error.

Reference: Song et al., 2021, section 4.3 and appendix D.2, arXiv:2011.13456; Grathwohl et al., FFJORD, 2019,
arXiv:1810.01367.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.condition import with_vjp
from recon.noise import CounterNoise
from recon.ode import rk45
from recon.prior import Prior


@dataclass(frozen=True, eq=False)
class Density:
    """Log-densities of B images.

    Args:
        nats: (B,) log p in nats, per unit of the prior's values (not of its normalised images).
        standard_error: (B,) of `nats`, from the scatter of the probes; 0 where the trace is exact, NaN for one probe.
        latent: (B, *event) the images' ends of the flow, about N(mean, sigma_max^2), normalised units.
        dimension: values of one image.
        evaluations: (B,) network calls; each comes with as many backpropagations as there are probes.
    """

    nats: Tensor
    standard_error: Tensor
    latent: Tensor
    dimension: int
    evaluations: Tensor

    def bits_per_dimension(self, bin_width: float = 1.0) -> Tensor:
        """-log2(p bin_width^n) / n, (B,): what a value that is stored in steps of `bin_width` costs.

        8-bit images of values in [0, 1] have bins of 1/255; add uniform noise of one bin to them first.
        """
        return -(self.nats / self.dimension + math.log(bin_width)) / math.log(2)


def _signs(like: Tensor, probes: int, seed: int) -> Tensor:
    """Random signs (B, probes, n), the same for image b whatever is beside it."""
    noise = CounterNoise(seed, range(len(like)), [0] * len(like))
    return noise(like.new_empty(len(like), probes, like[0].numel())).sign()


def _bounds(prior: Prior) -> tuple[float, float]:
    return math.log(prior.sde.sigma_min), math.log(prior.sde.sigma_max)


def log_density(
    prior: Prior,
    values: Tensor,
    probes: int | None = 4,
    seed: int = 0,
    rtol: float = 1e-4,
    atol: float = 1e-4,
) -> Density:
    """log p(values) for images (B, *event) in the prior's values.

    Args:
        prior: the density is that of its images with noise of its lowest level.
        values: (B, *event), in units of the prior's values.
        probes: random signs per image; None for the exact trace, which takes one backpropagation a value.
        seed: of the signs.
        rtol, atol: of the solver, in normalised units.

    Raises:
        ValueError: fewer than one probe, or images of another shape than the prior's.
        FloatingPointError: the flow did not reach its end.
    """
    event, n = tuple(values.shape[1:]), values[0].numel()
    if probes is not None and probes < 1:
        raise ValueError(f"got {probes} probes; expected at least 1, or None for the exact trace")
    if not prior.any_size and event != tuple(prior.shape):
        raise ValueError(f"got images {event}; expected {tuple(prior.shape)}, those of the prior")
    x = prior.from_value(values.to(prior.device, prior.dtype))
    exact = probes is None
    units = torch.eye(n, dtype=x.dtype, device=x.device)
    signs = units.expand(len(x), n, n) if exact else _signs(x, probes, seed)

    def field(state: Tensor, tau: Tensor, rows: Tensor) -> Tensor:
        images = state[:, :n].unflatten(1, event)
        x0, vjp = with_vjp(prior.denoise, images, tau.exp())
        v = signs[rows]
        traces = [(vjp(v[:, k].reshape(images.shape)).flatten(1) * v[:, k]).sum(1) for k in range(v.shape[1])]
        divergence = n - (sum(traces)[:, None] if exact else torch.stack(traces, 1))
        return torch.cat([(images - x0).flatten(1), divergence], 1)

    low, high = _bounds(prior)
    with torch.no_grad():
        start = torch.cat([x.flatten(1), x.new_zeros(len(x), 1 if exact else signs.shape[1])], 1)
        state, evaluations = rk45(field, start, low, high, rtol, atol)
        latent, gained = state[:, :n].unflatten(1, event), state[:, n:].double()
        variance = prior.sde.sigma_max**2 + prior.data_std**2
        energy = (latent - prior.mean_image(event)).double().square().flatten(1).sum(1) / variance
    end = -0.5 * (energy + n * math.log(2 * math.pi * variance))
    error = torch.zeros_like(end) if exact else gained.std(1) / math.sqrt(gained.shape[1])
    return Density(end + gained.mean(1) - n * math.log(prior.scale), error, latent, n, evaluations)


def _flow(prior: Prior, x: Tensor, start: float, end: float, rtol: float, atol: float) -> Tensor:
    def field(state: Tensor, tau: Tensor, rows: Tensor) -> Tensor:
        images = state.unflatten(1, tuple(x.shape[1:]))
        return (images - prior.denoise(images, tau.exp())).flatten(1)

    with torch.no_grad():
        return rk45(field, x.flatten(1), start, end, rtol, atol)[0].reshape(x.shape)


def encode(prior: Prior, values: Tensor, rtol: float = 1e-4, atol: float = 1e-4) -> Tensor:
    """The latent of images (B, *event): their end of the flow, normalised units, at level sigma_max."""
    return _flow(prior, prior.from_value(values.to(prior.device, prior.dtype)), *_bounds(prior), rtol, atol)


def decode(prior: Prior, latent: Tensor, rtol: float = 1e-4, atol: float = 1e-4) -> Tensor:
    """The images, in values, whose latent it is; the inverse of `encode` to the solver's error."""
    return prior.to_value(_flow(prior, latent, *reversed(_bounds(prior)), rtol, atol))
