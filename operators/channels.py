"""Complex images as two real channels, (..., 2, H, W), the real part first.

Operators know real arithmetic only. On two channels the inner product is the real part of the complex one and
the transpose of a complex-linear map is its conjugate transpose, so adjoints, solves and gradients carry over.
Noise of standard deviation sigma on the channels has sigma on the real and on the imaginary part each, and
sqrt(2) sigma on the complex number.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from operators.checks import fault, image_shape
from operators.linear import LinearOperator
from operators.solve import damped_inverse


def to_complex(x: Tensor) -> Tensor:
    """x[0] + i x[1]: (..., 2, H, W) real to (..., H, W) complex.

    Raises:
        ValueError: x is not real, or its third axis from the end is not 2.
    """
    if not x.is_floating_point() or x.ndim < 3 or x.shape[-3] != 2:
        raise fault("x", f"{x.dtype} of shape {tuple(x.shape)}", "real floating (..., 2, H, W)",
                    "put the real and the imaginary part on the third axis from the end")
    return torch.complex(x[..., 0, :, :], x[..., 1, :, :])


def to_channels(z: Tensor) -> Tensor:
    """(real part, imaginary part): (..., H, W) complex to (..., 2, H, W) real.

    Raises:
        ValueError: z is not complex, or has fewer than two axes.
    """
    if not z.is_complex() or z.ndim < 2:
        raise fault("z", f"{z.dtype} of shape {tuple(z.shape)}", "complex (..., H, W)",
                    "use torch.complex(real, imaginary)")
    return torch.stack([z.real, z.imag], dim=-3)


class RealToComplex(LinearOperator):
    """y = x + 0i: a real image (H, W) as the two channels (2, H, W); the adjoint takes the real part.

    Args:
        shape: (H, W) of the image.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        shape = image_shape(shape)
        super().__init__(shape, (2, *shape))

    def _forward(self, x: Tensor) -> Tensor:
        return torch.stack([x, torch.zeros_like(x)], dim=-3)

    def _adjoint(self, y: Tensor) -> Tensor:
        return y[..., 0, :, :]

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        # A A^H keeps the real channel and drops the imaginary one.
        real, imaginary = u[..., :1, :, :], u[..., 1:, :, :]
        return torch.cat([real / (1.0 + rho), imaginary * damped_inverse(torch.zeros_like(rho), rho)], dim=-3)
