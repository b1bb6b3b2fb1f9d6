"""DDNM+ and DDRM: steps that treat every singular value of the operator for itself, against noise in the data.

With A = U diag(s) V^H the datum y_i = (U^H y)_i / s_i of the coefficient (V^H x)_i has the noise sigma_y / s_i. Where a
level hides that noise the datum replaces the coefficient, and so much less fresh noise is added; where it does not, the
datum only pulls. What the operator does not see goes the way of the unconditional step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from operators import LinearOperator
from recon.condition import Denoise
from recon.grids import vp_levels
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.prior import Prior
from recon.ranges import Count, Share
from recon.sampling import Method
from recon.schedule import time_travel
from recon.steps import FirstOrder, Step, ddim

NEGLIGIBLE = 1e-6  # singular values below this share of the largest are taken for 0


@dataclass(frozen=True)
class Seen:
    """The data in the basis of singular vectors: coefficients `values` of std `noise`, of the images that A sees."""

    Vh: LinearOperator
    kept: Tensor  # which singular values are not 0
    values: Tensor
    noise: Tensor

    def coefficients(self, *images: Tensor) -> Tensor:
        """V^H v of each, those that A sees, in one product: (images, B, ..., k)."""
        every = self.Vh(torch.stack(images))
        return every if bool(self.kept.all()) else every[..., self.kept]

    def moved(self, v: Tensor, change: Tensor) -> Tensor:
        """The images v with this added to the coefficients that A sees."""
        if bool(self.kept.all()):
            return v + self.Vh.adjoint(change)
        every = change.new_zeros(*change.shape[:-1], len(self.kept))
        every[..., self.kept] = change
        return v + self.Vh.adjoint(every)


def decomposed(measurement: Measurement, method: str) -> Seen:
    """The data by singular vectors.

    Raises:
        ValueError: none are known for the operator; the message names methods that take it.
    """
    try:
        U, s, Vh = measurement.operator.svd()
    except ValueError as error:
        raise ValueError(
            f"got method {method!r} with an operator whose singular vectors are not known "
            f"({type(measurement.operator).__name__}); expected one like 'inpaint', 'downsample' or a circular 'blur'; "
            "use pigdm, moment, diffpir or ddnm for this operator"
        ) from error
    y = measurement.y
    kept = s > NEGLIGIBLE * s.max()
    size = s[kept].to(y)
    return Seen(Vh, kept.to(y.device), U.adjoint(y)[..., kept.to(y.device)] / size, measurement.sigma / size)


class DDRMStep:
    """x' by singular value, x0 the estimate and y the datum of a coefficient, e = sigma_y / s its noise:

        not seen       x0 + sqrt(1 - eta^2) sigma' (x - x0) / sigma + eta sigma' n
        sigma' < e     x0 + sqrt(1 - eta^2) sigma' (y - x0) / e + eta sigma' n
        sigma' >= e    (1 - eta_b) x0 + eta_b y + sqrt(sigma'^2 - eta_b^2 e^2) n

    A step with memory: the coefficients of a state that it made are known. Make one for each run.

    Reference: Kawar et al., Denoising diffusion restoration models, 2022, equations 7 and 8, arXiv:2201.11793.
    """

    def __init__(self, seen: Seen, eta: float, eta_b: float) -> None:
        self.seen, self.eta, self.eta_b, self.keep = seen, eta, eta_b, math.sqrt(1 - eta**2)
        self.reached: tuple[Tensor, Tensor] | None = None  # the state last made, and its coefficients

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        x0, n, e = denoise(x, sigma), noise(x), self.seen.noise
        k, c = self.keep * sigma_next / sigma, self.eta * sigma_next
        if self.reached is not None and x is self.reached[0]:
            (estimate, fresh), state = self.seen.coefficients(x0, n), self.reached[1]
        else:
            estimate, fresh, state = self.seen.coefficients(x0, n, x)
        hidden = sigma_next >= e
        pull = torch.where(hidden, self.eta_b, self.keep * sigma_next / torch.where(hidden, 1.0, e))
        std = torch.where(hidden, (sigma_next**2 - (self.eta_b * e) ** 2).clamp(min=0).sqrt(), c)
        new = estimate + pull * (self.seen.values - estimate) + std * fresh
        plain = estimate + k * (state - estimate) + c * fresh
        moved = self.seen.moved(x0 + k * (x - x0) + c * n, new - plain)
        self.reached = moved, new
        return moved


def ddnm_plus_step(seen: Seen, base: FirstOrder) -> Step:
    """x' = x0 + k (x - x0) + c n of a first-order step, with x0 + l (y - x0) for x0 by singular value and less noise.

    The datum's noise e = sigma_y / s enters x' as (1 - k) l e. Where c >= (1 - k) e it replaces the estimate, l = 1,
    and the fresh noise is the rest, (c^2 - (1 - k)^2 e^2)^(1/2); elsewhere l = c / ((1 - k) e), without fresh noise.

    Reference: Wang et al., DDNM, 2023, section 3.3 and appendix I, arXiv:2212.00490 (the paper's a_t is 1 - k).
    """

    def step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if sigma_next > sigma:
            return base(denoise, x, sigma, sigma_next, noise)
        x0, n = denoise(x, sigma), noise(x)
        k, c = base.coefficients(sigma, sigma_next)
        estimate, fresh = seen.coefficients(x0, n)
        spread = (1 - k) * seen.noise
        pull = torch.where(c >= spread, 1.0, c / torch.where(c >= spread, 1.0, spread))
        std = (c**2 - spread**2).clamp(min=0).sqrt()
        change = (1 - k) * pull * (seen.values - estimate) + (std - c) * fresh
        return seen.moved(x0 + k * (x - x0) + c * n, change)

    return step


def ddrm(
    measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, eta: Share = 0.85, eta_b: Share = 1.0
) -> Method:
    """Denoising diffusion restoration: each singular value by its own noise; for operators with a decomposition."""
    seen = decomposed(measurement, "ddrm")
    return Method(prior.denoise, vp_levels(prior, steps), DDRMStep(seen, eta, eta_b))


def ddnm_plus(
    measurement: Measurement, prior: Prior, steps: int, noise: Noise, *, eta: Share = 1.0, repeats: Count = 1
) -> Method:
    """Null-space for noisy data: the correction scaled by singular value, and the noise matched to it.

    `eta` is that of DDIM, 1 being DDPM as in the paper; `repeats` goes through each tenth of the grid so many times
    (the paper's time travel). Coefficients of small singular values get no fresh noise, so that an operator with many
    (blur) loses nearly all of the posterior's variance; the rule of the released code is another, that of `ddrm` with
    eta_b = 1.
    """
    seen = decomposed(measurement, "ddnm_plus")
    levels = vp_levels(prior, max(1, steps // repeats))
    path = time_travel(levels, max(1, len(levels) // 10), repeats)
    return Method(prior.denoise, path, ddnm_plus_step(seen, ddim(eta)))
