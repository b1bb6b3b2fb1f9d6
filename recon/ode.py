"""An adaptive Runge-Kutta solver in which every row of the batch has a step size of its own.

So a row's solution does not depend on its batch mates. Dormand and Prince's pair of orders 5 and 4 (A family of
embedded Runge-Kutta formulae, 1980): the difference of the two estimates the error of a step, the better one is kept.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Field = Callable[[Tensor, Tensor, Tensor], Tensor]

NODES = (0.0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)
STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0.0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
ERROR = (71 / 57600, 0.0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _combine(weights: tuple[float, ...], slopes: list[Tensor]) -> Tensor:
    return sum(w * k for w, k in zip(weights, slopes, strict=True) if w)


def rk45(
    field: Field, y: Tensor, start: float, end: float, rtol: float = 1e-4, atol: float = 1e-4, max_steps: int = 2000
) -> tuple[Tensor, Tensor]:
    """The solution at `end` of dy/dt = field with y at `start`, and the evaluations that each row took.

    Args:
        field: (y (R, n), t (R,), rows (R,)) -> dy/dt (R, n); `rows` are the places of the rows in the batch.
        y: (B, n).
        start, end: the same for all rows, in either order.
        rtol, atol: a step is kept where the root mean square of error / (atol + rtol |y|) is below 1.
        max_steps: steps, kept or not, after which a row is given up.

    Returns:
        (B, n), and (B,) int64.

    Raises:
        FloatingPointError: a row did not reach the end in `max_steps`, or stopped being finite.
    """
    y, span = y.clone(), end - start
    t = y.new_zeros(len(y), dtype=torch.float64)  # the share of the way that is done
    h = torch.full_like(t, 0.01)
    evaluations = torch.ones(len(y), dtype=torch.int64)
    rows = torch.arange(len(y), device=y.device)
    slope = span * field(y, torch.full_like(t, start).to(y), rows)  # per share of the way
    for _ in range(max_steps):
        rows = (t < 1).nonzero().flatten()
        if not len(rows):
            return y, evaluations
        now, step = y[rows], torch.minimum(h[rows], 1 - t[rows])
        slopes = [slope[rows]]
        for node, weights in zip(NODES[1:], STAGES[1:], strict=True):
            moved = now + step.to(y)[:, None] * _combine(weights, slopes)
            slopes.append(span * field(moved, (start + span * (t[rows] + node * step)).to(y), rows))
        scale = atol + rtol * torch.maximum(now.abs(), moved.abs())
        error = (step.to(y)[:, None] * _combine(ERROR, slopes) / scale).square().mean(1).sqrt().double()
        good = error <= 1
        kept = rows[good]
        y[kept], slope[kept] = moved[good], slopes[-1][good]
        t[kept] = torch.where(step[good] >= 1 - t[kept], 1.0, t[kept] + step[good])
        evaluations[rows.cpu()] += 6
        # an error that is not finite is no good step (above), and calls for the shortest next one
        h[rows] = step * (0.9 * error.clamp(min=1e-10) ** -0.2).nan_to_num(0.2).clamp(0.2, 5.0)
    raise FloatingPointError(
        f"got {int((t < 1).sum())} of {len(y)} rows that did not reach the end in {max_steps} steps, the first at "
        f"t = {start + span * float(t.min()):.4g}; expected all; allow a larger error"
    )
