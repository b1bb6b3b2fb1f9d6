"""Conjugate gradients stopped early, one solve a row."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from operators import cg

Linear = Callable[[Tensor], Tensor]
LEAST = 10  # roundings of the residual at which a row ends


def dot(a: Tensor, b: Tensor) -> Tensor:
    """<a, b> of each row, (B,)."""
    return (a * b).flatten(1).sum(1)


def squared(a: Tensor) -> Tensor:
    """<a, a> of each row, (B,)."""
    return dot(a, a)


class Goal(NamedTuple):
    """What may be left of a row's solve, of which whichever is met first.

    Attributes:
        energy: square of the error in standard deviations of the posterior, summed over the values.
        image: square of the image's error.
    """

    energy: float
    image: float = 0.0

    def met(self, energy: Tensor, image: Tensor) -> Tensor:
        """Whether so little is left of a row, (B,)."""
        return (energy <= self.energy) | (image <= self.image)


class System(NamedTuple):
    """A linear map, row by row, symmetric and positive in the inner product <a, D b>, whose solutions move an image.

    Attributes:
        dual: D; None for 1.
        precondition: M, an approximation of the inverse, symmetric in that inner product; None for 1.
        move: D p -> how a step along p moves the image.
        apply: (p, D p, the move) -> the map's image of p.
        curvature: the same -> <p, D apply(p)> of each row, (B,): all that the last iteration needs.
        left: <r, D M r> -> what is left, as `Goal` counts it, (B,) each; None where gains tell, M being near.
    """

    dual: Linear | None
    precondition: Linear | None
    move: Linear
    apply: Callable[[Tensor, Tensor, Tensor], Tensor]
    curvature: Callable[[Tensor, Tensor, Tensor], Tensor]
    left: Callable[[Tensor], tuple[Tensor, Tensor]] | None


def truncated_cg(
    apply: Linear,
    b: Tensor,
    iterations: int,
    tolerance: float | None = None,
    energy: Linear | None = None,
) -> Tensor:
    """`cg` with one solve a row of b (B, ...), stopped after a number of iterations on purpose and without a
    warning.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return cg(apply, b, b.ndim - 1, tolerance=tolerance, max_iterations=iterations, energy=energy)


def conjugate_gradients(system: System, b: Tensor, iterations: int, goal: Goal) -> tuple[Tensor, Tensor]:
    """z of apply(z) = b, and how it moves the image.

    Where nothing else tells what is left, the k-th iteration of a row is its last where (k + 1) / 2 times what it will
    gain, its length taken to be that of the one before, is within the goal: no more is left then where gains fall by
    half from one to the next, or with the cube of k.

    Args:
        system: what is solved.
        b: (B, ...).
        iterations: at most so many.
        goal: how much may be left of a row.

    Products and sums are kept apart: fused ones round by how rows lie in memory, and the iterations amplify that.

    Reference: Hestenes and Stiefel, 1952, theorem 6:1 for the error; with a preconditioner Golub and Van Loan, Matrix
        computations, section 11.5.
    """

    def by_row(values: Tensor, like: Tensor = b) -> Tensor:
        return values.reshape(-1, *(1,) * (like.ndim - 1))

    precondition, dual_of = system.precondition or _same, system.dual or _same
    residual, along = b, precondition(b)
    dual = dual_of(along)
    size = dot(residual, dual)
    least = (LEAST * torch.finfo(b.dtype).eps) ** 2 * size
    active, length, z, moved = size > 0, torch.ones_like(size), 0.0, 0.0
    for count in range(1, iterations + 1):
        if system.left is not None:
            active = active & ~goal.met(*system.left(size))
            if count > 1 and not bool(active.any()):
                break
        move, more = system.move(dual), 0.5 * (count + 1)
        if count == iterations:
            ending = active
        elif system.left is None:
            ending = active & goal.met(more * length * size, more * length.square() * squared(move))
        else:
            ending = torch.zeros_like(active)
        following = active & ~ending
        curvature = torch.zeros_like(size)
        if bool(ending.any()):  # as the form alone tells, whatever the other rows do
            curvature = system.curvature(along, dual, move)
        if bool(following.any()):
            image = system.apply(along, dual, move)
            curvature = torch.where(following, dot(image, dual), curvature)
        active = active & (curvature > 0)
        length = torch.where(active, size / torch.where(active, curvature, 1.0), 0.0)
        step = by_row(length)
        z, moved = z + step * along, moved + by_row(length, move) * move
        active = active & following
        if not bool(active.any()):
            break
        residual = residual - step * image
        fresh = precondition(residual)
        fresh_dual = dual_of(fresh)
        size, before = torch.where(active, dot(residual, fresh_dual), size), size
        active = active & (size > least)
        share = by_row(torch.where(active, size / torch.where(active, before, 1.0), 0.0))
        along = fresh + share * along
        dual = along if system.dual is None else fresh_dual + share * dual
    return z, moved


def _same(values: Tensor) -> Tensor:
    return values
