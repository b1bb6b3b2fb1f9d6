"""Cartesian k-space sampled in few, whole columns, as most scanners do: only they are transformed along the height."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from operators.cartesian import CartesianKspace, Held, ramp
from operators.linear import LinearOperator


class LineKspace(CartesianKspace):
    """M F S x where M keeps whole columns.

    Args:
        product: What is computed, see `CartesianKspace`.
        sampled: Boolean (W,), True for the columns that are sampled, the origin at W // 2.
        maps: S, (C, H, W) complex, or None.
    """

    def __init__(self, product: LinearOperator, sampled: np.ndarray, maps: np.ndarray | None) -> None:
        height, width = product.in_shape[-2:]
        rows, columns = np.arange(height), np.flatnonzero(sampled)
        plain = (columns - width // 2) % width  # of the transform with its origin at 0
        turn = ramp(rows, height)[:, None]
        gains = np.outer(ramp(rows - height // 2, height), ramp(plain, width)) / math.sqrt(height * width)
        constants = {"columns": columns, "plain": plain, "turn": turn, "turn_back": turn.conj(),
                     "gains": np.asfortranarray(gains),  # as transforms along the height lie in memory
                     "gains_back": gains.conj()}  # fmt: skip
        super().__init__(product, maps, np.isin(np.arange(width), plain)[None], constants)

    def _sample(self, z: Tensor, y: Tensor, held: Held) -> None:
        plain = held["plain"].expand(*z.shape[:-1], -1)
        part = torch.fft.fft(torch.fft.fft(z).gather(-1, plain).mul_(held["turn"]), dim=-2).mul_(held["gains"])
        pairs = torch.view_as_real(part).movedim(-1, 1)
        y.zero_().scatter_(-1, held["columns"].expand(pairs.shape), pairs)

    def _images(self, y: Tensor, held: Held) -> Tensor:
        part = torch.complex(*y.gather(-1, held["columns"].expand(*y.shape[:-1], -1)).unbind(1))
        part = torch.fft.ifft(part.mul_(held["gains_back"]), dim=-2, norm="forward").mul_(held["turn_back"])
        spectrum = part.new_zeros(len(y), *y.shape[-2:])
        return torch.fft.ifft(spectrum.scatter_(-1, held["plain"].expand(part.shape), part), norm="forward")
