"""Cartesian k-space sampled at any points, by whole transforms."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from operators.cartesian import CartesianKspace, Held, put, ramp
from operators.linear import LinearOperator


class PointKspace(CartesianKspace):
    """M F S x for any mask M. The phase of the image is part of the maps, where there are any; A^H A needs none.

    Args:
        product: What is computed, see `CartesianKspace`.
        mask: Boolean (H, W), True where k-space is sampled, the origin at (H // 2, W // 2).
        maps: S, (C, H, W) complex, or None.
    """

    def __init__(self, product: LinearOperator, mask: np.ndarray, maps: np.ndarray | None) -> None:
        turn = np.multiply.outer(*(ramp(np.arange(n), n) for n in mask.shape))
        gains = np.multiply.outer(*(ramp(np.arange(n) - n // 2, n) for n in mask.shape)) * mask / math.sqrt(mask.size)
        constants = {"gains": gains, "gains_back": gains.conj()}
        if maps is None:
            mask, constants = np.fft.ifftshift(mask), {**constants, "turn": turn, "turn_back": turn.conj()}
        super().__init__(product, None if maps is None else turn * maps, mask, constants)

    def _sample(self, z: Tensor, y: Tensor, held: Held) -> None:
        if "turn" in held:
            z = z.mul_(held["turn"]) if z.is_complex() else z * held["turn"]
        put(y, torch.fft.fft2(z).mul_(held["gains"]))

    def _images(self, y: Tensor, held: Held) -> Tensor:
        z = torch.fft.ifft2(torch.complex(*y.unbind(1)).mul_(held["gains_back"]), norm="forward")
        return z.mul_(held["turn_back"]) if "turn_back" in held else z
