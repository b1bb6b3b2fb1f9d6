"""Log-density of images under a prior, and the encoding that comes with it, by the probability-flow ODE.

With tau = log sigma the flow is dx/dtau = x - D(x, sigma), and along it d log p / dtau = -div = tr dD/dx - n, so

    log p(x) at sigma_min = log N(x_end; mean, sigma_max^2 + s^2) + integral of (n - tr dD/dx) dtau.

The trace is exact (n vector-Jacobian products) or an average of v^T (dD/dx) v over random signs v (Hutchinson, 1990),
the same v along the whole flow, so that each probe gives one unbiased number and their scatter a standard error.

Reference: Song et al., 2021, section 4.3 and appendix D.2, arXiv:2011.13456; Grathwohl et al., FFJORD, 2019,
arXiv:1810.01367.

A bound on it needs no ODE, only the denoiser's errors at a ladder of levels: `log_density_bound`.
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

BOUNDING, DEQUANTISING = 1, 2  # the sample numbers of their noises; the probes are 0


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
        return bits_per_dimension(self.nats, self.dimension, bin_width)


def bits_per_dimension(nats: Tensor, dimension: int, bin_width: float = 1.0) -> Tensor:
    """-log2(p bin_width^n) / n for log-densities `nats` of n = `dimension` values, see `Density.bits_per_dimension`."""
    return -(nats / dimension + math.log(bin_width)) / math.log(2)


def dequantised(values: Tensor, bin_width: float, seed: int = 0, first: int = 0) -> Tensor:
    """Images (B, *event) of values in steps of `bin_width` with uniform noise of one step, centred, added.

    The density of these in bits per dimension is then a bound on what the stored values cost: -log2 P <= E -log2 p.

    Args:
        seed, first: of the noise; image b draws as number first + b.

    Reference: Theis, van den Oord and Bethge, A note on the evaluation of generative models, 2016, section 3.1,
    arXiv:1511.01844.
    """
    rows = range(first, first + len(values))
    uniform = torch.special.ndtr(CounterNoise(seed, rows, [DEQUANTISING] * len(values))(values))
    return values + bin_width * (uniform - 0.5)


def _signs(like: Tensor, probes: int, seed: int, first: int) -> Tensor:
    """Random signs (B, probes, n), those of image number first + b whatever is beside it."""
    noise = CounterNoise(seed, range(first, first + len(like)), [0] * len(like))
    return noise(like.new_empty(len(like), probes, like[0].numel())).sign()


def _standard_error(draws: Tensor) -> Tensor:
    """Of the mean of draws (B, K), (B,); NaN for a single one."""
    count = draws.shape[1]
    return draws.std(1) / math.sqrt(count) if count > 1 else torch.full_like(draws[:, 0], math.nan)


def _check_event(prior: Prior, event: tuple[int, ...]) -> None:
    if not prior.any_size and event != tuple(prior.shape):
        raise ValueError(f"got images {event}; expected {tuple(prior.shape)}, those of the prior")


def _bounds(prior: Prior) -> tuple[float, float]:
    return math.log(prior.sde.sigma_min), math.log(prior.sde.sigma_max)


def log_density(
    prior: Prior,
    values: Tensor,
    probes: int | None = 4,
    seed: int = 0,
    rtol: float = 1e-4,
    atol: float = 1e-4,
    first: int = 0,
) -> Density:
    """log p(values) for images (B, *event) in the prior's values.

    Args:
        prior: the density is that of its images with noise of its lowest level.
        values: (B, *event), in units of the prior's values.
        probes: random signs per image; None for the exact trace, which takes one backpropagation a value.
        seed: of the signs.
        rtol, atol: of the solver, in normalised units.
        first: number of the first image: image b draws its signs as number first + b, whatever batch it comes in.

    Raises:
        ValueError: fewer than one probe, or images of another shape than the prior's.
        FloatingPointError: the flow did not reach its end.
    """
    event, n = tuple(values.shape[1:]), values[0].numel()
    if probes is not None and probes < 1:
        raise ValueError(f"got {probes} probes; expected at least 1, or None for the exact trace")
    _check_event(prior, event)
    x = prior.from_value(values.to(prior.device, prior.dtype))
    exact = probes is None
    units = torch.eye(n, dtype=x.dtype, device=x.device)
    signs = units.expand(len(x), n, n) if exact else _signs(x, probes, seed, first)

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
    error = torch.zeros_like(end) if exact else _standard_error(gained)
    return Density(end + gained.mean(1) - n * math.log(prior.scale), error, latent, n, evaluations)


def log_density_bound(prior: Prior, values: Tensor, levels: int = 12, seed: int = 0, first: int = 0) -> Tensor:
    """A lower bound on the mean log p of images with noise of the lowest level a = sigma_min added, nats (B,).

    With e(sigma) = E |D(x + sigma n, sigma) - x|^2 and KL_T that of N(x, sigma_max^2) from the end of the process,

        -E log p(x + a n) <= n/2 log(2 pi e a^2) + KL_T + integral of e(sigma) / sigma^2 d log sigma,

    an equality on average over images of the prior itself. One noise a level; the integral by the trapezoid rule over a
    geometric ladder up to twice the prior's spread, and above with e as it is there, the noise hiding all.

    Args:
        prior, values, seed, first: as for `log_density`.
        levels: network calls.

    Reference: Kingma et al., Variational diffusion models, 2021, equations 14 to 17, arXiv:2107.00630; Song et al.,
    Maximum likelihood training of score-based diffusion models, 2021, theorem 3, arXiv:2101.09258.
    """
    if levels < 2:
        raise ValueError(f"got {levels} levels; expected at least 2, the ends of the ladder")
    event, n = tuple(values.shape[1:]), values[0].numel()
    _check_event(prior, event)
    x = prior.from_value(values.to(prior.device, prior.dtype))
    low, end = prior.sde.sigma_min, prior.sde.sigma_max
    high = min(end, max(2 * prior.spread, 2 * low))
    noise = CounterNoise(seed, range(first, first + len(x)), [BOUNDING] * len(x))
    sigmas, shares = torch.logspace(math.log10(low), math.log10(high), levels, dtype=torch.float64).tolist(), []
    with torch.no_grad():
        for sigma in sigmas:
            error = prior.denoise(x + sigma * noise(x), x.new_full((len(x),), sigma)) - x
            shares.append(error.double().square().flatten(1).sum(1) / sigma**2)
        away = (x - prior.mean_image(event)).double().square().flatten(1).sum(1)
    steps = torch.tensor(sigmas, dtype=torch.float64, device=x.device).log()
    path = torch.trapezoid(torch.stack(shares, 1), steps, dim=1) + shares[-1] * (1 - (high / end) ** 2) / 2
    variance = end**2 + prior.data_std**2
    final = 0.5 * (n * (math.log(variance / end**2) + end**2 / variance - 1) + away / variance)
    entropy = 0.5 * n * math.log(2 * math.pi * math.e * low**2)
    return (-(entropy + final + path) - n * math.log(prior.scale)).cpu()


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
