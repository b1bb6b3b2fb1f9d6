"""A window of a larger image: what an operator sees of an image that was padded for a network."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import pad

from operators.checks import fault, shape_of
from operators.linear import LinearOperator


class Crop(LinearOperator):
    """y = the window of x, its last two axes; the adjoint puts zeros around it. A A^H = I.

    Args:
        shape: in_shape, (..., H, W).
        window: (top, left, height, width), inside the image.
    """

    def __init__(self, shape: Sequence[int], window: Sequence[int]) -> None:
        shape = shape_of("shape", shape)
        top, left, height, width = window
        if min(top, left) < 0 or top + height > shape[-2] or left + width > shape[-1]:
            raise fault("window", tuple(window), f"(top, left, height, width) inside {shape[-2:]}", "move or shrink it")
        super().__init__(shape, (*shape[:-2], height, width))
        self.rows, self.columns = slice(top, top + height), slice(left, left + width)
        self.margins = (left, shape[-1] - left - width, top, shape[-2] - top - height)

    def _forward(self, x: Tensor) -> Tensor:
        return x[..., self.rows, self.columns]

    def _adjoint(self, y: Tensor) -> Tensor:
        return pad(y, self.margins)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return u / (1.0 + rho)

    @property
    def orthonormal_rows(self) -> bool:
        return True
