"""Linear algebra for batches: conjugate gradients, conjugate residuals, damped inverses.

Everything that steers an iteration (step length, stopping) is kept per sample, so that a result never
depends on its batch mates.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from operators.checks import finite_float

TOLERANCE = {torch.float64: 1e-12}
SINGLE_TOLERANCE = 1e-6
LIMIT = 1000


def cg(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    event_axes: int,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    energy: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Solve apply(z) = b by conjugate gradients, one independent solve per sample.

    After any number of iterations z has the least energy error <z - z*, apply(z - z*)> of its Krylov space,
    but not the least residual: on ill-conditioned problems rounding can make it diverge. See
    `conjugate_residuals`.

    Args:
        apply: A symmetric positive definite linear map that treats samples independently.
        b: Right-hand sides (*batch, *event).
        event_axes: Number of last axes that form one sample; all axes before are batch.
        tolerance: A sample stops once |b - apply(z)| <= tolerance |b|. Default 1e-12 in float64, else 1e-6.
        max_iterations: Most calls of `apply`. Default 1000, with a warning if they do not suffice.
        energy: <p, apply(p)> of each sample, as a sum over the event's axes that keeps them; with max_iterations it
            is all that the last of them needs of apply(p), and is asked for in its place.

    Returns:
        z, of the shape of b. Zero right-hand sides give exact zeros.

    Reference: Hestenes and Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.
    """
    dot, unit, tolerance = _prepare(b, event_axes, tolerance)
    r = b / unit
    p, rr = r, dot(r, r)
    z = 0.0 * (r + rr)  # and not zeros: a NaN in b must show in all of its sample
    goal = tolerance**2 * rr
    active = rr > goal
    for left in reversed(range(LIMIT if max_iterations is None else max_iterations)):
        if not bool(active.any()):
            break
        if energy is not None and max_iterations is not None and not left:
            curvature = energy(p)
            z = z + _ratio(rr, curvature, active & (curvature > 0)) * p
            break
        q = apply(p)
        curvature = dot(p, q)
        active = active & (curvature > 0)
        alpha = _ratio(rr, curvature, active)
        z = z + alpha * p
        r = r - alpha * q
        previous, rr = rr, torch.where(active, dot(r, r), rr)
        p = r + _ratio(rr, previous, active) * p
        active = active & (rr > goal)
    _report(active, rr, goal, tolerance, max_iterations)
    return z * unit


def conjugate_residuals(
    apply: Callable[[Tensor], Tensor],
    b: Tensor,
    event_axes: int,
    tolerance: float | None = None,
    max_iterations: int | None = None,
) -> Tensor:
    """Solve apply(z) = b by conjugate residuals, one independent solve per sample.

    As `cg`, and at its cost, but each iterate has the least residual of its Krylov space, so the residual
    never grows: safe where the problem is too ill-conditioned for the dtype.

    Reference: Stiefel, "Relaxationsmethoden bester Strategie zur Loesung linearer Gleichungssysteme", 1955.
    """
    dot, unit, tolerance = _prepare(b, event_axes, tolerance)
    r = b / unit
    s = apply(r)
    p, q = r, s
    rr, rs = dot(r, r), dot(r, s)
    z = 0.0 * (r + rr)
    goal = tolerance**2 * rr
    active = rr > goal
    for _ in range(LIMIT if max_iterations is None else max_iterations):
        active = active & (rs > 0)
        if not bool(active.any()):
            break
        alpha = _ratio(rs, dot(q, q), active)
        z = z + alpha * p
        r = r - alpha * q
        s = apply(r)
        previous, rs = rs, torch.where(active, dot(r, s), rs)
        beta = _ratio(rs, previous, active)
        p = torch.where(active, r + beta * p, p)
        q = torch.where(active, s + beta * q, q)
        rr = torch.where(active, dot(r, r), rr)
        active = active & (rr > goal)
    _report(active, rr, goal, tolerance, max_iterations)
    return z * unit


def least_squares(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    y: Tensor,
    tolerance: float | None = None,
    max_iterations: int | None = None,
    damping: float | Tensor = 0.0,
) -> Tensor:
    """The x of least norm that minimises |y - A x|^2 + damping |x|^2, by conjugate gradients on the factors (CGLS).

    The normal equations are never formed, so the condition of A amplifies rounding and not its square.

    Args:
        forward: A, (*batch, n) to (*batch, m), which treats samples independently.
        adjoint: A^H, (*batch, m) to (*batch, n).
        y: (*batch, m); need not lie in the range of A.
        tolerance: A sample stops once |r| <= tolerance |y| or |A^H r| <= tolerance |A| |r|, r = y - A x (with
            damping, of the matrix A above sqrt(damping) I). Default 1e-12 in float64, else 1e-6.
        max_iterations: Default 1000, with a warning if they do not suffice.
        damping: Zero or more; a number, or a tensor that broadcasts to (*batch, 1).

    Returns:
        x, (*batch, n).

    Reference: Paige and Saunders, "LSQR: an algorithm for sparse linear equations and sparse least squares",
        1982, section 7.1, and the stopping rules of section 6.
    """
    dot, unit, tolerance = _prepare(y, 1, tolerance)
    r = y / unit
    s = adjoint(r)
    p, ss, rr = s, dot(s, s), dot(r, r)
    x = 0.0 * (s + rr)
    enough = tolerance**2 * rr
    goal, norm = torch.zeros_like(ss), torch.zeros_like(ss)
    active = ss > 0
    for _ in range(LIMIT if max_iterations is None else max_iterations):
        q = forward(p)
        pp = dot(p, p)
        qq = dot(q, q) + damping * pp
        norm = torch.maximum(norm, _ratio(qq, pp, active))
        goal = torch.where(rr > enough, tolerance**2 * norm * rr, ss)
        active = active & (ss > goal) & (qq > 0)
        if not bool(active.any()):
            break
        alpha = _ratio(ss, qq, active)
        x = x + alpha * p
        r = r - alpha * q
        s = adjoint(r) - damping * x
        previous, ss = ss, torch.where(active, dot(s, s), ss)
        rr = torch.where(active, dot(r, r) + damping * dot(x, x), rr)
        p = torch.where(active, s + _ratio(ss, previous, active) * p, p)
    _report(active, ss, goal, tolerance, max_iterations)
    return x * unit


def _prepare(b: Tensor, event_axes: int, tolerance: float | None) -> tuple[Callable, Tensor, float]:
    """The inner product of each sample, a power of two near the size of each of b, and the tolerance."""
    tolerance = TOLERANCE.get(b.dtype, SINGLE_TOLERANCE) if tolerance is None else tolerance
    finite_float("tolerance", tolerance, low=0.0, above=True)
    axes = tuple(range(b.ndim - event_axes, b.ndim))

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(dim=axes, keepdim=True)

    # Squares of tiny right-hand sides would underflow; scaling by a power of two rounds nothing.
    peak = b.detach().abs().amax(dim=axes, keepdim=True)
    return dot, torch.where(peak > 0, torch.exp2(torch.floor(torch.log2(peak))), 1.0), tolerance


def _ratio(above: Tensor, below: Tensor, active: Tensor) -> Tensor:
    """above / below where active, else 0."""
    return torch.where(active, above / torch.where(active, below, 1.0), 0.0)


def _report(active: Tensor, rr: Tensor, goal: Tensor, tolerance: float, max_iterations: int | None) -> None:
    """Warn if the default number of iterations was used up; one that the caller chose is meant."""
    if max_iterations is not None or not bool(active.any()):
        return
    left = tolerance * (rr[active] / goal[active]).amax().sqrt().item()
    warnings.warn(
        f"iterative solve: got a relative residual of {left:.1e} after {LIMIT} iterations; "
        f"expected {tolerance:.1e}; the problem is ill-conditioned, so raise rho or accept it",
        RuntimeWarning, stacklevel=3,
    )


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
