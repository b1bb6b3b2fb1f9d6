"""Sequential Monte Carlo: P particles a sample, weighted by the data and resampled, one of them drawn at the end.

A particle filter is a step with memory. At each level every particle is looked at (one network call), weighted,
resampled within its row, and moved; a kernel says how. Particles are gone through one by one in batches of rows, so
labels, measurements, noise and the count of network calls need not know of them.

With the prior's ancestral chain p(x' | x), a kernel with twists g draws from q(x' | x) and weights by
p(x' | x) g'(x') / (g(x) q(x' | x)): exact for that chain as P grows, whatever g and q. What a particle owes the next
weights, log g(x) + log q - log p, is its debt.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from operators import LinearOperator
from recon.condition import Denoise, Guidance, with_vjp
from recon.krylov import dot
from recon.likelihood import Measurement
from recon.noise import Noise
from recon.prior import Prior

Twist = Callable[[Tensor, float], Tensor]  # (x0, sigma) -> log g (B,), up to a number that depends on sigma alone


def uniform(noise: Noise, like: Tensor) -> Tensor:
    """One number in (0, 1) a row, (B, 1) float64, from the row's own stream of normal noise."""
    n = noise(torch.empty((like.shape[0], 1), dtype=torch.float32, device=like.device)).double()
    return (0.5 * torch.erfc(-n / math.sqrt(2))).clamp(1e-12, 1 - 1e-12)


def effective(log_weights: Tensor) -> Tensor:
    """1 / sum_k w_k^2 of normalised weights: how many particles the weights (B, P) are worth, (B,) in [1, P]."""
    return 1 / log_weights.double().softmax(1).square().sum(1)


def systematic(log_weights: Tensor, u: Tensor, count: int) -> Tensor:
    """Which particles are kept: `count` evenly spaced points, shifted together by u, in the cumulated weights.

    Particle k comes count w_k times on average, and never more than one away from that.

    Args:
        log_weights: (B, P), not normalised.
        u: (B, 1) in (0, 1).
        count: how many to draw.

    Returns:
        (B, count) indices, rising.

    Reference: Kitagawa, Monte Carlo filter and smoother, 1996, appendix.
    """
    edges = log_weights.double().softmax(1).cumsum(1)
    points = (torch.arange(count, device=u.device) + u) / count
    return torch.searchsorted(edges, points.contiguous()).clamp(max=log_weights.shape[1] - 1)


def zeros(x: Tensor) -> Tensor:
    return torch.zeros(len(x), dtype=torch.float64, device=x.device)


class Particle(NamedTuple):
    """One particle of each row, and what was found there: all (B, *event), `worth` = log g (B,).

    `x0` is the prior's estimate and `own` what the kernel keeps for its draw: what guidance adds to the estimate, or
    coordinates. Those of the level before are the particle's own where there was none.
    """

    x: Tensor
    worth: Tensor
    x0: Tensor
    own: Tensor
    x0_before: Tensor
    own_before: Tensor


class Kernel(Protocol):
    """How particles move; all tensors are one particle of each row, (B, *event), logarithms (B,)."""

    def begin(self, x: Tensor, mean: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, Tensor]:
        """The first state made of one that the prior starts from, about `mean`, and its debt."""

    def look(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        """One network call: the worth log g of a particle, the prior's estimate, and what else `draw` wants to know."""

    def draw(self, at: Particle, sigma: float, sigma_next: float, noise: Noise) -> tuple[Tensor, Tensor]:
        """The next state and its debt."""


def looked(
    kernel: Kernel, denoise: Denoise, x: Tensor, before: tuple[Tensor, Tensor] | None, sigma: float, sigma_next: float
) -> Particle:
    """A particle after one network call; `before` are `x0` and `own` of its parent."""
    worth, x0, own = kernel.look(denoise, x, sigma, sigma_next)
    return Particle(x, worth, x0, own, *(before or (x0, own)))


def drawn_off(apart: Tensor, n: Tensor) -> Tensor:
    """log q - log p of a draw of q by the unit noise n, the mean of q `apart` standard deviations from p's: (B,)."""
    return (dot(apart, n) + 0.5 * dot(apart, apart)).double()


class Twisted:
    """Proposals guided by the twist's own gradient: the ancestral step on x0 + sigma^2 grad_x log g.

    Args:
        twist: log g of the prior's estimate, differentiable; see `gaussian_twist`.
        guidance: another proposal than the twist's gradient; the weights undo whatever it gets wrong.

    Reference: Wu et al., Practical and asymptotically exact conditional sampling in diffusion models (TDS), 2023,
    algorithm 1 and equations 11 to 13, arXiv:2306.17775.
    """

    def __init__(self, twist: Twist, guidance: Guidance | None = None) -> None:
        self.twist, self.guidance = twist, guidance

    def begin(self, x: Tensor, mean: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, Tensor]:
        return x, zeros(x)

    def look(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        x0, vjp = with_vjp(denoise, x, sigma)
        with torch.enable_grad():
            leaf = x0.detach().requires_grad_(True)
            value = self.twist(leaf, sigma)
            slope = torch.autograd.grad(value.sum(), leaf)[0]
        shift = sigma**2 * vjp(slope, last=True) if self.guidance is None else self.guidance(x0, vjp, sigma)
        return value.detach().double(), x0, shift

    def draw(self, at: Particle, sigma: float, sigma_next: float, noise: Noise) -> tuple[Tensor, Tensor]:
        share, pulled = (sigma_next / sigma) ** 2, at.x0 + at.own
        if sigma_next == 0:
            return pulled, zeros(at.x)
        std, n = sigma_next * math.sqrt(1 - share), noise(at.x)
        # q and p differ in their means, by (1 - share) shift
        return pulled + share * (at.x - pulled) + std * n, at.worth + drawn_off((1 - share) * at.own / std, n)


def gaussian_twist(measurement: Measurement, variance: Callable[[float], float], gain: float = 1.0) -> Twist:
    """log N(y; A x0, r^2 A A^H + sigma_y^2) with r^2 = variance(sigma): data seen through an estimate of spread r.

    Its gradient is the guidance of `recon.guidance.white`. An operator that is not linear has gain^2 r^2 + sigma_y^2
    for the variance, `gain` being how much it amplifies.
    """
    operator, noise = measurement.operator, measurement.sigma**2

    def twist(x0: Tensor, sigma: float) -> Tensor:
        r2, residual = variance(sigma), measurement.residual(x0)
        if isinstance(operator, LinearOperator):
            seen = residual.detach()
            with torch.no_grad():  # the form is symmetric: its gradient needs no other solve than its value
                solved = operator.gram_solve(seen, noise / r2)
            return (0.5 * dot(seen, solved) - dot(residual, solved)) / r2
        return -0.5 * dot(residual, residual) / (gain**2 * r2 + noise)

    return twist


class MCGDiff:
    """Linear operators by their singular vectors: datum i is the state's own coordinate at the level sigma_y / s_i.

    With A = U diag(s) V^H, b = U^H y / s is V^H x0 plus noise of standard deviation e_i = sigma_y / s_i, which is what
    the forward process makes of coordinate i at level e_i. So the posterior is that of a path which passes through b_i
    there. Above that level coordinate i is drawn towards b_i, its twist being N(x_i; b_i, sigma^2 - e_i^2), with the
    best proposal for it; at that level it is b_i; below it moves freely. Levels e_i between two of the grid are
    stepped on within the step, by the same estimate, in place of moving them to the grid; the paper's twists have a
    width kappa left at e_i, none here. What would come below the last level of the grid is done there, and
    the last estimate is then drawn to b_i by the weights of the two variances, so that noiseless data are met.

    Reference: Cardoso et al., Monte Carlo guided diffusion for Bayesian linear inverse problems, 2023, algorithms 1
    and 2 and section 3.2, arXiv:2308.07983.

    Raises:
        ValueError: the operator has no cheap singular value decomposition; `Twisted` needs none.
    """

    def __init__(self, measurement: Measurement, prior: Prior, last: float) -> None:
        left, values, self.right = measurement.operator.svd()
        values = values.to(measurement.y)
        seen = values > 1e-7 * values.max()
        safe = torch.where(seen, values, torch.ones_like(values))
        self.data = left.adjoint(measurement.y) / safe
        self.noise = torch.where(seen, measurement.sigma / safe, math.inf)
        self.level, self.last, self.data_std = self.noise.clamp(min=last), last, prior.data_std
        self.whole = math.prod(self.right.in_shape) == len(values)  # then unit noise is that of its coordinates
        self.reached: list[tuple[Tensor, Tensor]] = []  # states that were drawn, and their coordinates

    def _log(self, z: Tensor, variance: Tensor, open_: Tensor) -> Tensor:
        """The sum over open coordinates of -(z - b)^2 / (2 variance)."""
        weight = torch.where(open_, -0.5 / torch.where(open_, variance, 1.0), 0.0)
        return ((z - self.data).square() * weight).flatten(1).sum(1, dtype=torch.float64)

    def _ahead(self, z: Tensor, z0: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, ...]:
        """Where the coordinates go next, and how surely: (open, level, mean, kernel variance, twist variance)."""
        open_ = self.level < sigma
        level = torch.where(open_, self.level.clamp(min=sigma_next), torch.full_like(self.level, sigma))
        share = (level / sigma).square()
        return open_, level, z0 + share * (z - z0), level.square() * (1 - share), level.square() - self.level.square()

    def begin(self, x: Tensor, mean: Tensor, sigma: float, noise: Noise) -> tuple[Tensor, Tensor]:
        """The start of the prior times the twist, that start being taken as white along the singular vectors."""
        z, middle, open_ = self.right(x), self.right(mean), self.level < sigma
        wide, narrow = sigma**2 + self.data_std**2, (sigma**2 - self.level.square()).clamp(min=0)
        gain = wide / (wide + narrow)
        pulled = torch.where(open_, middle + gain * (self.data - middle) + (gain * narrow).sqrt() * noise(z), z)
        return x + self.right.adjoint(pulled - z), self._log(pulled, narrow, open_)

    def look(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float) -> tuple[Tensor, Tensor, Tensor]:
        x0 = denoise(x, sigma)
        z, z0 = self._coordinates(x), self.right(x0)
        if sigma_next == 0:
            return zeros(x), x0, torch.stack((z, z0), 1)
        open_, _, mean, kernel, twist = self._ahead(z, z0, sigma, sigma_next)
        return self._log(mean, kernel + twist, open_), x0, torch.stack((z, z0), 1)

    def _coordinates(self, x: Tensor) -> Tensor:
        """V^H x, which is known of states that come from a draw."""
        known = [i for i, (state, _) in enumerate(self.reached) if state is x]
        return self.reached.pop(known[0])[1] if known else self.right(x)

    def draw(self, at: Particle, sigma: float, sigma_next: float, noise: Noise) -> tuple[Tensor, Tensor]:
        x, x0, (z, z0) = at.x, at.x0, at.own.unbind(1)
        if sigma_next == 0:
            weight = torch.where(self.noise < sigma, sigma**2 / (sigma**2 + self.noise.square()), 0.0)
            return x0 + self.right.adjoint(weight * (self.data - z0)), zeros(x)
        share = (sigma_next / sigma) ** 2
        std, n = sigma_next * math.sqrt(1 - share), noise(z if self.whole else x)
        unit = n if self.whole else self.right(n)
        drawn = z0 + share * (z - z0) + std * unit
        open_, level, mean, kernel, twist = self._ahead(z, z0, sigma, sigma_next)
        gain = torch.where(open_, kernel / torch.where(open_, kernel + twist, 1.0), 0.0)
        # a coordinate is drawn towards its datum, or is at it and moves on: either takes noise, never both
        there = mean + gain * (self.data - mean) + (gain * twist).sqrt() * unit
        onward = (sigma_next / level).square()
        moved = z0 + onward * (there - z0) + sigma_next * (1 - onward).clamp(min=0).sqrt() * unit
        moved = torch.where(open_, moved, drawn)
        still = self.level < sigma_next
        if self.whole:
            state = self.right.adjoint(moved)
        else:
            state = x0 + share * (x - x0) + std * n + self.right.adjoint(moved - drawn)
        self.reached.append((state, moved))
        return state, self._log(moved, sigma_next**2 - self.level.square(), still)


def chosen(found: list[Particle], kept: Tensor) -> list[Particle]:
    """The particles that live on, `kept` (B, count) saying which for each row."""
    if kept.shape[1] == len(found) and bool((kept == torch.arange(len(found), device=kept.device)).all()):
        return found
    rows = torch.arange(len(kept), device=kept.device)[:, None]
    fields = (torch.stack(parts, 1)[rows, kept].unbind(1) for parts in zip(*found, strict=True))
    return [Particle(*parts) for parts in zip(*fields, strict=True)]


class ParticleFilter:
    """A step with memory: P particles a row go through the levels, and the last step returns one of them.

    Rows whose weights are worth fewer than `threshold` P particles are resampled; whether one is depends on nothing but
    itself. Between the levels the loop sees the first particle of each row. Make one for each run, without moves.

    Attributes:
        states: P states (B, *event) after the last step; before the first, none.
        before: estimate and what else was known that led to each.
        log_weights: (B, P), not normalised.
        sizes: the effective number of particles at each level, (B,) each.
    """

    def __init__(self, kernel: Kernel, prior: Prior, particles: int, threshold: float = 0.5) -> None:
        if particles < 1 or not 0 <= threshold <= 1:
            raise ValueError(
                f"got {particles} particles and threshold {threshold}; expected at least 1, and a threshold from 0 to 1"
            )
        self.kernel, self.prior, self.particles, self.threshold = kernel, prior, particles, threshold
        self.states: list[Tensor] = []
        self.before: list[tuple[Tensor, Tensor] | None] = [None] * particles
        self.log_weights = torch.zeros(())
        self.sizes: list[Tensor] = []

    def _begin(self, x: Tensor, sigma: float, noise: Noise) -> None:
        mean = self.prior.start(torch.zeros_like(x), sigma)
        starts = [x] + [mean + sigma * self.prior.start_filter(noise(x), sigma) for _ in range(self.particles - 1)]
        begun = [self.kernel.begin(start, mean, sigma, noise) for start in starts]
        self.states, self.log_weights = [state for state, _ in begun], -torch.stack([debt for _, debt in begun], 1)

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if not self.states:
            self._begin(x, sigma, noise)
        found = [
            looked(self.kernel, denoise, state, before, sigma, sigma_next)
            for state, before in zip(self.states, self.before, strict=True)
        ]
        self.log_weights = self.log_weights + torch.stack([particle.worth for particle in found], 1)
        self.sizes.append(effective(self.log_weights))
        parents = chosen(found, self._choose(uniform(noise, x), 1 if sigma_next == 0 else self.particles))
        self.before = [(parent.x0, parent.own) for parent in parents]
        drawn = [self.kernel.draw(parent, sigma, sigma_next, noise) for parent in parents]
        self.states = [state for state, _ in drawn]
        self.log_weights = self.log_weights - torch.stack([debt for _, debt in drawn], 1)
        return self.states[0]

    def _choose(self, u: Tensor, count: int) -> Tensor:
        """Who lives on, (B, count); the weights of rows that were resampled are equal again."""
        kept = systematic(self.log_weights, u, count)
        if count < self.particles:
            self.log_weights = torch.zeros_like(self.log_weights[:, :count])
            return kept
        again = (self.sizes[-1] < self.threshold * self.particles)[:, None]
        self.log_weights = torch.where(again, 0.0, self.log_weights)
        return torch.where(again, kept, torch.arange(count, device=u.device))
