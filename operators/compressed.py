"""Compressed sensing: fewer data than pixels, each a sum over the whole image with random weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from operators.basic import Dense
from operators.checks import fault, finite_float, image_shape, real_array
from operators.linear import LinearOperator

LARGEST = 2**27  # entries of a dense matrix: 1 GiB in float64


class ScrambledHadamard(LinearOperator):
    """y = the chosen rows of H (signs x), H orthonormal: random signs, a fast Walsh-Hadamard transform, a choice.

    Args:
        signs: (H, W) of 1 and -1.
        rows: (m,) whole numbers below the least power of two that is no smaller than H W. The image is filled up
            with zeros to that size.
    """

    def __init__(self, signs: np.ndarray, rows: np.ndarray) -> None:
        super().__init__(signs.shape, (rows.size,))
        self.size = _power_of_two(signs.size)
        self.register_buffer("signs", torch.from_numpy(signs.astype(np.int8)), persistent=False)
        self.register_buffer("rows", torch.from_numpy(rows), persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        flat = (x * self.constant("signs", x)).flatten(-2)
        filled = torch.nn.functional.pad(flat, (0, self.size - flat.shape[-1]))
        return walsh_hadamard(filled)[..., self.constant("rows", x)]

    def _adjoint(self, y: Tensor) -> Tensor:
        spectrum = y.new_zeros((*y.shape[:-1], self.size)).index_copy(-1, self.constant("rows", y), y)
        flat = walsh_hadamard(spectrum)[..., : math.prod(self.in_shape)]
        return flat.unflatten(-1, self.in_shape) * self.constant("signs", y)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return u / (1.0 + rho) if self.orthonormal_rows else super()._gram_solve(u, rho)

    @property
    def closed_form(self) -> bool:
        return self.orthonormal_rows

    @property
    def orthonormal_rows(self) -> bool:
        """Whether no filling was needed."""
        return self.size == math.prod(self.in_shape)


def walsh_hadamard(x: Tensor) -> Tensor:
    """The orthonormal Walsh-Hadamard transform along the last axis, a power of two long; its own inverse.

    In natural order: the matrix is (1, 1; 1, -1) / sqrt(2), to the Kronecker power.
    """
    size = x.shape[-1]
    span = 1
    while span < size:
        upper, lower = x.unflatten(-1, (size // (2 * span), 2, span)).unbind(-2)
        x = torch.stack([upper + lower, upper - lower], dim=-2).flatten(-3)
        span *= 2
    return x / math.sqrt(size)


def hadamard(
    shape: Sequence[int],
    ratio: float = 0.25,
    signs: np.ndarray | Tensor | None = None,
    rows: np.ndarray | Tensor | None = None,
    seed: int = 0,
) -> ScrambledHadamard:
    """Compressed sensing by a scrambled Hadamard transform, as of a camera with one pixel; fast at any size.

    Args:
        shape: (H, W) of the image. Where H W is a power of two, A A^H = I.
        ratio: Data for each pixel, in (0, 1]; round(ratio H W) data.
        signs: (H, W) of 1 and -1; by default random.
        rows: (m,) which coefficients are measured, by default round(ratio H W) random ones; takes the place of ratio.
        seed: Of what is random.

    Returns:
        The operator, (..., H, W) to (..., m), for each channel by itself.

    Raises:
        ValueError: an argument is out of range or of another shape.

    Reference: Do, Gan, Nguyen and Tran, "Fast and efficient compressive sensing using structurally random matrices",
        2012.
    """
    shape = image_shape(shape)
    rng, size = np.random.default_rng(seed), math.prod(shape)
    length = _power_of_two(size)
    drawn_signs, order = rng.choice([-1, 1], shape), rng.permutation(length)
    if rows is None:
        rows = np.sort(order[: _count(ratio, size)])
    else:
        rows = real_array("rows", rows)
        whole = rows.ndim == 1 and (rows == np.floor(rows)).all() and len(np.unique(rows)) == rows.size
        if not whole or rows.min() < 0 or rows.max() >= length:
            raise fault("rows", f"an array of shape {rows.shape}", f"different whole numbers from 0 to {length - 1}",
                        "give the numbers of the coefficients measured")
    signs = drawn_signs if signs is None else real_array("signs", signs)
    if signs.shape != shape or not (np.abs(signs) == 1).all():
        raise fault("signs", f"an array of shape {signs.shape}", f"1 and -1 of shape {shape}", "draw a sign a pixel")
    rows, signs = rows.astype(np.int64), signs.astype(np.int64)
    operator = ScrambledHadamard(signs, rows)
    parameters = {"shape": list(shape), "signs": signs, "rows": rows}
    operator.spec = {"name": "hadamard", "parameters": parameters}
    return operator


def random_projection(
    shape: Sequence[int], ratio: float = 0.25, matrix: np.ndarray | Tensor | None = None, seed: int = 0
) -> Dense:
    """Compressed sensing by a dense matrix of independent normal entries of variance 1 / m, for small images.

    Args:
        shape: (H, W) of the image.
        ratio: Data for each pixel, in (0, 1]; m = round(ratio H W) data.
        matrix: (m, H W), takes the place of ratio and seed.
        seed: Of the matrix.

    Returns:
        The operator, (..., H, W) to (..., m), for each channel by itself; solves are exact.

    Raises:
        ValueError: the matrix would have more than 2^27 entries, or an argument is out of range.

    Reference: Candes and Tao, "Near-optimal signal recovery from random projections", 2006.
    """
    shape = image_shape(shape)
    size = math.prod(shape)
    if matrix is None:
        count = _count(ratio, size)
        if count * size > LARGEST:
            raise fault("random_projection", f"a matrix of {count} x {size}", f"at most {LARGEST} entries",
                        "take the operator 'hadamard', which stores none")
        matrix = np.random.default_rng(seed).standard_normal((count, size)) / math.sqrt(count)
    matrix = real_array("matrix", matrix)
    if matrix.ndim != 2 or matrix.shape[1] != size:
        raise fault("matrix", f"shape {matrix.shape}", f"(data, {size}) for images {shape}", "transpose it, or resize")
    operator = Dense(torch.from_numpy(matrix), shape, matrix.shape[:1])
    operator.spec = {"name": "random_projection", "parameters": {"shape": list(shape), "matrix": matrix}}
    return operator


def _count(ratio: float, size: int) -> int:
    share = finite_float("ratio", ratio, low=0.0, above=True)
    if share > 1.0:
        raise fault("ratio", ratio, "a share in (0, 1]", f"divide a percentage by 100: ratio={share / 100:g}")
    return max(1, round(share * size))


def _power_of_two(size: int) -> int:
    return 1 << (size - 1).bit_length()
