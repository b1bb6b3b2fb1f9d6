"""The two factors of magnetic resonance imaging: the sensitivities of the coils, and the Fourier transform.

Images and k-space are complex numbers in two real channels, see `operators.channels`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from operators.channels import to_channels, to_complex
from operators.checks import image_shape
from operators.linear import LinearOperator

AXES = (-2, -1)


class CentredFourier(LinearOperator):
    """The orthonormal Fourier transform with the origin at (H // 2, W // 2) of image and k-space; unitary.

    y[k] = (H W)^(-1/2) sum over n of x[n] exp(-2 pi i (k - c) . (n - c) / (H, W)), c = (H // 2, W // 2): the
    convention of fastMRI.

    Args:
        shape: (H, W); the operator maps (2, H, W) to (2, H, W).
    """

    def __init__(self, shape: Sequence[int]) -> None:
        shape = image_shape(shape)
        super().__init__((2, *shape), (2, *shape))

    def _forward(self, x: Tensor) -> Tensor:
        centred = torch.fft.ifftshift(to_complex(x), dim=AXES)
        return to_channels(torch.fft.fftshift(torch.fft.fft2(centred, norm="ortho"), dim=AXES))

    def _adjoint(self, y: Tensor) -> Tensor:
        centred = torch.fft.ifftshift(to_complex(y), dim=AXES)
        return to_channels(torch.fft.fftshift(torch.fft.ifft2(centred, norm="ortho"), dim=AXES))

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return u / (1.0 + rho)

    @property
    def orthonormal_rows(self) -> bool:
        return True


class CoilMaps(LinearOperator):
    """y[c] = S[c] x, what each coil sees of the image: (2, H, W) to (C, 2, H, W).

    Args:
        maps: S, (C, H, W) complex.
    """

    def __init__(self, maps: np.ndarray) -> None:
        coils, *shape = maps.shape
        super().__init__((2, *shape), (coils, 2, *shape))
        self.register_buffer("maps", to_channels(torch.from_numpy(maps)), persistent=False)

    def _maps(self, like: Tensor) -> Tensor:
        return to_complex(self.constant("maps", like))

    def _forward(self, x: Tensor) -> Tensor:
        return to_channels(self._maps(x) * to_complex(x).unsqueeze(-3))

    def _adjoint(self, y: Tensor) -> Tensor:
        return to_channels((self._maps(y).conj() * to_complex(y)).sum(dim=-3))
