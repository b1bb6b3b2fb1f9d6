"""Total variation: the classical prior for images that are flat between edges, solved to convergence.

    TV(x) = sum over pixels of sqrt(dx^2 + dy^2), forward differences, each channel by itself, nothing across the border

    weight given    x = argmin  1/2 |(A x - y) / sigma|^2 + weight TV(x)
    weight None     x = argmin  TV(x)  among the images with  |(A x - y) / sigma|^2 <= number of measured elements

The second is Morozov's discrepancy principle, per item, without a search for its weight: data are fitted as closely as
their noise is large, no closer. At sigma = 0 both turn into TV(x) -> min with A x = y.

Solver: the primal-dual hybrid gradient method, x and the duals q of the data and p of the gradient, with both operators
divided by their norms (they differ by orders of magnitude; undivided, one of the two duals hardly moves and the result is
several dB worse after any affordable number of iterations), over-relaxed, the balance of primal and dual steps adapted per item.

Reference: Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms", 1992; Chambolle, Pock, "A
first-order primal-dual algorithm for convex problems with applications to imaging", 2011, algorithm 1; over-relaxation:
Condat, "A primal-dual splitting method for convex optimization", 2013, algorithm 3.2; balance of the steps: Applegate et al.,
"Practical large-scale linear programming using primal-dual hybrid gradient", 2021, section 3.3.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import pad

from operators import LinearOperator, operator_norm

GRADIENT_NORM = sqrt(8.0)  # bound of the norm of forward differences in two dimensions
RELAXATION = 1.9  # any value below 2 converges
CHECK_EVERY = 50  # iterations


def gradient(x: Tensor) -> Tensor:
    """Forward differences along height and width, zero at the far border: (B, C, H, W) -> (B, 2, C, H, W)."""
    down = pad(x[..., 1:, :] - x[..., :-1, :], (0, 0, 0, 1))
    right = pad(x[..., 1:] - x[..., :-1], (0, 1))
    return torch.stack((down, right), 1)


def gradient_adjoint(p: Tensor) -> Tensor:
    """Exact adjoint of `gradient`, the negative divergence: (B, 2, C, H, W) -> (B, C, H, W)."""
    down, right = p[:, 0, ..., :-1, :], p[:, 1, ..., :-1]
    return pad(down, (0, 0, 1, 0)) - pad(down, (0, 0, 0, 1)) + pad(right, (1, 0)) - pad(right, (0, 1))


def total_variation(x: Tensor) -> Tensor:
    """Sum over pixels and channels of the length of the gradient, (B, C, H, W) -> (B,)."""
    return _sum(gradient(x).norm(dim=1))


def _sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(1, dtype=torch.float64)


def _each(values: Tensor, like: Tensor) -> Tensor:
    """(B,) shaped to broadcast over the items of `like`."""
    return values.view(-1, *[1] * (like.ndim - 1))
