"""Conjugate gradients stopped early, one solve a row."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from operators import cg

Linear = Callable[[Tensor], Tensor]
SHARE = 0.01  # of the square of all there is to find, that may be left


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, (B,)."""
    return (a * b).flatten(1).sum(1)


def squared(a: Tensor) -> Tensor:
    """<a, a> of each row, (B,)."""
    return dot(a, a)


class Goal(NamedTuple):
    """The square of an error that may be left, summed over the values, in standard deviations of the posterior: a share
    of the square of all there is to find, but at least and at most so much.
    """

    least: float
    most: float

    def of(self, whole: Tensor) -> Tensor:
        """For the square of all there is to find, (B,)."""
        return (SHARE * whole).clamp(self.least, self.most)


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
    goal: Goal,
) -> tuple[Tensor, Tensor]:
    """v and C v of v + G C v = b, which is symmetric in the inner product <a, C b>.

    An iteration lessens the square of the error by its length times the size of the residual. The k-th of a row is its
    last where (k + 1) / 2 times what it will gain, its length taken to be that of the one before, is within the goal:
    no more is left then where gains fall by half from one to the next, or with the cube of k.

    Args:
        information: G, symmetric positive semidefinite, row by row.
        spread: C, likewise.
        precondition: an approximation of (1 + G C)^-1, symmetric in that inner product.
        energy: <a, G a> of each row, (B,): all that the last iteration needs of G a.
        b: (B, ...).
        iterations: at most so many.
        goal: how much may be left of a row.

    Products and sums are kept apart: fused ones round by how rows lie in memory, and the iterations amplify that.

    Reference: Hestenes and Stiefel, 1952, theorem 6:1 for the error; with a preconditioner Golub and Van Loan, Matrix
        computations, section 11.5.
    """

    def by_row(values: Tensor) -> Tensor:
        return values.reshape(-1, *(1,) * (b.ndim - 1))

    v, moved, residual = torch.zeros_like(b), torch.zeros_like(b), b
    along = precondition(residual)
    along_spread = spread(along)
    size = dot(residual, along_spread)
    active, length, enough = size > 0, torch.ones_like(size), goal.of(size)
    for count in range(1, iterations + 1):
        ending = active & (0.5 * (count + 1) * length * size <= enough) if count < iterations else active
        following = active & ~ending
        curvature = torch.zeros_like(size)
        if bool(ending.any()):  # as half a product tells, whatever the other rows do
            curvature = dot(along, along_spread) + energy(along_spread)
        if bool(following.any()):
            image = along + information(along_spread)
            curvature = torch.where(following, dot(image, along_spread), curvature)
        active = active & (curvature > 0)
        length = torch.where(active, size / torch.where(active, curvature, 1.0), 0.0)
        v, moved = v + by_row(length) * along, moved + by_row(length) * along_spread
        active = active & following
        if not bool(active.any()):
            break
        residual = residual - by_row(length) * image
        fresh = precondition(residual)
        fresh_spread = spread(fresh)
        size, before = torch.where(active, dot(residual, fresh_spread), size), size
        share = by_row(torch.where(active, size / torch.where(active, before, 1.0), 0.0))
        along, along_spread = fresh + share * along, fresh_spread + share * along_spread
    return v, moved
