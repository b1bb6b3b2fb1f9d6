"""The one loop that every method runs through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon.condition import Denoise
from recon.moves import Move
from recon.noise import Noise
from recon.steps import Step


@dataclass(frozen=True)
class Method:
    """All that a run needs: the (conditioned) denoiser, the noise levels, the solver, and what follows each step."""

    denoise: Denoise
    sigmas: list[float]
    step: Step
    moves: tuple[Move, ...] = ()


def sample(
    denoise: Denoise,
    x: Tensor,
    sigmas: Sequence[float],
    step: Step,
    moves: Sequence[Move],
    noise: Noise,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Tensor:
    """The state after the last level: for each pair of levels one step, then the moves at the new level.

    Args:
        denoise: (x, sigma) -> E[x0 | x], conditioned or not.
        x: start at level sigmas[0], (B, *event).
        sigmas: noise levels, mostly falling, usually to 0.
        step, moves: see `recon.steps` and `recon.moves`.
        noise: source of unit noise, see `recon.noise`.
        callback: called after each level with its number and the state.

    Raises:
        FloatingPointError: the state stopped being finite; the message names step, level and rows.
    """
    for i, (sigma, sigma_next) in enumerate(zip(sigmas, sigmas[1:], strict=False)):
        x = step(denoise, x, sigma, sigma_next, noise)
        for move in moves:
            x = move(denoise, x, sigma_next, noise)
        if not bool(torch.isfinite(x.sum()) or torch.isfinite(x).all()):  # a sum that is finite tells at once
            rows = (~torch.isfinite(x.flatten(1)).all(1)).nonzero().flatten().tolist()
            raise FloatingPointError(
                f"got a state that is not finite at step {i + 1} of {len(sigmas) - 1} (sigma {sigma:.4g} to "
                f"{sigma_next:.4g}), rows {rows[:8]}; expected finite values; use more steps, or check "
                "the noise level and the units of the data"
            )
        if callback:
            callback(i + 1, x)
    return x
