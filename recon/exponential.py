"""Exponential integrators of the probability-flow ODE: multistep solvers of order 2 and 3.

In the time l = -log sigma the flow is x' = D - x, linear but for the estimate D, so that over a step of length
h = log(sigma / sigma')

    x' = e^-h x + int_0^h e^(u - h) D(u) du.

The solvers put a polynomial through known estimates in place of D(u): earlier ones to predict, the one at the end of
the step to correct. Their memory belongs to one run: make one for each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recon.condition import Denoise
from recon.noise import Noise


def moments(h: float, count: int) -> list[float]:
    """int_0^1 h e^(h (u - 1)) u^k du for k = 0 .. count - 1, by series where the recursion would cancel."""
    if h < 1:
        return [
            sum((-1) ** j * h ** (j + 1) * math.factorial(k) / math.factorial(k + j + 1) for j in range(20))
            for k in range(count)
        ]
    found = [-math.expm1(-h)]
    for k in range(1, count):
        found.append(1 - k / h * found[-1])
    return found


def weights(nodes: Sequence[float], h: float) -> list[float]:
    """w with sum_j w_j D_j = int_0^h e^(u - h) D(u) du, D the polynomial with D_j at the nodes u_j."""
    powers = torch.tensor([[(u / h) ** k for u in nodes] for k in range(len(nodes))], dtype=torch.float64)
    return torch.linalg.solve(powers, torch.tensor(moments(h, len(nodes)), dtype=torch.float64)).tolist()


def combined(x: Tensor, h: float, estimates: Sequence[Tensor], nodes: Sequence[float]) -> Tensor:
    """e^-h x + int_0^h e^(u - h) D(u) du, D the polynomial through the estimates at the nodes."""
    return math.exp(-h) * x + sum(w * d for w, d in zip(weights(nodes, h), estimates, strict=True))


class DPMSolver2M:
    """DPM-Solver++ (2M): order 2 with one network call a step, by the estimate of the step before.

    x' = (sigma'/sigma) x + (1 - sigma'/sigma) D, D the linear extrapolation of the last two estimates to the middle of
    the step.

    Reference: Lu et al., DPM-Solver++, 2022, algorithm 2, arXiv:2211.01095.
    """

    def __init__(self) -> None:
        self.last: tuple[float, float, Tensor] | None = None

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0
        target = x0
        if self.last is not None:
            before, reached, x0_before = self.last
            if reached == sigma:
                ratio = math.log(sigma / sigma_next) / (2 * math.log(before / sigma))
                target = x0 + ratio * (x0 - x0_before)
        self.last = (sigma, sigma_next, x0)
        return target + (sigma_next / sigma) * (x - target)


class DPMSolver3M:
    """DPM-Solver++ (3M): order 3 with one network call a step, by the estimates of the two steps before.

    D(u) is the parabola through the last three estimates. The released code takes half of its second difference, which
    leaves order 2; here it is whole. The first step, which has no estimate before it, is 2S and takes two calls.

    Reference: Lu et al., DPM-Solver++, 2022, algorithm 1 (2S), arXiv:2211.01095; 3M is in the code of the authors.
    """

    def __init__(self) -> None:
        self.reached = math.nan
        self.past: list[tuple[float, Tensor]] = []

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0
        h = math.log(sigma / sigma_next)
        if self.reached != sigma:
            middle = math.sqrt(sigma * sigma_next)
            moved = x0 + (middle / sigma) * (x - x0)
            self.past = [(sigma, x0)]
            target = denoise(moved, middle)
            following = target + (sigma_next / sigma) * (x - target)
        else:
            self.past = [(sigma, x0), *self.past[:2]]
            nodes = [math.log(sigma / level) for level, _ in self.past]
            following = combined(x, h, [estimate for _, estimate in self.past], nodes)
        self.reached = sigma_next
        return following


class UniPC:
    """UniPC-2: order 3 with one network call a step, 2M as predictor and the parabola through its end as corrector.

    The estimate at the predicted state both corrects that state, by D(u) through it and the two estimates before, and
    starts the next step. A state that a move has changed in between is taken as it is.

    Reference: Zhao et al., UniPC, 2023, algorithms 5 and 6 with B(h) = e^h - 1 (bh2), arXiv:2302.04867.
    """

    def __init__(self) -> None:
        self.reached: Tensor | None = None  # the state last returned, and the one it was predicted from
        self.start: Tensor | None = None
        self.past: list[tuple[float, Tensor]] = []

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        x0 = denoise(x, sigma)
        if sigma_next == 0:
            return x0
        if x is self.reached:
            x = self._corrected(x0, sigma)
        else:
            self.past = []
        target = x0
        if self.past:
            before, x0_before = self.past[0]
            target = x0 + math.log(sigma / sigma_next) / (2 * math.log(before / sigma)) * (x0 - x0_before)
        self.past = [(sigma, x0), *self.past[:1]]
        self.start, self.reached = x, target + (sigma_next / sigma) * (x - target)
        return self.reached

    def _corrected(self, x0: Tensor, sigma: float) -> Tensor:
        left, x0_left = self.past[0]
        h = math.log(left / sigma)
        if len(self.past) == 1:  # UniC-1
            target = 0.5 * (x0 + x0_left)
            return target + (sigma / left) * (self.start - target)
        earlier, x0_earlier = self.past[1]
        return combined(self.start, h, [x0_left, x0, x0_earlier], [0.0, h, -math.log(earlier / left)])
