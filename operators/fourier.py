"""Convolutions by the fast Fourier transform, with a circular and with a zero boundary.

Both compute y[i] = sum_j k[j] x[i - (j - c)], with the kernel's centre c = size // 2 on each axis. The
circular one is diagonal in the Fourier basis, A = F^H diag(h) F, so all that is needed has a closed form.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.fft import next_fast_len
from torch import Tensor

from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse


class CircularConvolution(LinearOperator):
    """y = k * x with the image continued periodically.

    Args:
        kernel: (h, w), float64, any size, also larger than the image (it then wraps around).
        shape: (H, W) of the image.
    """

    def __init__(self, kernel: np.ndarray, shape: tuple[int, int]) -> None:
        super().__init__(shape, shape)
        _hold(self, torch.fft.rfft2(_wrapped(kernel, shape)))

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        return torch.fft.irfft2(_scaled(torch.fft.rfft2(x), gain), s=self.in_shape)

    def _forward(self, x: Tensor) -> Tensor:
        return self._filter(x, torch.view_as_complex(self.constant("response", x)))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, torch.view_as_complex(self.constant("conjugate", y)))

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        power = self.constant("response", u).square().sum(dim=-1)
        return self._filter(u, damped_inverse(power, rho, power.amax()))

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """Vh is the orthonormal Hartley transform (a real Fourier basis), s = |h|, U = A Vh^H / s."""
        height, width = self.in_shape
        half = torch.view_as_complex(self.response)
        size = half.abs()
        # Below rounding the phase is noise, which would not be the phase of a real operator: take 1.
        clear = size > 1e-14 * size.max()
        phase = torch.where(clear, half / torch.where(clear, size, 1.0), 1.0)
        rows = (-torch.arange(height, device=half.device)) % height
        mirrored = size[rows][:, range((width - 1) // 2, 0, -1)]  # |h(-f)| = |h(f)|
        s = torch.cat([size, mirrored], dim=1).flatten()

        def hartley(x: Tensor) -> Tensor:
            spectrum = torch.fft.fft2(x, norm="ortho")
            return spectrum.real - spectrum.imag

        def turn(x: Tensor, by: Tensor) -> Tensor:
            return self._filter(x, by.to(x.device, torch.complex64 if x.dtype == torch.float32 else by.dtype))

        Vh = FromFunctions(self.in_shape, (height * width,), lambda x: hartley(x).flatten(-2),
                           lambda c: hartley(c.unflatten(-1, self.in_shape)))
        turned = FromFunctions(self.in_shape, self.out_shape, lambda x: turn(x, phase),
                               lambda x: turn(x, phase.conj()))
        return turned @ Vh.H, s, Vh


class ZeroConvolution(LinearOperator):
    """y = k * x with zeros outside the image, cut to the image's size.

    Args:
        kernel: (h, w), float64, any size.
        shape: (H, W) of the image.
    """

    def __init__(self, kernel: np.ndarray, shape: tuple[int, int]) -> None:
        super().__init__(shape, shape)
        # Zeros as wide as the kernel's longer arm keep what wraps around out of the part that is kept.
        kernel = _reachable(kernel, shape)
        reach = [n + k // 2 for n, k in zip(shape, kernel.shape, strict=True)]
        self.padded = tuple(next_fast_len(n, real=True) for n in reach)
        _hold(self, torch.fft.rfft2(_wrapped(kernel, self.padded)))

    def _filter(self, x: Tensor, gain: Tensor) -> Tensor:
        filtered = torch.fft.irfft2(_scaled(torch.fft.rfft2(x, s=self.padded), gain), s=self.padded)
        return filtered[..., : self.in_shape[0], : self.in_shape[1]]

    def _forward(self, x: Tensor) -> Tensor:
        return self._filter(x, torch.view_as_complex(self.constant("response", x)))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self._filter(y, torch.view_as_complex(self.constant("conjugate", y)))


def _scaled(spectrum: Tensor, gain: Tensor) -> Tensor:
    """Their product, in place of the spectrum, which the derivative by a gain would need."""
    return spectrum * gain if gain.requires_grad else spectrum.mul_(gain)


def _hold(operator: LinearOperator, response: Tensor) -> None:
    """Keeps a spectrum and its conjugate, which takes time to form."""
    for name, values in (("response", response), ("conjugate", response.conj().resolve_conj())):
        operator.register_buffer(name, torch.view_as_real(values), persistent=False)


def _wrapped(kernel: np.ndarray, shape: tuple[int, int]) -> Tensor:
    """The kernel on a periodic grid of `shape`, its centre at index 0."""
    rows, columns = ((np.arange(k) - k // 2) % n for k, n in zip(kernel.shape, shape, strict=True))
    grid = np.zeros(shape)
    np.add.at(grid, (rows[:, None], columns[None, :]), kernel)
    return torch.from_numpy(grid)


def _reachable(kernel: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The kernel without the parts that reach further than the image; its centre stays at size // 2."""
    for axis, n in enumerate(shape):
        centre, size = kernel.shape[axis] // 2, kernel.shape[axis]
        kernel = np.take(kernel, range(max(0, centre - n), min(size, centre + n)), axis=axis)
    return kernel
