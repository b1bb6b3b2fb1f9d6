"""Conjugate gradients stopped early, one solve a row."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from operators import cg

Linear = Callable[[Tensor], Tensor]


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, (B,)."""
    return (a * b).flatten(1).sum(1)


def squared(a: Tensor) -> Tensor:
    """<a, a> of each row, (B,)."""
    return dot(a, a)


def truncated_cg(
    apply: Linear,
    b: Tensor,
    iterations: int,
    tolerance: float | None = None,
    whole: Tensor | None = None,
    energy: Linear | None = None,
) -> Tensor:
    """`cg` with one solve a row of b (B, ...), stopped after a number of iterations on purpose and without a
    warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return cg(apply, b, b.ndim - 1, tolerance=tolerance, max_iterations=iterations, whole=whole,
                  energy=energy)  # fmt: skip


def weighted_cg(
    information: Linear,
    spread: Linear,
    precondition: Linear,
    energy: Callable[[Tensor], Tensor],
    b: Tensor,
    iterations: int,
    goal: float,
) -> tuple[Tensor, Tensor]:
    """v and C v of v + G C v = b, which is symmetric in the inner product <a, C b>.

    Args:
        information: G, symmetric positive semidefinite, row by row.
        spread: C, likewise.
        precondition: an approximation of (1 + G C)^-1, symmetric in that inner product.
        energy: <a, G a> of each row, (B,): all that the last iteration needs of G a.
        b: (B, ...).
        iterations: at most so many.
        goal: a row is left as it is once the square of its error is estimated to be at most this, summed over the
            values, in standard deviations of the posterior of which C v is the mean.

    Products and sums are kept apart: fused ones round by how rows lie in memory, and the iterations amplify that.

    Reference: Hestenes and Stiefel, 1952; with a preconditioner Golub and Van Loan, Matrix computations, section 11.5.
    """

    def by_row(values: Tensor) -> Tensor:
        return values.reshape(-1, *(1,) * (b.ndim - 1))

    v, moved, residual = torch.zeros_like(b), torch.zeros_like(b), b
    along = precondition(residual)
    along_spread = spread(along)
    size = dot(residual, along_spread)
    for left in reversed(range(iterations)):
        if not bool((size > goal).any()):
            break
        if left:
            image = along + information(along_spread)
            curvature = dot(image, along_spread)
        else:
            curvature = dot(along, along_spread) + energy(along_spread)
        active = (size > goal) & (curvature > 0)
        length = by_row(torch.where(active, size / torch.where(active, curvature, 1.0), 0.0))
        v, moved = v + length * along, moved + length * along_spread
        if not left:
            break
        residual = residual - length * image
        fresh = precondition(residual)
        fresh_spread = spread(fresh)
        size, before = torch.where(active, dot(residual, fresh_spread), size), size
        share = by_row(torch.where(active, size / torch.where(active, before, 1.0), 0.0))
        along, along_spread = fresh + share * along, fresh_spread + share * along_spread
    return v, moved
