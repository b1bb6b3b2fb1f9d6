"""Inpainting: some elements of the image are observed, the others are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from operators.checks import fault, finite_float, image_shape, real_array
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse


class Inpaint(LinearOperator):
    """y = mask * x. The data keep the image's shape; `measured` tells observed elements from padding.

    Args:
        mask: Boolean (H, W) or (C, H, W), True where the image is observed.
    """

    def __init__(self, mask: Tensor) -> None:
        super().__init__(mask.shape, mask.shape)
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("gains", mask.double(), persistent=False)  # to multiply with, which booleans are slow at

    def _forward(self, x: Tensor) -> Tensor:
        return x * self.constant("gains", x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return y * self.constant("gains", y)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return u * damped_inverse(self.constant("mask", u).to(u.dtype), rho)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """Ones for the observed elements, in row-major order."""
        index = self.mask.flatten().nonzero()[:, 0]
        axes = len(self.in_shape)

        def take(x: Tensor) -> Tensor:
            return x.flatten(-axes)[..., index.to(x.device)]

        def put(c: Tensor) -> Tensor:
            image = c.new_zeros(c.shape[:-1] + (self.mask.numel(),))
            return image.index_copy(-1, index.to(c.device), c).unflatten(-1, self.in_shape)

        chosen = FromFunctions(self.in_shape, (index.numel(),), take, put)
        ones = torch.ones(index.numel(), dtype=torch.float64, device=index.device)
        return chosen.H, ones, chosen

    @property
    def measured(self) -> Tensor:
        """The mask."""
        return self.mask


def inpaint(
    shape: Sequence[int],
    keep: float | None = None,
    mask: np.ndarray | Tensor | None = None,
    box: Sequence[int] | None = None,
    seed: int = 0,
) -> Inpaint:
    """y = mask * x, with the mask drawn at random, given, or a missing rectangle. Give one of the three.

    Args:
        shape: (H, W) of the image.
        keep: Share of pixels observed, in (0, 1]; exactly round(keep H W) pixels, the same in every channel.
        mask: (H, W), or (C, H, W) for a mask per channel; True or 1 = observed, False or 0 = missing.
        box: (top, left, height, width) of the missing rectangle, in pixels, inside the image.
        seed: Of the random mask.

    Raises:
        ValueError: none or several of keep, mask and box; a mask of another shape or with values other than
            0 and 1; a box that leaves the image; nothing left to observe. The text says how to mend it.
    """
    shape = image_shape(shape)
    given = [name for name, value in (("keep", keep), ("mask", mask), ("box", box)) if value is not None]
    if len(given) != 1:
        raise fault("inpaint", " and ".join(given) or "none of keep, mask and box", "exactly one of them",
                    "give keep=0.4, or mask=array, or box=(top, left, height, width)")
    if keep is not None:
        observed = _random(shape, keep, seed)
    elif box is not None:
        observed = _outside(shape, box)
    else:
        observed = _given(shape, mask)
    if not observed.any():
        raise fault("inpaint", "a mask without one observed pixel", "at least one observed pixel",
                    "keep more pixels, or invert the mask (True or 1 = observed)")
    operator = Inpaint(torch.from_numpy(observed.copy()))
    operator.spec = {"name": "inpaint", "parameters": {"shape": list(shape), "mask": observed}}
    return operator


def _random(shape: tuple[int, int], keep: float, seed: int) -> np.ndarray:
    share = finite_float("keep", keep, low=0.0, above=True)
    if share > 1.0:
        raise fault("keep", keep, "a share in (0, 1]", f"divide a percentage by 100: keep={share / 100:g}")
    size = shape[0] * shape[1]
    observed = np.zeros(size, dtype=bool)
    observed[np.random.default_rng(seed).permutation(size)[: round(share * size)]] = True
    return observed.reshape(shape)


def _outside(shape: tuple[int, int], box: Sequence[int]) -> np.ndarray:
    corner = np.asarray(box)
    whole = corner.shape == (4,) and corner.dtype.kind in "iu"
    lows, sizes = corner[:2], corner[2:]
    if not whole or (lows < 0).any() or (sizes < 1).any() or (lows + sizes > shape).any():
        raise fault("box", box, f"(top, left, height, width) in whole pixels inside the image {shape}",
                    "move or shrink the box")
    top, left, height, width = (int(n) for n in corner)
    observed = np.ones(shape, dtype=bool)
    observed[top : top + height, left : left + width] = False
    return observed


def _given(shape: tuple[int, int], mask: np.ndarray | Tensor) -> np.ndarray:
    values = real_array("mask", mask)
    if values.ndim not in (2, 3) or values.shape[-2:] != shape:
        turned = values.ndim == 2 and values.shape == shape[::-1]
        raise fault("mask", f"shape {values.shape}", f"{shape}, or (channels, {shape[0]}, {shape[1]})",
                    "transpose the mask" if turned else "resize the mask or correct `shape`")
    if not np.isin(values, (0.0, 1.0)).all():
        raise fault("mask", f"values from {values.min():g} to {values.max():g}", "True/False, or 0 and 1",
                    "threshold it, e.g. mask > 0 (True = observed)")
    return values.astype(bool)
