"""Cartesian k-space of one or several coils in one pass, y[c] = M F S[c] x, for the product that says the same.

With even sides the centred transform is the plain one between two chessboards of 1 and -1: one goes into the maps, the
other into the mask, and what is left to do beside the transforms is one product on either side. A few coils are taken
at a time, as many as the caches hold. In A^H A the second chessboard cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from operators.linear import LinearOperator
from operators.sparse import matched

TOGETHER = 2**18  # complex numbers, 2 MiB


class CartesianKspace(LinearOperator):
    """What `product` says, faster; its solves and its decomposition are those of the product.

    Args:
        product: From (2, H, W), or (H, W) for real images, to (2, H, W) or (C, 2, H, W); H and W even.
        mask: Boolean (H, W), True where k-space is sampled, the origin at (H // 2, W // 2).
        maps: S, (C, H, W) complex, or None for one coil that sees everything alike.
    """

    def __init__(self, product: LinearOperator, mask: np.ndarray, maps: np.ndarray | None) -> None:
        super().__init__(product.in_shape, product.out_shape)
        self.product = product
        board = (-1.0) ** np.add.outer(*map(np.arange, mask.shape))
        scaled = board / math.sqrt(mask.size) * (-1.0) ** (sum(mask.shape) // 2)
        maps = (np.ones((1, *mask.shape)) if maps is None else maps) * scaled
        pairs = [np.stack([some.real, some.imag], axis=-1) for some in (maps, maps.conj())]
        constants = {"maps": pairs[0], "conjugates": pairs[1], "gains": mask * board,
                     "sampled": np.stack([mask, mask], axis=-1).astype(float)}  # fmt: skip
        for name, values in constants.items():
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        step = max(1, TOGETHER // mask.size)
        self.groups = [slice(start, start + step) for start in range(0, len(maps), step)]

    def _forward(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, *self.in_shape), self._measure, self._image)
        return flat.reshape(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = matched(y.reshape(-1, *self.out_shape), self._image, self._measure)
        return flat.reshape(*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape)

    def _normal(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, *self.in_shape), self._there_and_back, self._there_and_back)
        return flat.reshape(x.shape)

    def _measure(self, x: Tensor) -> Tensor:
        """A x for x (N, *in_shape), without autograd."""
        y = x.new_empty(len(x), *self.out_shape)
        coils, gains = y.view(len(x), -1, 2, *self.out_shape[-2:]), self.constant("gains", x)
        for image, data in zip(x, coils, strict=True):
            for some, spectra in self._spectra(image):
                _put(data[some], spectra)
                data[some].mul_(gains)
        return y

    def _image(self, y: Tensor) -> Tensor:
        """A^H y for y (N, *out_shape), without autograd."""
        x, coils = y.new_empty(len(y), *self.in_shape), y.reshape(len(y), -1, 2, *self.out_shape[-2:])
        gains = self.constant("gains", y)
        for image, data in zip(x, coils, strict=True):
            self._combine((torch.complex(*(data[some] * gains).unbind(1)) for some in self.groups), image)
        return x

    def _there_and_back(self, x: Tensor) -> Tensor:
        """A^H A x for x (N, *in_shape), without autograd."""
        found, sampled = torch.empty_like(x), self.constant("sampled", x)
        for image, back in zip(x, found, strict=True):
            spectra = (torch.view_as_real(part).mul_(sampled) for _, part in self._spectra(image))
            self._combine((torch.view_as_complex(part) for part in spectra), back)
        return found

    def _spectra(self, image: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Some coils, and the plain transforms of what they see."""
        z = image if image.ndim == 2 else torch.complex(*image)
        maps = torch.view_as_complex(self.constant("maps", image))
        for some in self.groups:
            yield some, torch.fft.fft2(maps[some] * z)

    def _combine(self, spectra: Iterator[Tensor], image: Tensor) -> None:
        """Writes the sum over the coils of conj(S) times the inverse transforms to an image."""
        maps, total = torch.view_as_complex(self.constant("conjugates", image)), 0.0
        for some, part in zip(self.groups, spectra, strict=True):
            seen = maps[some] * torch.fft.ifft2(part, norm="forward")
            total = total + (seen.sum(0) if len(seen) > 1 else seen[0])
        if image.ndim == 2:
            image.copy_(total.real)
        else:
            _put(image, total)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return self.product._gram_solve(u, rho) if self.closed_form else super()._gram_solve(u, rho)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """That of the product."""
        return self.product.svd()

    @property
    def closed_form(self) -> bool:
        return self.product.closed_form

    @property
    def orthonormal_rows(self) -> bool:
        return self.product.orthonormal_rows

    @property
    def measured(self) -> Tensor | None:
        """The mask."""
        return self.product.measured


def _put(channels: Tensor, z: Tensor) -> None:
    """Writes complex numbers (..., H, W) as two channels (..., 2, H, W); numpy does it in half of torch's time."""
    pairs = torch.view_as_real(z).movedim(-1, -3)
    if channels.device.type == "cpu":
        np.copyto(channels.numpy(), pairs.numpy())
    else:
        channels.copy_(pairs)
