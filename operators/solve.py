"""Iterative linear algebra for batches: conjugate gradients and the power iteration.

Everything that steers an iteration (step length, stopping) is kept per sample, so that a result never
depends on its batch mates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from operators.checks import finite_float, positive_int

TOLERANCE = {torch.float64: 1e-12}
SINGLE_TOLERANCE = 1e-6


def cg(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    event_axes: int,
    tolerance: float | None = None,
    max_iterations: int = 2000,
) -> Tensor:
    """Solve apply(z) = b by conjugate gradients, one independent solve per sample.

    Args:
        apply: A symmetric positive (semi-)definite linear map that treats samples independently.
        b: Right-hand sides (*batch, *event). For a semi-definite map they must lie in its range.
        event_axes: Number of last axes that form one sample; all axes before are batch.
        tolerance: A sample stops once |b - apply(z)| <= tolerance |b|. Default 1e-12 in float64, else 1e-6.
        max_iterations: Bound on the calls of `apply`; a warning says so if it is reached.

    Returns:
        z, of the shape of b. Zero right-hand sides give exact zeros.

    Reference: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    tolerance = TOLERANCE.get(b.dtype, SINGLE_TOLERANCE) if tolerance is None else tolerance
    finite_float("tolerance", tolerance, low=0.0, above=True)
    positive_int("max_iterations", max_iterations)
    axes = tuple(range(b.ndim - event_axes, b.ndim))

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(dim=axes, keepdim=True)

    # A power of two brings each right-hand side near 1: tiny ones must not underflow when squared, and
    # scaling by a power of two rounds nothing.
    peak = b.detach().abs().amax(dim=axes, keepdim=True)
    unit = torch.where(peak > 0, torch.exp2(torch.floor(torch.log2(peak))), 1.0)
    r = b / unit
    z = 0.0 * b  # and not zeros: a NaN in b must show in the result
    p = r
    rr = dot(r, r)
    goal = tolerance**2 * rr
    smallest, flat = torch.finfo(b.dtype).tiny, 8 * torch.finfo(b.dtype).eps
    steepest = torch.zeros_like(rr)
    active = rr > goal
    for _ in range(max_iterations):
        if not bool(active.any()):
            return z * unit
        q = apply(p)
        curvature = dot(p, q)
        # A direction that the map (nearly) annihilates is rounding outside its range: following it would blow
        # up, and nothing is left to gain. It is known by its curvature against the largest one seen.
        pp = dot(p, p)
        steepest = torch.maximum(steepest, curvature / pp.clamp_min(smallest))
        active = active & (curvature > flat * steepest * pp)
        alpha = torch.where(active, rr / torch.where(active, curvature, 1.0), 0.0)
        z = z + alpha * p
        r = r - alpha * q
        rr_next = dot(r, r)
        p = torch.where(active, r + (rr_next / torch.where(active, rr, 1.0)) * p, p)
        rr = torch.where(active, rr_next, rr)
        active = active & (rr > goal)
    if bool(active.any()):
        left = tolerance * (rr[active] / goal[active]).amax().sqrt().item()
        warnings.warn(
            f"conjugate gradients: got a relative residual of {left:.1e} after {max_iterations} iterations; "
            f"expected {tolerance:.1e}; the problem is ill-conditioned, so raise rho or accept it",
            RuntimeWarning, stacklevel=2,
        )
    return z * unit


def operator_norm(A, iterations: int = 200, tolerance: float = 1e-4, seed: int = 0) -> float:
    """Largest singular value |A|, by power iteration on A^H A.

    Args:
        A: A linear operator with `in_shape`, `forward` and `adjoint`.
        iterations: Most iterations taken.
        tolerance: Stop when the estimate grows by less than this share in one iteration.
        seed: Of the random start.

    Returns:
        An estimate from below. Step sizes built on it should leave a margin of a percent.
    """
    where = next(A.buffers(), torch.empty(0))
    start = torch.randn(A.in_shape, generator=torch.Generator().manual_seed(seed))
    v = start.to(where.device)
    norm = 0.0
    with torch.no_grad():
        for _ in range(iterations):
            v = v / v.norm()
            w = A(v)
            last, norm = norm, w.norm().item()
            if norm == 0.0 or norm - last <= tolerance * norm:
                break
            v = A.adjoint(w)
    return norm


def damped_inverse(eigenvalues: Tensor, rho: Tensor, largest: float | Tensor = 1.0) -> Tensor:
    """1 / (eigenvalues + rho), the eigenvalues of (A A^H + rho I)^-1, given those of A A^H.

    At rho = 0 this is the pseudo-inverse: zero for eigenvalues that rounding cannot tell from zero, which are
    those whose roots (the singular values) are below 16 machine epsilons of the largest.

    Args:
        eigenvalues: Of A A^H, zero or more, broadcastable with rho.
        rho: Zero or more.
        largest: The largest eigenvalue.
    """
    floor = (16 * torch.finfo(eigenvalues.dtype).eps) ** 2 * largest
    total = torch.where((rho > 0) | (eigenvalues > floor), eigenvalues + rho, torch.inf)
    return 1.0 / total
