"""The Fourier transform at any points of k-space, by gridding.

The image is divided by the transform of a Kaiser-Bessel kernel and transformed on a grid twice as fine; each datum is a
kernel-weighted sum of the grid points around it. What the kernel cannot hold back of the grid's replicas is the only
error, and it is equal in the adjoint, which is exact.

Reference: Fessler and Sutton, "Nonuniform fast Fourier transforms using min-max interpolation", 2003; the kernel's
shape is that of Beatty et al., "Rapid gridding reconstruction with a minimal oversampling ratio", 2005, eq. 5.
"""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse
import torch
from scipy.fft import next_fast_len
from scipy.special import i0
from torch import Tensor
from torch.nn.functional import pad

from operators.channels import to_channels, to_complex
from operators.checks import fault
from operators.each import Each
from operators.linear import LinearOperator
from operators.sparse import SparseMatrix

WIDTH = 8  # of the kernel in grid points
OVERSAMPLING = 2
AXES = (-2, -1)


def nonuniform_fourier(shape: tuple[int, int], trajectory: np.ndarray) -> LinearOperator:
    """y[s] = (H W)^(-1/2) sum over n of x[n] exp(-2 pi i k[s] . (n - c)), c = (H // 2, W // 2).

    On the points of the Cartesian grid this is the centred orthonormal transform. The relative error is about 1e-7.

    Args:
        shape: (H, W).
        trajectory: k, (shots, samples, 2), float64, cycles per pixel, (row, column).

    Returns:
        The operator, (2, H, W) to (2, shots, samples), real and imaginary part first.

    Raises:
        ValueError: the interpolation takes more than 2^31 - 1 weights.
    """
    entries = trajectory[..., 0].size * WIDTH**2
    if entries > 2**31 - 1:
        raise fault("trajectory", f"{trajectory[..., 0].size:.1e} points", f"at most {(2**31 - 1) // WIDTH**2:.1e}",
                    "split the shots between several operators")
    grid = tuple(next_fast_len(OVERSAMPLING * n, real=False) for n in shape)
    return Each((2,), _gridding(grid, trajectory)) @ OversampledFourier(shape, grid)


class OversampledFourier(LinearOperator):
    """The transform on a finer grid, of the image divided by the kernel's transform: (2, H, W) to (2, *grid).

    Args:
        shape: (H, W).
        grid: Size of the grid along both axes. Its origin is at index (0, 0).
    """

    def __init__(self, shape: tuple[int, int], grid: tuple[int, int]) -> None:
        super().__init__((2, *shape), (2, *grid))
        starts = [g // 2 - n // 2 for g, n in zip(grid, shape, strict=True)]
        ends = [g - n - start for g, n, start in zip(grid, shape, starts, strict=True)]
        self.margins = (starts[1], ends[1], starts[0], ends[0])
        profiles = [_kernel_transform((np.arange(n) - n // 2) / g) for n, g in zip(shape, grid, strict=True)]
        weights = 1.0 / (np.outer(*profiles) * math.sqrt(math.prod(shape)))
        self.register_buffer("weights", torch.from_numpy(weights), persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        padded = pad(x * self.constant("weights", x), self.margins)
        return to_channels(torch.fft.fft2(torch.fft.ifftshift(to_complex(padded), dim=AXES)))

    def _adjoint(self, y: Tensor) -> Tensor:
        padded = torch.fft.fftshift(torch.fft.ifft2(to_complex(y), norm="forward"), dim=AXES)
        image = to_channels(pad(padded, [-margin for margin in self.margins]))
        return image * self.constant("weights", image)


def _gridding(grid: tuple[int, int], trajectory: np.ndarray) -> SparseMatrix:
    """The kernel-weighted sums: (*grid) to (shots, samples)."""
    points = trajectory.reshape(-1, 2) * grid
    first = np.ceil(points - WIDTH / 2)
    near = first[:, :, None] + np.arange(WIDTH)  # (points, axes, WIDTH)
    weights = _kernel(near - points[:, :, None])
    rows, columns = (near[:, axis].astype(np.int64) % grid[axis] for axis in (0, 1))
    values = weights[:, 0, :, None] * weights[:, 1, None, :]
    columns = rows[:, :, None] * grid[1] + columns[:, None, :]
    starts = np.arange(len(points) + 1) * WIDTH**2
    matrix = scipy.sparse.csr_matrix((values.ravel(), columns.ravel(), starts), shape=(len(points), math.prod(grid)))
    matrix.sum_duplicates()  # a small grid meets itself under the kernel
    return SparseMatrix(matrix, grid, trajectory.shape[:2])


BETA = math.pi * math.sqrt((WIDTH * (1.0 - 0.5 / OVERSAMPLING)) ** 2 - 0.8)


def _kernel(distance: np.ndarray) -> np.ndarray:
    """The Kaiser-Bessel kernel at distances in grid points, zero beyond WIDTH / 2."""
    return i0(BETA * np.sqrt(np.maximum(1.0 - (2.0 * distance / WIDTH) ** 2, 0.0))) * (np.abs(distance) <= WIDTH / 2)


def _kernel_transform(frequency: np.ndarray) -> np.ndarray:
    """Its Fourier transform, at frequencies in cycles per grid point."""
    root = np.sqrt(BETA**2 - (math.pi * WIDTH * frequency) ** 2)  # real within the image, where |frequency| <= 1/4
    return WIDTH * np.sinh(root) / root
