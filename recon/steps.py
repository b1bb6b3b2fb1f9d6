"""Steps: solvers that move a state from one noise level to the next, for any denoiser, conditioned or not.

One scalar gives every first-order solver, x' = x0 + k (x - x0) + c n with k = sqrt(1 - zeta) sigma'/sigma and
c = sqrt(zeta) sigma', where zeta in [0, 1] is the share of fresh noise. A rise of the level (time travel) adds
sqrt(sigma'^2 - sigma^2) n. A level of 0 returns the estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from torch import Tensor

from recon.condition import Denoise
from recon.error_control import RungeKutta45
from recon.exponential import DPMSolver2M, DPMSolver3M, UniPC
from recon.noise import Noise
from recon.ranges import Words
from recon.sde import SDE
from recon.stochastic import Ancestral2M

Step = Callable[[Denoise, Tensor, float, float, Noise], Tensor]


@dataclass(frozen=True)
class FirstOrder:
    """x' = x0 + k (x - x0) + c n, `share(sigma, sigma_next)` being zeta."""

    share: Callable[[float, float], float]

    def coefficients(self, sigma: float, sigma_next: float) -> tuple[float, float]:
        """(k, c) between two levels."""
        zeta = self.share(sigma, sigma_next)
        return math.sqrt(1 - zeta) * sigma_next / sigma, math.sqrt(zeta) * sigma_next

    def gain_on(self, sigmas: list[float]) -> Callable[[float], float]:
        """sigma -> 1 - k on a falling grid: what a shift of the estimate is multiplied by in the next state."""
        gains = {a: 1 - self.coefficients(a, b)[0] for a, b in zip(sigmas, sigmas[1:], strict=False)}
        return gains.__getitem__

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if sigma_next > sigma:
            return x + math.sqrt(sigma_next**2 - sigma**2) * noise(x)
        x0 = denoise(x, sigma)
        k, c = self.coefficients(sigma, sigma_next)
        moved = x0 + k * (x - x0)
        return moved + c * noise(x) if c else moved


def ddim(eta: float) -> FirstOrder:
    """zeta = eta^2 (1 - sigma'^2 / sigma^2). Reference: Song et al., DDIM, 2021, equation 16, arXiv:2010.02502."""
    return FirstOrder(lambda s, s_next: eta**2 * (1 - (s_next / s) ** 2))


def euler() -> FirstOrder:
    """zeta = 0: Euler's method on the probability-flow ODE, which is DDIM without noise."""
    return FirstOrder(lambda s, s_next: 0.0)


def ancestral() -> FirstOrder:
    """zeta = 1 - sigma'^2 / sigma^2: the posterior of the forward chain. Reference: Ho et al., 2020, equation 6,
    arXiv:2006.11239.
    """
    return ddim(1.0)


def renoise(zeta: float) -> FirstOrder:
    """A constant share of fresh noise, as in DDNM, DDRM and DiffPIR; 1 draws all of it anew (DAPS)."""
    return FirstOrder(lambda s, s_next: zeta)


def heun(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
    """Heun's method on dx/dsigma = (x - x0) / sigma: order 2, two network calls (one where it ends at 0).

    Reference: Karras et al., 2022, algorithm 1, arXiv:2206.00364.
    """
    slope = (x - denoise(x, sigma)) / sigma
    moved = x + (sigma_next - sigma) * slope
    if sigma_next == 0:
        return moved
    return x + (sigma_next - sigma) * 0.5 * (slope + (moved - denoise(moved, sigma_next)) / sigma_next)


def churn(sde: SDE, amount: float = 1.0) -> Step:
    """Fresh noise up to sigma (1 + gamma), then Heun's method down to sigma': order 2 in law.

    gamma = amount log(sigma / sigma'), at most sqrt(2) - 1; on a grid of constant ratio that is the paper's S_churn / N
    for S_churn = amount log(sigma_max / sigma_min), and on any grid the noise exchanged does not depend on the number
    of steps. S_noise is 1; the level stays inside those of the process.

    Reference: Karras et al., 2022, algorithm 2, arXiv:2206.00364.
    """

    def step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        if sigma_next == 0:
            return denoise(x, sigma)
        gamma = min(amount * math.log(sigma / sigma_next), math.sqrt(2) - 1)
        raised = max(sigma, min(sigma * (1 + gamma), sde.sigma_max))
        return heun(denoise, x + math.sqrt(raised**2 - sigma**2) * noise(x), raised, sigma_next, noise)

    return step


def hold(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
    """x' = x, for annealed Langevin dynamics: the moves do the work."""
    return denoise(x, sigma) if sigma_next == 0 else x


def jump(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
    """x' = x0, for denoisers that draw x0: the moves bring it to the next level."""
    return denoise(x, sigma)


def euler_maruyama(sde: SDE) -> Step:
    """Euler-Maruyama on the reverse SDE dx = (f x - g^2 score) dt + g dw, in the SDE's own time and coordinates.

    Reference: Song et al., 2021, equation 6, arXiv:2011.13456.
    """

    def step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0
        t, t_next = float(sde.time(sigma)), float(sde.time(sigma_next))
        scale, std = (float(v) for v in sde.marginal(t))
        score = scale * (x0 - x) / std**2
        g, dt = float(sde.diffusion(t)), t_next - t
        own = scale * x
        own = own + (float(sde.drift_rate(t)) * own - g**2 * score) * dt + g * math.sqrt(-dt) * noise(x)
        return own / float(sde.scale(t_next))

    return step


def predictor(sde: SDE) -> Step:
    """The reverse-diffusion predictor: x' = (2 - a) x + G^2 score + G n, (a, G) those of the forward step from t' to t.

    Reference: Song et al., 2021, equation 46, arXiv:2011.13456.
    """

    def step(denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0
        (scale, std), (scale_next, std_next) = (map(float, sde.marginal(sde.time(s))) for s in (sigma, sigma_next))
        a = scale / scale_next
        variance = std**2 - (a * std_next) ** 2
        score = scale * (x0 - x) / std**2
        return ((2 - a) * scale * x + variance * score + math.sqrt(variance) * noise(x)) / scale_next

    return step


@dataclass(frozen=True)
class Solver:
    """A step by its name.

    Args:
        make: makes one for a run with a process.
        order: of convergence to the law of the exact process.
        calls: network calls a level, but one at the last; at least so many where the error is controlled.
        first: further calls of the first level.
        averages: whether a step goes a share of the way to the estimate and no farther, so that its errors fade.
    """

    make: Callable[[SDE], Step]
    order: int
    calls: int = 1
    first: int = 0
    averages: bool = False

    def levels(self, steps: int) -> int:
        """How many levels `steps` network calls are enough for, at least one."""
        return 1 + max(0, steps - 1 - self.first) // self.calls


STEPS: dict[str, Solver] = {
    "ancestral": Solver(lambda sde: ancestral(), order=1, averages=True),
    "ancestral2m": Solver(lambda sde: Ancestral2M(), order=2, averages=True),
    "euler": Solver(lambda sde: euler(), order=1, averages=True),
    "heun": Solver(lambda sde: heun, order=2, calls=2),
    "dpm2m": Solver(lambda sde: DPMSolver2M(), order=2),
    "dpm3m": Solver(lambda sde: DPMSolver3M(), order=3, first=1),
    "unipc": Solver(lambda sde: UniPC(), order=3),
    "rk45": Solver(lambda sde: RungeKutta45(), order=5, calls=6),
    "churn": Solver(churn, order=2, calls=2),
    "euler_maruyama": Solver(euler_maruyama, order=1),
    "predictor": Solver(predictor, order=1),
}
StepName = Annotated[str, Words(tuple(STEPS))]


def solver(name: str) -> Solver:
    """The step of that name, see `STEPS`.

    Raises:
        ValueError: there is none; the message names them.
    """
    if name not in STEPS:
        raise ValueError(f"got step {name!r}; expected one of {', '.join(STEPS)}")
    return STEPS[name]
