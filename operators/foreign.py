"""Operators from elsewhere: two functions, or scipy; and ours for scipy's solvers.

All are differentiable whatever they are made of, because backpropagation calls the adjoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.sparse
import torch
from scipy.sparse.linalg import LinearOperator as ScipyOperator
from scipy.sparse.linalg import aslinearoperator
from torch import Tensor

from operators.checks import fault, shape_of
from operators.linear import FromFunctions, LinearOperator
from operators.sparse import SparseMatrix, matched


def from_functions(
    forward: Callable[[Tensor], Tensor],
    adjoint: Callable[[Tensor], Tensor],
    in_shape: Sequence[int],
    out_shape: Sequence[int],
) -> LinearOperator:
    """The linear operator of two functions; `operators.check` says whether they fit each other.

        A = operators.from_functions(lambda x: x[..., ::2, :], put_rows_back, (64, 64), (32, 64))

    Args:
        forward: (..., *in_shape) to (..., *out_shape), for any batch axes in front, in the dtype of its argument. May
            compute outside torch; gradients come from the adjoint.
        adjoint: The other way, exactly matched.
        in_shape, out_shape: Without batch axes.

    Raises:
        TypeError: forward or adjoint cannot be called (perhaps the shapes came first).
    """
    for name, function in (("forward", forward), ("adjoint", adjoint)):
        if not callable(function):
            raise TypeError(f"{name}: got {type(function).__name__}; expected a function; "
                            "the order is forward, adjoint, in_shape, out_shape")
    return FromFunctions(in_shape, out_shape, lambda x: matched(x, forward, adjoint),
                         lambda y: matched(y, adjoint, forward))


def from_scipy(
    matrix: ScipyOperator | scipy.sparse.sparray | scipy.sparse.spmatrix | np.ndarray,
    in_shape: Sequence[int],
    out_shape: Sequence[int],
) -> LinearOperator:
    """A scipy LinearOperator, or a sparse or dense matrix, as ours.

    Sparse matrices become a `SparseMatrix`, which runs on any device. All else is called on the CPU, one column for
    each image of the batch, in its own precision.

    Args:
        matrix: (out_size, in_size), real; a LinearOperator needs rmatvec or rmatmat.
        in_shape: Shape of x, in_size elements in row-major order.
        out_shape: Shape of y, out_size elements in row-major order.

    Raises:
        ValueError: the matrix is complex, or its sizes do not fit the shapes.
    """
    in_shape, out_shape = shape_of("in_shape", in_shape), shape_of("out_shape", out_shape)
    sizes = (math.prod(out_shape), math.prod(in_shape))
    dtype = np.dtype(np.float64 if matrix.dtype is None else matrix.dtype)
    if dtype.kind == "c":
        raise fault("matrix", f"dtype {dtype}", "a real matrix", "give it as [[real, -imaginary], [imaginary, real]]")
    if tuple(matrix.shape) != sizes:
        raise fault("matrix", f"shape {tuple(matrix.shape)}",
                    f"(out_size, in_size) = {sizes} for {in_shape} -> {out_shape}",
                    "transpose it (.T, .H) or correct the shapes")
    working = dtype if dtype.kind == "f" else np.dtype(np.float64)
    if scipy.sparse.issparse(matrix):
        return SparseMatrix(scipy.sparse.csr_matrix(matrix, dtype=working), in_shape, out_shape)
    linear = aslinearoperator(matrix)

    def times(apply: Callable[[np.ndarray], np.ndarray], before: tuple, after: tuple) -> Callable[[Tensor], Tensor]:
        def call(x: Tensor) -> Tensor:
            columns = x.detach().cpu().numpy().astype(working).reshape(-1, math.prod(before)).T
            result = np.ascontiguousarray(apply(columns).T)
            return torch.from_numpy(result).to(x).reshape(x.shape[: x.ndim - len(before)] + after)

        return call

    return from_functions(times(linear.matmat, in_shape, out_shape), times(linear.rmatmat, out_shape, in_shape),
                          in_shape, out_shape)


def to_scipy(A: LinearOperator, dtype: torch.dtype = torch.float64) -> ScipyOperator:
    """A as a scipy LinearOperator (out_size, in_size), for scipy's solvers: lsqr(to_scipy(A), y.ravel()).

    Args:
        A: Any linear operator; it is applied where its constants are, without gradients.
        dtype: In which to compute; torch.float32 or torch.float64.
    """
    device = next(A.buffers(), torch.empty(0)).device
    empty = np.dtype(str(dtype).removeprefix("torch."))

    def times(apply: Callable[[Tensor], Tensor], before: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
        def call(columns: np.ndarray) -> np.ndarray:
            flat = columns.reshape(len(columns), -1)
            batch = torch.from_numpy(np.ascontiguousarray(flat.T)).to(device, dtype)
            with torch.no_grad():
                result = apply(batch.unflatten(1, before)).flatten(1).T.cpu().numpy()
            return result if columns.ndim == 2 else result[:, 0]

        return call

    forward, adjoint = times(A, A.in_shape), times(A.adjoint, A.out_shape)
    return ScipyOperator((math.prod(A.out_shape), math.prod(A.in_shape)), matvec=forward, rmatvec=adjoint,
                         matmat=forward, rmatmat=adjoint, dtype=empty)
