"""The diffusion processes, and the one number that the rest of the package needs of them: sigma(t).

Every process is linear, so x_sde(t) = s(t) x0 + std(t) n with n ~ N(0, I). Samplers work with x = x_sde / s,
that is x = x0 + sigma n with sigma = std / s; time, beta and s(t) stay in this file.

Reference: Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
section 3.4 and appendix B, arXiv:2011.13456; the change of scale is Karras et al., 2022, table 1, arXiv:2206.00364.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


def _time(t: Tensor | float) -> Tensor:
    return torch.as_tensor(t, dtype=torch.float64)


class SDE(ABC):
    """dx = f(t) x dt + g(t) dw on t in [t_min, t_max]; all schedules are computed in float64.

    Concrete processes are frozen dataclasses: two of equal parameters are equal, and `dataclasses.asdict`
    is what a checkpoint stores.
    """

    t_max: float = 1.0

    @property
    @abstractmethod
    def t_min(self) -> float:
        """The smallest time that the process is used at."""

    @abstractmethod
    def drift_rate(self, t: Tensor | float) -> Tensor:
        """f(t), the factor of x in the drift."""

    @abstractmethod
    def diffusion(self, t: Tensor | float) -> Tensor:
        """g(t), the factor of dw."""

    @abstractmethod
    def scale(self, t: Tensor | float) -> Tensor:
        """s(t), the factor that x0 has shrunk by."""

    @abstractmethod
    def sigma(self, t: Tensor | float) -> Tensor:
        """std(t) / s(t): the noise level in units of the image."""

    @abstractmethod
    def time(self, sigma: Tensor | float) -> Tensor:
        """The time at which the noise level is sigma; the inverse of `sigma`."""

    def drift(self, x: Tensor, t: Tensor | float) -> Tensor:
        """f(t) x, for x of any shape and t a number or of shape (B,)."""
        return _over(self.drift_rate(t), x) * x

    def marginal(self, t: Tensor | float) -> tuple[Tensor, Tensor]:
        """(s(t), std(t)) of the perturbation kernel N(s x0, std^2 I)."""
        scale = self.scale(t)
        return scale, scale * self.sigma(t)

    @property
    def sigma_min(self) -> float:
        """The lowest noise level of the process."""
        return float(self.sigma(self.t_min))

    @property
    def sigma_max(self) -> float:
        """The highest noise level of the process."""
        return float(self.sigma(self.t_max))

    def prior_sample(self, noise: Tensor) -> Tensor:
        """A draw from the end point N(0, std(t_max)^2 I), in the SDE's own coordinates, from unit noise."""
        return float(self.marginal(self.t_max)[1]) * noise

    def prior_log_density(self, x: Tensor) -> Tensor:
        """log N(x; 0, std(t_max)^2 I) in nats, shape (B,), for x (B, ...) in the SDE's own coordinates."""
        std = float(self.marginal(self.t_max)[1])
        flat = x.flatten(1)
        return -0.5 * (flat / std).square().sum(1) - flat.shape[1] * math.log(std * math.sqrt(2 * math.pi))


def _over(value: Tensor, x: Tensor) -> Tensor:
    """Give a value of shape () or (B,) the trailing axes that it needs to multiply x (B, ...)."""
    value = value.to(dtype=x.dtype, device=x.device)
    return value.reshape(value.shape + (1,) * (x.ndim - value.ndim)) if value.ndim else value


@dataclass(frozen=True)
class _LinearBeta(SDE):
    """beta(t) = beta_min + t (beta_max - beta_min); B(t) is its integral from 0."""

    beta_min: float = 0.1
    beta_max: float = 20.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min < self.beta_max < math.inf:
            raise ValueError(
                f"got beta_min={self.beta_min}, beta_max={self.beta_max}; expected "
                "0 < beta_min < beta_max; the usual values are 0.1 and 20"
            )

    @property
    def t_min(self) -> float:
        return 1e-5

    def beta(self, t: Tensor | float) -> Tensor:
        return self.beta_min + _time(t) * (self.beta_max - self.beta_min)

    def integral(self, t: Tensor | float) -> Tensor:
        t = _time(t)
        return self.beta_min * t + 0.5 * (self.beta_max - self.beta_min) * t.square()

    def time_of_integral(self, integral: Tensor) -> Tensor:
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + (self.beta_min**2 + 2 * slope * integral).sqrt())

    def drift_rate(self, t: Tensor | float) -> Tensor:
        return -0.5 * self.beta(t)

    def scale(self, t: Tensor | float) -> Tensor:
        return (-0.5 * self.integral(t)).exp()


@dataclass(frozen=True)
class VP(_LinearBeta):
    """Variance preserving: dx = -beta x / 2 dt + sqrt(beta) dw, sigma = sqrt(e^B - 1)."""

    def diffusion(self, t: Tensor | float) -> Tensor:
        return self.beta(t).sqrt()

    def sigma(self, t: Tensor | float) -> Tensor:
        return torch.expm1(self.integral(t)).sqrt()

    def time(self, sigma: Tensor | float) -> Tensor:
        return self.time_of_integral(torch.log1p(_time(sigma).square()))


@dataclass(frozen=True)
class SubVP(_LinearBeta):
    """Sub-VP: dx = -beta x / 2 dt + sqrt(beta (1 - e^{-2B})) dw, sigma = (1 - e^-B) e^{B/2} = 2 sinh(B/2)."""

    def diffusion(self, t: Tensor | float) -> Tensor:
        return (self.beta(t) * -torch.expm1(-2 * self.integral(t))).sqrt()

    def sigma(self, t: Tensor | float) -> Tensor:
        return 2 * torch.sinh(0.5 * self.integral(t))

    def time(self, sigma: Tensor | float) -> Tensor:
        return self.time_of_integral(2 * torch.asinh(0.5 * _time(sigma)))

    @property
    def t_min(self) -> float:
        return 1e-3  # sigma falls as B itself here, not as its root


@dataclass(frozen=True)
class VE(SDE):
    """Variance exploding: dx = g dw, sigma = sigma_low (sigma_high / sigma_low)^t."""

    sigma_low: float = 0.005
    sigma_high: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_low < self.sigma_high < math.inf:
            raise ValueError(
                f"got sigma_low={self.sigma_low}, sigma_high={self.sigma_high}; expected "
                "0 < sigma_low < sigma_high; sigma_high is about the largest distance between two images"
            )

    @property
    def t_min(self) -> float:
        return 0.0

    @property
    def log_ratio(self) -> float:
        return math.log(self.sigma_high / self.sigma_low)

    def drift_rate(self, t: Tensor | float) -> Tensor:
        return torch.zeros_like(_time(t))

    def diffusion(self, t: Tensor | float) -> Tensor:
        return self.sigma(t) * math.sqrt(2 * self.log_ratio)

    def scale(self, t: Tensor | float) -> Tensor:
        return torch.ones_like(_time(t))

    def sigma(self, t: Tensor | float) -> Tensor:
        return self.sigma_low * (_time(t) * self.log_ratio).exp()

    def time(self, sigma: Tensor | float) -> Tensor:
        return (_time(sigma) / self.sigma_low).log() / self.log_ratio


@dataclass(frozen=True)
class Discrete(SDE):
    """Variance preserving in finite steps t = 0, 1, ..., n - 1; between them log sigma is linear in t.

    With s = (1 + sigma^2)^(-1/2) this is a VP process whose beta, (log(1 + sigma^2))', is constant in log sigma within
    a step: the process of a model that was trained at finite steps only, such as one of the library diffusers.

    Args:
        sigmas: levels at the steps, rising.
    """

    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        levels = [0.0, *self.sigmas, math.inf]
        if len(self.sigmas) < 2 or not all(low < high for low, high in zip(levels, levels[1:], strict=False)):
            raise ValueError(
                f"got {len(self.sigmas)} sigmas from {self.sigmas[:1]} to {self.sigmas[-1:]}; expected two or more, "
                "each above the one before; check the schedule that they come from"
            )
        object.__setattr__(self, "sigmas", tuple(self.sigmas))  # a list, when read from JSON

    @property
    def t_min(self) -> float:
        return 0.0

    @property
    def t_max(self) -> float:
        return len(self.sigmas) - 1.0

    @cached_property
    def logs(self) -> Tensor:
        """log sigma at the steps."""
        return torch.tensor(self.sigmas, dtype=torch.float64).log()

    def _step(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The step before t, log sigma there, and how much it rises to the next."""
        logs = self.logs.to(t.device)
        step = t.floor().clamp(0, len(logs) - 2)
        low = logs[step.long()]
        return step, low, logs[step.long() + 1] - low

    def drift_rate(self, t: Tensor | float) -> Tensor:
        return -0.5 * self.diffusion(t).square()

    def diffusion(self, t: Tensor | float) -> Tensor:
        t = _time(t)
        return (2 * self._step(t)[2] / (1 + self.sigma(t) ** -2)).sqrt()

    def scale(self, t: Tensor | float) -> Tensor:
        return (1 + self.sigma(t).square()).rsqrt()

    def sigma(self, t: Tensor | float) -> Tensor:
        step, low, rise = self._step(t := _time(t))
        return (low + (t - step).clamp(0, 1) * rise).exp()

    def time(self, sigma: Tensor | float) -> Tensor:
        """The inverse of `sigma`; levels outside of the process are taken for its ends."""
        place = _time(sigma).clamp(self.sigmas[0], self.sigmas[-1]).log()
        step = torch.searchsorted(self.logs.to(place.device), place, right=True) - 1
        step, low, rise = self._step(step.double())
        return step + ((place - low) / rise).clamp(0, 1)


SDES: dict[str, type[SDE]] = {"vp": VP, "ve": VE, "subvp": SubVP, "discrete": Discrete}
