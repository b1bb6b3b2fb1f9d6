"""Phase retrieval: the magnitude of an image's Fourier transform, through known masks or none."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

import numpy as np
from torch import Tensor
from torch.nn.functional import pad

from operators.channels import RealToComplex
from operators.checks import complex_array, fault, finite_float, image_shape, positive_int, shape_of
from operators.each import Each
from operators.kspace import CentredFourier, CoilMaps
from operators.linear import LinearOperator, Operator
from operators.mri import IMAGES
from operators.nonlinear import Magnitude


class Pad(LinearOperator):
    """The image with zeros around it, its origin (H // 2, W // 2) at that of the larger grid; A^H cuts them off.

    Args:
        shape: in_shape; the last two axes are padded.
        size: (H, W) of the result, no smaller.
    """

    def __init__(self, shape: Sequence[int], size: Sequence[int]) -> None:
        shape, size = shape_of("shape", shape), image_shape(size)
        if any(n < m for n, m in zip(size, shape[-2:], strict=True)):
            raise fault("size", size, f"at least {shape[-2:]}", "pad to a larger size")
        super().__init__(shape, (*shape[:-2], *size))
        top, left = (n // 2 - m // 2 for n, m in zip(size, shape[-2:], strict=True))
        self.margins = (left, size[1] - shape[-1] - left, top, size[0] - shape[-2] - top)

    def _forward(self, x: Tensor) -> Tensor:
        return pad(x, self.margins)

    def _adjoint(self, y: Tensor) -> Tensor:
        return pad(y, [-margin for margin in self.margins])


def phase_retrieval(
    shape: Sequence[int],
    oversampling: float = 2.0,
    patterns: int | np.ndarray | Tensor | None = None,
    image: str = "real",
    seed: int = 0,
) -> Operator:
    """y = |F P D x|: magnitudes of the orthonormal transform of the image, coded by masks D and padded by P.

    Args:
        shape: (H, W) of the image.
        oversampling: Of k-space along each axis, 1 or more: the image is padded to round(oversampling n). Without
            masks, 2 determines an image up to shifts, a turn by 180 degrees and the phase.
        patterns: Coded diffraction: how many masks of random phases, or the masks themselves (P, H, W), complex. By
            default none: y then has no axis for them.
        image: "real": x is (..., H, W); "complex": x is (..., 2, H, W).
        seed: Of the random masks.

    Returns:
        The operator, nonlinear, to (..., h, w) or (..., P, h, w).

    Raises:
        ValueError: an argument is out of range or of another shape; the text has the remedy.

    Reference: Candes, Li and Soltanolkotabi, "Phase retrieval from coded diffraction patterns", 2015, section 1.2,
        with phases uniform on the circle.
    """
    shape = image_shape(shape)
    factor = finite_float("oversampling", oversampling, low=1.0)
    if image not in IMAGES:
        raise fault("image", repr(image), " or ".join(map(repr, IMAGES)), "choose one of these")
    size = tuple(round(factor * n) for n in shape)
    diffraction = CentredFourier(size) @ Pad((2, *shape), size)
    parameters = {"shape": list(shape), "oversampling": factor, "image": image}
    if patterns is not None:
        parameters["patterns"] = masks = _masks(patterns, shape, seed)
        diffraction = Each(masks.shape[:1], diffraction) @ CoilMaps(masks)
    if image == "real":
        diffraction = diffraction @ RealToComplex(shape)
    operator = Magnitude(diffraction.out_shape) @ diffraction
    operator.spec = {"name": "phase_retrieval", "parameters": parameters}
    return operator


def _masks(patterns: int | np.ndarray | Tensor, shape: tuple[int, int], seed: int) -> np.ndarray:
    if isinstance(patterns, Integral):
        count = positive_int("patterns", patterns)
        return np.exp(2j * np.pi * np.random.default_rng(seed).random((count, *shape)))
    masks = complex_array("patterns", patterns)
    if masks.ndim != 3 or masks.shape[1:] != shape:
        raise fault("patterns", f"shape {masks.shape}", f"(patterns, {shape[0]}, {shape[1]}), complex",
                    "give a number, or one mask of the image's size for each exposure")
    return masks
