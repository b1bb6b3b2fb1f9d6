"""Random walks with independent increments: their laws, exact posteriors by Gibbs sampling, exact denoisers by sums.

Increments are normal with a random variance v (fixed for Gauss; exponential for Laplace; inverse gamma for Student), so
a Gibbs sampler that draws all increments given v, and v given the increments, has the exact posterior in its limit.
Bernoulli-Laplace increments are zero but for a share of them: whether each is, is drawn in turn with its value summed
over, since given its value zero it would stay so.

With A = 1 a walk is a hidden Markov chain. Where the increments have moments, its posterior mean is a sum over a grid
of values, forwards and backwards; its derivative is backpropagation through the sums.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import torch
from torch import Tensor

from recon.prior import Prior
from recon.sde import VE

SIZE = 64
WINDOW = 12  # half the points of a window, at two points a standard deviation of the noise
COARSE = 1.0  # largest spacing of a grid, in scales of the increments


def _normal(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator, dtype=like.dtype)


def _exponential(like: Tensor, generator: torch.Generator) -> Tensor:
    return -torch.rand(like.shape, generator=generator, dtype=like.dtype).clamp(min=1e-300).log()


class Law:
    """Increments u with u | v ~ N(0, v): `variances` draws v given u, `increments` draws u, (B, d).

    Args:
        name: "gauss", "laplace", "student" or "bernoulli".
        parameter: the variance, the scale, the degrees of freedom, or the scale of the increments that are not zero.
        share: of increments that are not zero.
    """

    def __init__(self, name: str, parameter: float, share: float = 1.0) -> None:
        self.name, self.parameter, self.share = name, parameter, share

    @property
    def label(self) -> str:
        share = "" if self.share == 1 else f"{self.share:g}, "
        return f"{self.name}({share}{self.parameter:g})"

    def variances(self, u: Tensor, generator: torch.Generator) -> Tensor:
        """v given u, which is not zero."""
        p = self.parameter
        if self.name == "gauss":
            return torch.full_like(u, p)
        if self.name == "student":
            gamma = torch._standard_gamma(torch.full_like(u, (p + 1) / 2), generator=generator)
            return (p + u.square()) / 2 / gamma
        mean, shape = 1 / (p * u.abs().clamp(min=1e-8)), 1 / p**2  # 1 / v is inverse Gaussian: mean 1 / (p |u|)
        n = _normal(u, generator).square()
        root = mean + mean.square() * n / (2 * shape)
        root = mean.square() / (root + (root.square() - mean.square()).clamp(min=0).sqrt())
        # (the smaller root of Michael, Schucany and Haas, 1976, without its cancellation)
        chance = torch.rand(u.shape, generator=generator, dtype=u.dtype)
        return 1 / torch.where(chance <= mean / (mean + root), root, mean.square() / root)

    def fresh(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """v of Laplace increments, before any u is known."""
        return 2 * self.parameter**2 * _exponential(like, generator)

    def increments(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Independent draws of u."""
        like = torch.empty(shape, dtype=torch.float64)
        n = _normal(like, generator)
        if self.name == "gauss":
            return math.sqrt(self.parameter) * n
        if self.name == "student":
            half = torch.full(shape, self.parameter / 2, dtype=torch.float64)
            return n * (half / torch._standard_gamma(half, generator=generator)).sqrt()
        u = self.fresh(like, generator).sqrt() * n
        return u if self.share == 1 else u * (torch.rand(shape, generator=generator, dtype=u.dtype) < self.share)

    @functools.cache  # noqa: B019
    def spread(self, size: int) -> tuple[float, float]:
        """Standard deviations of a value (the mean over the walk) and of the direction in which walks differ most."""
        training = self.increments((4000, size), torch.Generator().manual_seed(1)).cumsum(1)
        value = float(training.abs().median(0).values.mean() / 0.6745)  # heavy tails have no variance
        if self.name != "student":
            value = float(training.square().mean().sqrt())
        return value, value * math.sqrt(size)


LAWS = {"gauss": Law("gauss", 0.25), "laplace": Law("laplace", 1.0), "bernoulli": Law("bernoulli", 1.0, 0.1),
        **{f"student{nu}": Law("student", float(nu)) for nu in (1, 2, 3)}}


class _Moments:
    """Mean and covariance as means of those given v, which vary less than draws do; and late draws."""

    def __init__(self, keep: int) -> None:
        self.count, self.total, self.outer, self.spread, self.keep = 0, 0, 0, 0, keep
        self.draws: list[Tensor] = []

    def add(self, mean: Tensor, covariance: Tensor, draw: Tensor) -> None:
        self.count, self.total, self.spread = self.count + 1, self.total + mean, self.spread + covariance
        self.outer = self.outer + mean[..., :, None] * mean[..., None, :]
        self.draws = [*self.draws, draw][-self.keep :] if self.keep else []

    def walks(self, walk: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.total / self.count
        covariance = (self.outer + self.spread) / self.count - mean[..., :, None] * mean[..., None, :]
        draws = torch.stack(self.draws) @ walk.T if self.draws else mean[:0]
        return mean @ walk.T, walk @ covariance @ walk.T, draws


def gibbs(
    law: Law, y: Tensor, matrix: Tensor, sigma: float, sweeps: int, burn: int, seed: int, keep: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (B, d) and covariance (B, d, d) of x given y = matrix x + sigma n, and `keep` late draws (keep, B, d)."""
    generator = torch.Generator().manual_seed(seed)
    d = matrix.shape[1]
    walk = torch.ones(d, d, dtype=torch.float64).tril()  # x = walk u
    seen, moments = matrix @ walk, _Moments(keep)
    state = y.new_zeros(len(y), d)
    if law.share < 1:
        v, there = law.fresh(state, generator), torch.rand(state.shape, generator=generator) < law.share
    else:
        v, there = law.variances(torch.ones_like(state), generator), torch.ones_like(state, dtype=torch.bool)
    for sweep in range(burn + sweeps):
        if law.share < 1:
            there = _support(law, there, v, y, seen, sigma, generator)
        mean, covariance, root = _given(torch.where(there, v, 0.0), y, seen, sigma)
        u = mean + (root @ _normal(state, generator)[..., None])[..., 0]
        if law.share < 1:
            v = torch.where(there, law.variances(u, generator), law.fresh(state, generator))
        else:
            v = law.variances(u, generator)
        v = v.clamp(1e-12, 1e12)
        if sweep >= burn:
            moments.add(mean, covariance, u)
    return moments.walks(walk)


def _given(v: Tensor, y: Tensor, seen: Tensor, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, covariance and a root of it of the increments given their variances, some of them zero.

    With w = u / sqrt(v) the precision is 1 + sqrt(v) seen^T seen sqrt(v) / sigma^2, which needs no 1 / v.
    """
    scale = v.sqrt()
    gram = seen.T @ seen / sigma**2
    precision = scale[..., :, None] * gram * scale[..., None, :] + torch.eye(v.shape[1], dtype=v.dtype)
    inverse = torch.linalg.inv(torch.linalg.cholesky(precision))
    root = scale[..., :, None] * inverse.mT
    mean = (root @ (inverse @ (scale * (y @ seen / sigma**2))[..., None]))[..., 0]
    return mean, root @ root.mT, root


def _support(
    law: Law, there: Tensor, v: Tensor, y: Tensor, seen: Tensor, sigma: float, generator: torch.Generator
) -> Tensor:
    """Which increments are not zero, one after the other given the others and v, their values summed over.

    The data have the covariance S = sigma^2 + sum of v_i h_i h_i^T over those there. With S of the others,
    q = h^T S^-1 h and r = h^T S^-1 y, the odds are share / (1 - share) exp(v r^2 / (2 (1 + v q))) / sqrt(1 + v q).
    """
    there, odds = there.clone(), math.log(law.share / (1 - law.share))
    total = (seen * (there * v)[:, None]) @ seen.T + sigma**2 * torch.eye(len(seen), dtype=v.dtype)
    inverse = torch.linalg.inv(total)
    chance = torch.rand(there.shape, generator=generator, dtype=v.dtype)
    for i, h in enumerate(seen.T):
        s, w = inverse @ h, v[:, i]
        q, r = s @ h, (s * y).sum(1)
        kept = there[:, i] * w  # taken out of S: its own v h h^T
        less = 1 / (1 - kept * q).clamp(min=1e-12)
        q, r = q * less, r * less
        log = odds - 0.5 * torch.log1p(w * q) + 0.5 * w * r.square() / (1 + w * q)
        there[:, i] = chance[:, i] < torch.sigmoid(log)
        change = there[:, i] * w - kept  # S grows by change h h^T
        scale = change / (1 + change * (s @ h))
        inverse = inverse - (scale[:, None] * s)[:, :, None] * s[:, None, :]
    return there


def _masses(law: Law, steps: Tensor, spacing: float) -> Tensor:
    """Probabilities of increments of so many points of a grid, of the law's own variance."""
    scale = law.parameter / spacing
    for _ in range(50):  # a law on the grid whose tails fall like exp(-|k| / scale), by its variance
        ratio = math.exp(-1 / scale)
        scale *= math.sqrt(2 * (law.parameter / spacing) ** 2 * (1 - ratio) ** 2 / (2 * ratio))
    ratio = math.exp(-1 / scale)
    slab = (1 - ratio) / (1 + ratio) * torch.exp(-steps.abs() / scale)
    return law.share * slab + (1 - law.share) * (steps == 0)


def grid_mean(law: Law, x: Tensor, sigma: float) -> Tensor:
    """E[walk | walk + sigma n = x] for Laplace and Bernoulli-Laplace increments, (B, d), differentiable in x.

    Values are multiples of a spacing: half of sigma in windows about x where that is fine enough, else COARSE over all
    that walks reach.
    """
    rows, d = x.shape
    local = sigma <= 2 * COARSE * law.parameter
    spacing = sigma / 2 if local else COARSE * law.parameter
    half = WINDOW if local else math.ceil(5 * law.spread(d)[1] / math.sqrt(d) * math.sqrt(2) / spacing)
    points = torch.arange(-half, half + 1, dtype=x.dtype)
    middle = (x.detach() / spacing).round() if local else torch.zeros_like(x)
    values = (middle[..., None] + points) * spacing  # (B, d, points)
    fits = -0.5 * ((values - x[..., None]) / sigma).square()
    likely = (fits - fits.detach().amax(-1, keepdim=True)).exp()
    whole = _masses(law, points[:, None] - points, spacing)
    before = torch.cat([torch.zeros_like(middle[:, :1]), middle[:, :-1]], 1)

    def kernel(t: int) -> Tensor:
        """From value i at t - 1 to value j at t: (points, points) or (B, points, points)."""
        if not local:
            return whole
        return _masses(law, points - points[:, None] + (middle[:, t] - before[:, t])[:, None, None], spacing)

    start = _masses(law, middle[:, :1] + points, spacing)
    forward, kernels = [_scaled(start * likely[:, 0])], [None, *(kernel(t) for t in range(1, d))]
    for t in range(1, d):
        forward.append(_scaled((forward[-1][:, None] @ kernels[t])[:, 0] * likely[:, t]))
    backward = [torch.ones_like(start)]
    for t in range(d - 1, 0, -1):
        backward.append(_scaled((kernels[t] @ (backward[-1] * likely[:, t])[..., None])[..., 0]))
    both = torch.stack(forward, 1) * torch.stack(backward[::-1], 1)
    return (both * values).sum(-1) / both.sum(-1)


def _scaled(message: Tensor) -> Tensor:
    return message / message.detach().sum(-1, keepdim=True).clamp(min=1e-300)


class _Denoised(torch.autograd.Function):
    """Gibbs' mean, whose derivative is its covariance over sigma^2 (Tweedie's second formula)."""

    @staticmethod
    def forward(ctx, x: Tensor, sigma: float, law: Law, sweeps: int) -> Tensor:
        eye = torch.eye(x.shape[1], dtype=x.dtype)
        mean, covariance, _ = gibbs(law, x, eye, sigma, sweeps, max(5, sweeps // 4), 7)
        ctx.save_for_backward(covariance / sigma**2)
        return mean

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple:
        return (ctx.saved_tensors[0] @ gradient[..., None])[..., 0], None, None, None


class WalkPrior(Prior):
    """Walks of a law, denoised by sums over a grid where the law has moments, else by Gibbs.

    Like a trained prior it carries its error covariance, measured at some levels on draws of its own and interpolated:
    the mean of sigma^2 times the denoiser's Jacobian, here a dense matrix.
    """

    measured_levels, measured_rows = 12, 32

    def __init__(self, law: Law, size: int = SIZE, sweeps: int = 30) -> None:
        super().__init__((size,), VE(1e-3, 1e4), name=law.name)
        self.law, self.sweeps = law, sweeps
        self.data_std, self.spread = law.spread(size)
        self.register_buffer("zero", torch.zeros(size, dtype=torch.float64))
        self.ladder: list[float] = []
        self.shares: list[Tensor] = []  # error covariances over that of a white prior
        self.roots: dict[float, tuple[Tensor, Tensor]] = {}

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        if self.law.name in ("laplace", "bernoulli"):
            return grid_mean(self.law, x, float(sigma))
        return _Denoised.apply(x, float(sigma), self.law, self.sweeps)

    def mean_image(self, shape: tuple[int, ...]) -> Tensor:
        return self.zero[None]

    def _white(self, sigma: float) -> float:
        return sigma**2 * self.data_std**2 / (sigma**2 + self.data_std**2)

    def measure_errors(self) -> None:
        """The covariances at levels of constant ratio."""
        generator, d = torch.Generator().manual_seed(2), self.shape[0]
        low, high = math.log(self.sigma_end), math.log(self.sigma_start)
        steps = range(self.measured_levels)
        self.ladder = [math.exp(low + (high - low) * i / (self.measured_levels - 1)) for i in steps]
        walks = self.law.increments((self.measured_rows, d), generator).cumsum(1)
        for sigma in self.ladder:
            with torch.enable_grad():
                x = (walks + sigma * _normal(walks, generator)).requires_grad_(True)
                x0 = self.denoise(x, sigma)
                rows = [torch.autograd.grad(x0[:, i].sum(), x, retain_graph=True)[0].mean(0) for i in range(d)]
            mean = sigma**2 * torch.stack(rows) / self._white(sigma)
            self.shares.append(0.5 * (mean + mean.T))

    def error_function(self, v: Tensor, sigma: float, function: Callable[[Tensor], Tensor]) -> Tensor:
        if not self.ladder:
            self.measure_errors()
        if sigma not in self.roots:
            place = (math.log(sigma) - math.log(self.ladder[0])) / math.log(self.ladder[1] / self.ladder[0])
            place = min(max(place, 0.0), self.measured_levels - 1.001)
            first, part = int(place), place - int(place)
            mean = (1 - part) * self.shares[first] + part * self.shares[first + 1]
            values, vectors = torch.linalg.eigh(self._white(sigma) * mean)
            self.roots[sigma] = values.clamp(min=1e-6 * float(values.max())), vectors
        values, vectors = self.roots[sigma]
        return ((v @ vectors) * function(values)) @ vectors.T
