"""Colour lost: through a mosaic of filters, one for each pixel, or as a grey image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from operators.checks import fault, image_shape, real_array
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse

LUMINANCE = (0.2125, 0.7154, 0.0721)  # ITU-R BT.709, as scikit-image takes it
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")


class ChannelSum(LinearOperator):
    """y = sum over channels c of weights[c] x[c]: (C, H, W) to (1, H, W).

    A A^H is diagonal, the sum of the squared weights of a pixel.

    Args:
        weights: (C, H, W), float64.
    """

    def __init__(self, weights: Tensor) -> None:
        super().__init__(weights.shape, (1, *weights.shape[1:]))
        self.register_buffer("weights", weights, persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        return (self.constant("weights", x) * x).sum(dim=-3, keepdim=True)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.constant("weights", y) * y

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        power = self.constant("weights", u).square().sum(dim=0, keepdim=True)
        return u * damped_inverse(power, rho, power.amax())

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """A pixel's singular value is the norm of its weights."""
        s = self.weights.square().sum(dim=0).sqrt().flatten()
        shape = self.out_shape
        U = FromFunctions(s.shape, shape, lambda c: c.unflatten(-1, shape), lambda y: y.flatten(-3))
        unit = ChannelSum(self.weights / torch.where(s > 0, s, 1.0).unflatten(0, shape))
        return U, s, U.H @ unit


def mosaic(shape: Sequence[int], pattern: str = "RGGB") -> ChannelSum:
    """y = the one colour that each pixel's filter lets through (Bayer): its inverse is demosaicing.

    Args:
        shape: (H, W) of the image; x is (..., 3, H, W), red, green, blue, and y (..., 1, H, W).
        pattern: The filters of the first two rows: "RGGB", "BGGR", "GRBG" or "GBRG".

    Raises:
        ValueError: the pattern is another one.
    """
    shape = image_shape(shape)
    if pattern not in PATTERNS:
        raise fault("pattern", repr(pattern), " or ".join(map(repr, PATTERNS)), "choose the filters of your camera")
    cell = np.array(["RGB".index(colour) for colour in pattern]).reshape(2, 2)
    filters = np.tile(cell, [(n + 1) // 2 for n in shape])[: shape[0], : shape[1]]
    operator = ChannelSum(torch.from_numpy((filters == np.arange(3)[:, None, None]).astype(np.float64)))
    operator.spec = {"name": "mosaic", "parameters": {"shape": list(shape), "pattern": pattern}}
    return operator


def grey(shape: Sequence[int], weights: Sequence[float] | np.ndarray = LUMINANCE) -> ChannelSum:
    """y = a weighted sum of the colours: its inverse is colourisation.

    Args:
        shape: (H, W) of the image; x is (..., C, H, W) and y (..., 1, H, W).
        weights: One for each channel; by default the luminance of red, green and blue.

    Raises:
        ValueError: the weights are not one row of numbers, or all zero.
    """
    shape, values = image_shape(shape), real_array("weights", weights)
    if values.ndim != 1 or not values.any():
        raise fault("weights", f"an array of shape {values.shape}", "one number for each channel, not all zero",
                    "give e.g. weights=(1/3, 1/3, 1/3)")
    operator = ChannelSum(torch.from_numpy(values)[:, None, None].expand(-1, *shape).contiguous())
    operator.spec = {"name": "grey", "parameters": {"shape": list(shape), "weights": values}}
    return operator
