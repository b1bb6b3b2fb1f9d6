"""Priors whose denoiser is known exactly: Gaussian fields and Gaussian mixtures, for events of any shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from recon.covariance import Covariance, WhiteCovariance, as_covariance
from recon.prior import Prior, Units
from recon.sde import SDE, VE

DRAWS = 1000  # that a mixture measures its error covariance on


def _wide(spread: float) -> SDE:
    """A VE process from far below to far above a spread, so that its end point hides the prior."""
    return VE(sigma_low=1e-4 * spread, sigma_high=1e2 * spread)


def _gains(values: Tensor, sigma: Tensor) -> Tensor:
    """values / (values + sigma^2) for sigma () or (B,): shape of values, or (B, *values)."""
    s2 = sigma.square().reshape(sigma.shape + (1,) * (values.ndim if sigma.ndim else 0))
    return values / (values + s2)


def _log_normal(modes: Tensor, variances: Tensor, sigma: Tensor | float) -> Tensor:
    """log N(modes; 0, variances + sigma^2) in nats, (B,), for modes (B, *variances) and sigma () or (B,)."""
    s2 = torch.as_tensor(sigma, dtype=modes.dtype, device=modes.device).square().reshape(-1, *(1,) * variances.ndim)
    total = variances + s2
    return -0.5 * (modes.square() / total + (2 * math.pi * total).log()).flatten(1).sum(1)


class GaussianPrior(Prior):
    """N(mean, C), with the exact denoiser mean + C (C + sigma^2)^-1 (x - mean).

    Args:
        mean: (*event), for example (1, H, W) or (d,); its dtype is the prior's.
        covariance: (n, n) for the flattened event of n values, or the spectrum of a stationary covariance,
            see `recon.covariance.as_covariance`.
        sde: process to take the noise levels from; default: VE, 10^-4 to 10^2 times the largest standard deviation.

    Raises:
        ValueError: shapes do not fit, or the covariance is not symmetric positive semidefinite.
    """

    def __init__(self, mean: Tensor, covariance: Tensor, sde: SDE | None = None, units: Units | None = None) -> None:
        mean = torch.as_tensor(mean)
        mean = mean if mean.is_floating_point() else mean.double()
        known = as_covariance(torch.as_tensor(covariance).to(mean.dtype), tuple(mean.shape))
        spread = float(known.eigenvalues.max().sqrt())
        super().__init__(tuple(mean.shape), sde or _wide(spread), units, "gaussian")
        self.covariance: Covariance = known
        self.spread = spread
        self.data_std = float(known.eigenvalues.mean().sqrt())
        self.register_buffer("mean", mean)

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        gains = _gains(self.covariance.eigenvalues, torch.as_tensor(sigma, dtype=x.dtype))
        return self.mean + self.covariance.filter(x - self.mean, gains)

    def error_function(self, v: Tensor, sigma: float, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(C) v with C = covariance sigma^2 / (covariance + sigma^2): exact, and the same for every x."""
        eigenvalues = self.covariance.eigenvalues
        return self.covariance.filter(v, function(eigenvalues * sigma**2 / (eigenvalues + sigma**2)))

    def mean_image(self, shape: tuple[int, ...]) -> Tensor:
        return self.mean[None]

    def start_filter(self, v: Tensor, sigma: float) -> Tensor:
        return self.covariance.filter(v, (1 + self.covariance.eigenvalues / sigma**2).sqrt())

    def sample(self, noise: Tensor) -> Tensor:
        """An exact draw mean + C^(1/2) n for unit noise n (B, *event)."""
        return self.mean + self.covariance.filter(noise, self.covariance.eigenvalues.sqrt())

    def log_density(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """log N(x; mean, C + sigma^2 I) in nats, shape (B,)."""
        return _log_normal(self.covariance.modes(x - self.mean), self.covariance.eigenvalues, sigma)


class MixturePrior(Prior):
    """sum_k w_k N(mean_k, C_k), with its exact denoiser.

    Args:
        means: (K, *event).
        covariances: (K, n, n) or (K, *event) spectra, one a component; or one (n, n) or (*event) shared by all.
            What can be read as one dense (n, n) is.
        weights: (K,) positive, made to sum to one; default: equal.
        sde: as for `GaussianPrior`, the spread being that of the whole mixture.

    Raises:
        ValueError: shapes do not fit, a weight is not positive, or a covariance is not positive semidefinite.
    """

    def __init__(
        self,
        means: Tensor,
        covariances: Tensor,
        weights: Tensor | None = None,
        sde: SDE | None = None,
        units: Units | None = None,
    ) -> None:
        means = torch.as_tensor(means)
        means = means if means.is_floating_point() else means.double()
        count, event = means.shape[0], tuple(means.shape[1:])
        n = math.prod(event)
        given = torch.as_tensor(covariances).to(means.dtype)
        shared = tuple(given.shape) == (n, n) or tuple(given.shape) == event
        parts: Sequence[Tensor] = [given] if shared else list(given)
        if not shared and len(parts) != count:
            raise ValueError(f"got {len(parts)} covariances for {count} means; expected one each, or one shared by all")
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights)
        if weights.shape != (count,) or not bool((weights > 0).all()):
            raise ValueError(f"got weights of shape {tuple(weights.shape)}; expected {count} positive ones")
        weights = (weights / weights.sum()).to(means.dtype)
        covariances_ = [as_covariance(part, event) for part in parts]
        center = torch.einsum("k,k...->...", weights, means)
        counted = covariances_ * (count if shared else 1)
        apart = (means - center).flatten(1).square()
        spread = math.sqrt(float(apart.sum(1).max()) + max(float(c.eigenvalues.max()) for c in covariances_))
        super().__init__(event, sde or _wide(spread), units, "mixture")
        self.covariances, self.spread = nn.ModuleList(counted), spread
        within = torch.stack([c.eigenvalues.mean() for c in counted])
        self.data_std = math.sqrt(float(weights @ (apart.mean(1) + within)))
        self.register_buffer("mean", center)
        self.register_buffer("means", means)
        self.register_buffer("weights", weights)
        self._errors: dict[float, tuple[Tensor, Tensor, Tensor]] = {}  # of the levels asked for

    def log_components(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """log w_k N(x; mean_k, C_k + sigma^2), shape (B, K)."""
        if self._at_once(x, sigma):
            return self._log_middle(x, sigma)[:, None] + self._log_shares(x, sigma)
        logs = [
            weight.log() + _log_normal(covariance.modes(x - mean), covariance.eigenvalues, sigma)
            for weight, mean, covariance in zip(self.weights, self.means, self.covariances, strict=True)
        ]
        return torch.stack(logs, dim=1)

    def _at_once(self, x: Tensor, sigma: Tensor | float) -> bool:
        """Whether components are told apart by matrix products, which float32 would be too coarse for."""
        same = all(covariance is self.covariances[0] for covariance in self.covariances)
        return same and torch.as_tensor(sigma).ndim == 0 and x.dtype == torch.float64

    def _log_middle(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        covariance = self.covariances[0]
        return _log_normal(covariance.modes(x - self.mean), covariance.eigenvalues, sigma)

    def _log_shares(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        """log w_k - |m_k|^2 / 2 + <x - mean, m_k> in the metric (C + sigma^2)^-1, m_k = mean_k - mean: (B, K)."""
        apart, covariance = self.means - self.mean, self.covariances[0]
        inner = covariance.filter(apart, 1 / (covariance.eigenvalues + float(sigma) ** 2)).flatten(1)
        return self.weights.log() - 0.5 * (apart.flatten(1) * inner).sum(1) + (x - self.mean).flatten(1) @ inner.T

    def log_density(self, x: Tensor, sigma: Tensor | float = 0.0) -> Tensor:
        """log p_sigma(x) in nats, shape (B,)."""
        return self.log_components(x, sigma).logsumexp(1)

    def mean_image(self, shape: tuple[int, ...]) -> Tensor:
        return self.mean[None]

    def denoise(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        if self._at_once(x, sigma):
            covariance = self.covariances[0]
            gains = _gains(covariance.eigenvalues, torch.as_tensor(sigma, dtype=x.dtype, device=x.device))
            rest = (self.means - covariance.filter(self.means, gains)).flatten(1)
            middle = self._log_shares(x, sigma).softmax(1) @ rest
            return covariance.filter(x, gains) + middle.reshape(x.shape)
        responsibilities = self.log_components(x, sigma).softmax(1)
        s = torch.as_tensor(sigma, dtype=x.dtype, device=x.device)
        result = torch.zeros_like(x)
        for k, (mean, covariance) in enumerate(zip(self.means, self.covariances, strict=True)):
            estimate = mean + covariance.filter(x - mean, _gains(covariance.eigenvalues, s))
            result = result + responsibilities[:, k].reshape(-1, *(1,) * (x.ndim - 1)) * estimate
        return result

    def error_function(self, v: Tensor, sigma: float, function: Callable[[Tensor], Tensor]) -> Tensor:
        """f(C) v, C the covariance of x0 given x averaged over DRAWS draws of x from the mixture.

        Within components of one white covariance it is c sigma^2 / (c + sigma^2), between them of low rank. Mixtures of
        others are taken for white, as every prior that does not know better.
        """
        if not isinstance(self.covariances[0], WhiteCovariance) or not self._at_once(v, sigma):
            return super().error_function(v, sigma, function)
        if sigma not in self._errors:
            self._errors[sigma] = self._error(sigma)
        within, between, directions = self._errors[sigma]
        inside = function(within)
        extra = (v.flatten(1) @ directions) * (function(within + between) - inside)
        return inside * v + (extra @ directions.T).reshape(v.shape)

    def _error(self, sigma: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of the mean error covariance: the part within components, the eigenvalues between them and their vectors."""
        generator, c = torch.Generator().manual_seed(0), float(self.covariances[0].eigenvalues.flatten()[0])
        chosen = torch.multinomial(self.weights.cpu(), DRAWS, replacement=True, generator=generator)
        noise = torch.randn((DRAWS, self.mean.numel()), generator=generator, dtype=torch.float64)
        x = self.means[chosen] + math.sqrt(c + sigma**2) * noise.to(self.mean).reshape(-1, *self.shape)
        shares, gain = self._log_shares(x, sigma).softmax(1), sigma**2 / (c + sigma**2)
        spread = shares.mean(0).diag() - shares.T @ shares / DRAWS  # of the component, given x
        axes, triangle = torch.linalg.qr(gain * (self.means - self.mean).flatten(1).T)
        between, vectors = torch.linalg.eigh(triangle @ spread @ triangle.T)
        return between.new_tensor(c * gain), between.clamp(min=0), axes @ vectors

    def sample(self, noise: Tensor, choice: Tensor) -> Tensor:
        """Exact draws from unit noise (B, *event) and component numbers (B,)."""
        draws = [
            self.means[k] + self.covariances[k].filter(n[None], self.covariances[k].eigenvalues.sqrt())[0]
            for n, k in zip(noise, choice.tolist(), strict=True)
        ]
        return torch.stack(draws)
