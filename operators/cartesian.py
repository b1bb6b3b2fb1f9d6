"""Cartesian k-space of one or several coils in one pass, y[c] = M F S[c] x, for the product that says the same.

The centred transform is the plain one between two phases: with c = N // 2 on each axis,

    y[j] = N^(-1/2) exp(2 pi i (j - c) c / N) sum over n of [exp(2 pi i n c / N) x[n]] exp(-2 pi i j n / N),

of which the first goes together with the scale and the mask, where k-space is sampled. A few coils are taken at a time,
as many as the caches hold, or a few images, where all coils of one are less: to begin a transform takes as long as some
thousand numbers of it, and the calls around it are kept few for the same reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from operators.linear import LinearOperator
from operators.sparse import matched

TOGETHER = 2**18  # complex numbers, 2 MiB
Held = dict[str, Tensor]


class CartesianKspace(LinearOperator):
    """What `product` says, faster; its solves and its decomposition are those of the product.

    Subclasses write `_sample` and `_images`, for complex images of one coil.

    Args:
        product: From (2, H, W), or (H, W) for real images, to (2, H, W) or (C, 2, H, W).
        maps: (C, H, W) complex, what images are multiplied with, or None.
        mask: Boolean, broadcastable to (H, W), in the order of the plain transforms of what the maps give.
        constants: What the subclass needs, by name.
    """

    def __init__(
        self, product: LinearOperator, maps: np.ndarray | None, mask: np.ndarray, constants: dict[str, np.ndarray]
    ) -> None:
        super().__init__(product.in_shape, product.out_shape)
        self.product, self.coils = product, 1 if maps is None else len(maps)
        varies = [not (mask == mask.take([0], axis)).all() for axis in (0, 1)]
        self.axes = [axis - 2 for axis in (0, 1) if varies[axis]] or [-1]
        share = mask[tuple(slice(None if some else 1) for some in varies)]
        share = share / math.prod(self.in_shape[axis] for axis in self.axes)
        self.constants = {**constants, "share": np.stack([share, share], axis=-1)}
        if maps is not None:
            self.constants |= {"maps": maps, "conjugates": maps.conj()}
        self._held: dict[tuple, Held] = {}
        size = self.in_shape[-2] * self.in_shape[-1]
        self.together = max(1, TOGETHER // (self.coils * size))  # images
        step = max(1, TOGETHER // size)
        self.groups = [slice(first, min(first + step, self.coils)) for first in range(0, self.coils, step)]

    def _sample(self, z: Tensor, y: Tensor, held: Held) -> None:
        """Writes M F z to y (N, 2, H, W), for z (N, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} must define _sample")

    def _images(self, y: Tensor, held: Held) -> Tensor:
        """F^H M y, (N, H, W) complex, for y (N, 2, H, W)."""
        raise NotImplementedError(f"{type(self).__name__} must define _images")

    def _forward(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, *self.in_shape), self._there, self._back)
        return flat.reshape(*x.shape[: x.ndim - len(self.in_shape)], *self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = matched(y.reshape(-1, *self.out_shape), self._back, self._there)
        return flat.reshape(*y.shape[: y.ndim - len(self.out_shape)], *self.in_shape)

    def _normal(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, *self.in_shape), self._there_and_back, self._there_and_back)
        return flat.reshape(x.shape)

    def _there(self, x: Tensor) -> Tensor:
        """A x for x (N, *in_shape), without autograd."""
        held, y = self._constants(x), x.new_empty(len(x), *self.out_shape)
        for seen, data in zip(self._seen(x, held), self._data(y), strict=True):
            self._sample(seen, data, held)
        return y

    def _back(self, y: Tensor) -> Tensor:
        """A^H y for y (N, *out_shape), without autograd."""
        held = self._constants(y)
        return self._combined((self._images(data, held) for data in self._data(y)), y, held)

    def _there_and_back(self, x: Tensor) -> Tensor:
        """A^H A x for x (N, *in_shape), without autograd."""
        held = self._constants(x)
        return self._combined((self._filtered(seen, held) for seen in self._seen(x, held)), x, held)

    def _filtered(self, z: Tensor, held: Held) -> Tensor:
        """F^H M F z, (N, H, W) complex, for z (N, H, W); without the axis along which all is sampled, or nothing."""
        spectrum = torch.fft.fftn(z, dim=self.axes)
        torch.view_as_real(spectrum).mul_(held["share"])
        return torch.fft.ifftn(spectrum, dim=self.axes, norm="forward")

    def _seen(self, x: Tensor, held: Held) -> Iterator[Tensor]:
        """What coils see of images, (N, H, W), a few of them at a time."""
        for images in _parts(x, self._images_together(x)):
            z = images if len(self.in_shape) == 2 else torch.complex(*images.unbind(1))
            for some in self.groups:
                if "maps" not in held:
                    yield z
                elif self.coils == 1:
                    yield z.mul_(held["maps"]) if z.is_complex() else z * held["maps"]
                else:
                    yield (held["maps"][some] * z.unsqueeze(1)).flatten(0, 1)

    def _data(self, y: Tensor) -> Sequence[Tensor]:
        """The data of the same, (N, 2, H, W) each."""
        sizes = [count * (some.stop - some.start) for count in self._images_together(y) for some in self.groups]
        return _parts(y.reshape(-1, *self.out_shape[-3:]), sizes)

    def _images_together(self, batch: Tensor) -> list[int]:
        """How many images are taken at a time."""
        images = batch.shape[0]
        return [min(self.together, images - first) for first in range(0, images, self.together)]

    def _combined(self, parts: Iterator[Tensor], like: Tensor, held: Held) -> Tensor:
        """The images that are the sums of conj(S) z over the coils, from the z of a few coils at a time."""
        x = like.new_empty(len(like), *self.in_shape)
        for images in _parts(x, self._images_together(x)):
            total = None
            for some in self.groups:
                z = next(parts)
                if "maps" in held and self.coils == 1:
                    z.mul_(held["conjugates"])
                elif "maps" in held:
                    z = z.unflatten(0, (len(images), -1)).mul_(held["conjugates"][some]).sum(1)
                total = z if total is None else total.add_(z)
            put(images, total)
        return x

    def _constants(self, like: Tensor) -> Held:
        """The constants in the precision and on the device of a tensor, made once."""
        key = (like.dtype, like.device)
        if key not in self._held:
            kinds = {"c": like.dtype.to_complex(), "f": like.dtype}
            with torch.inference_mode(False):  # what is first made in inference mode must serve autograd later
                self._held[key] = {name: torch.from_numpy(values).to(like.device, kinds.get(values.dtype.kind))
                                   for name, values in self.constants.items()}  # fmt: skip
        return self._held[key]

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


def ramp(indices: np.ndarray, n: int) -> np.ndarray:
    """exp(2 pi i k c / n), c = n // 2: the phase that moves the origin to c, of frequency or pixel k."""
    return np.exp(2j * np.pi * (indices * (n // 2) % n) / n)


def put(x: Tensor, z: Tensor) -> None:
    """Writes complex numbers (N, H, W) as two channels (N, 2, H, W), or their real part as (N, H, W)."""
    if x.device.type == "cpu":  # numpy does it in half of torch's time
        places, values = x.numpy(), z.numpy()
        parts = ((places, values.real),) if x.ndim == 3 else ((places[:, 0], values.real), (places[:, 1], values.imag))
        for place, part in parts:
            np.copyto(place, part)
    else:
        x.copy_(z.real if x.ndim == 3 else torch.view_as_real(z).movedim(-1, 1))


def _parts(batch: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    """The batch in parts of these sizes."""
    return (batch,) if len(sizes) == 1 else batch.split(sizes)
