"""A Runge-Kutta step with error control for every row of a batch, on noise levels that all rows share.

A conditioned denoiser takes one level for the whole batch, so rows cannot have steps of their own as in `recon.ode`.
Here the way between two levels is gone in 1, 2, 4, ... equal parts, and every row keeps the first of these solutions
whose estimated error is small enough: the rows share the levels, and none depends on its batch mates. The network
calls are those of the row that needs the most.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from recon.condition import Denoise
from recon.noise import Noise
from recon.ode import ERROR, NODES, STAGES


def _combine(coefficients: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return sum(c * k for c, k in zip(coefficients, slopes, strict=True) if c)


class RungeKutta45:
    """Dormand and Prince's pair of orders 5 and 4 on dx / dlog sigma = x - x0, six network calls a part.

    The slope at the end of a step is the first of the next one, unless a move has changed the state. Its memory belongs
    to one run: make one for each.

    Args:
        tolerance: a part is good where the root mean square of its error / (tolerance (1 + |x|)) is at most 1.
        most: parts of one step after which rows that are not good are given up, a power of 2.

    Reference: Dormand and Prince, A family of embedded Runge-Kutta formulae, 1980; as a sampler Song et al., 2021,
    section 4.3, arXiv:2011.13456.
    """

    def __init__(self, tolerance: float = 1e-3, most: int = 256) -> None:
        self.tolerance, self.most = tolerance, most
        self.reached: Tensor | None = None
        self.slope: Tensor | None = None

    def __call__(self, denoise: Denoise, x: Tensor, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
        slope = self.slope if x is self.reached else x - denoise(x, sigma)
        if sigma_next == 0:
            return x - slope
        waiting = torch.ones(len(x), dtype=torch.bool, device=x.device)
        end, end_slope, parts = x.clone(), slope.clone(), 1
        while parts <= self.most:
            moved, moved_slope, error = self._solved(denoise, x, slope, sigma, sigma_next, parts)
            good = waiting & (error <= 1)
            end[good], end_slope[good] = moved[good], moved_slope[good]
            waiting = waiting & ~good
            if not bool(waiting.any()):
                self.reached, self.slope = end, end_slope
                return end
            parts *= 2
        raise FloatingPointError(
            f"got an error above {self.tolerance:g} in {int(waiting.sum())} of {len(x)} rows after {self.most} parts "
            f"of the step from sigma {sigma:.4g} to {sigma_next:.4g}; expected a smooth denoiser; use heun, or more "
            "steps"
        )

    def _solved(
        self, denoise: Denoise, x: Tensor, slope: Tensor, sigma: float, sigma_next: float, parts: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """State and slope at sigma_next by so many equal parts of log sigma, and each row's largest error (B,)."""
        h, worst = math.log(sigma_next / sigma) / parts, x.new_zeros(len(x))
        for part in range(parts):
            slopes = [slope]
            for node, stage in zip(NODES[1:], STAGES[1:], strict=True):
                moved = x + h * _combine(stage, slopes)
                level = sigma_next if part + node == parts else sigma * math.exp(h * (part + node))
                slopes.append(moved - denoise(moved, level))
            scale = self.tolerance * (1 + torch.maximum(x.abs(), moved.abs()))
            error = (h * _combine(ERROR, slopes) / scale).flatten(1).square().mean(1).sqrt()
            worst = torch.maximum(worst, error.nan_to_num(math.inf))
            x, slope = moved, slopes[-1]
        return x, slope, worst
