"""What can be learnt of a linear operator by applying it: the dot test, its matrix, its norm."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from operators.linear import LinearOperator


def dot_test(A: LinearOperator, dtype: torch.dtype = torch.float64, seed: int = 0) -> float:
    """|<A x, y> - <x, A^H y>| / (|A x| |y|) for unit normal x and y: zero but for rounding, if A is right."""
    generator = torch.Generator().manual_seed(seed)
    device = next(A.buffers(), torch.empty(0)).device
    x = torch.randn(A.in_shape, generator=generator, dtype=torch.float64).to(device, dtype)
    y = torch.randn(A.out_shape, generator=generator, dtype=torch.float64).to(device, dtype)
    with torch.no_grad():
        Ax, Ahy = A(x).double(), A.adjoint(y).double()
    x, y = x.double(), y.double()
    gap = (Ax * y).sum() - (x * Ahy).sum()
    return (gap.abs() / (Ax.norm() * y.norm()).clamp_min(torch.finfo(torch.float64).tiny)).item()


def dense_matrix(A: LinearOperator, dtype: torch.dtype = torch.float64) -> Tensor:
    """The matrix of A, (out_size, in_size), by applying A to each unit image; for small operators."""
    device = next(A.buffers(), torch.empty(0)).device
    units = torch.eye(math.prod(A.in_shape), dtype=dtype, device=device)
    with torch.no_grad():
        return A(units.unflatten(1, A.in_shape)).flatten(1).T.contiguous()


def operator_norm(A: LinearOperator, iterations: int = 200, tolerance: float = 1e-4, seed: int = 0) -> float:
    """Largest singular value |A|, by power iteration on A^H A.

    Args:
        A: A linear operator.
        iterations: Most iterations taken.
        tolerance: Stop when the estimate grows by less than this share in one iteration.
        seed: Of the random start.

    Returns:
        An estimate from below. Step sizes built on it should leave a margin of a percent.
    """
    where = next(A.buffers(), torch.empty(0))
    start = torch.randn((*A.lead, *A.in_shape), generator=torch.Generator().manual_seed(seed))
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
