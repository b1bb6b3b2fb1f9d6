"""Cartesian k-space of a real image: the one case of MRI with one coil whose singular vectors are not plain waves."""

from __future__ import annotations

import torch
from torch import Tensor

from operators.kspace import AXES
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse


class RealCartesian(LinearOperator):
    """y = M F x for a real image x: the samples at k and -k are conjugates, so either tells both.

    A^H A is diagonal in the Hartley transform of the image, with the mean of the mask at k and at -k: 1 where both
    are sampled, 1/2 where one is. On the data, A A^H keeps the part that k and -k agree on and drops what they do not.

    Args:
        kspace: The operator itself, whose solves this one replaces.
        mask: Boolean (H, W), True where k-space is sampled, the origin at (H // 2, W // 2).
    """

    def __init__(self, kspace: LinearOperator, mask: Tensor) -> None:
        super().__init__(kspace.in_shape, kspace.out_shape)
        self.kspace = kspace
        self.register_buffer("mask", mask, persistent=False)
        self.register_buffer("partner", mask & mirrored(mask), persistent=False)

    def _forward(self, x: Tensor) -> Tensor:
        return self.kspace._forward(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.kspace._adjoint(y)

    def _normal(self, x: Tensor) -> Tensor:
        return self.kspace._normal(x)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        mask, partner = (self.constant(name, u).to(u.dtype) for name in ("mask", "partner"))
        conjugate = mirrored(u) * u.new_tensor([1.0, -1.0]).reshape(2, 1, 1)
        agreed = torch.where(partner > 0, 0.5 * (u + conjugate), u)
        half = 0.5 * (mask + partner)
        return agreed * damped_inverse(half, rho) + (u - agreed) * damped_inverse(0.0 * half, rho)

    def _damped_pinv(self, y: Tensor, rho: Tensor) -> Tensor:
        # A^H takes no notice of what does not agree.
        mask, partner = (self.constant(name, y).to(y.dtype) for name in ("mask", "partner"))
        return self._adjoint(y * damped_inverse(0.5 * (mask + partner), rho))

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """Vh is the Hartley transform with the origin in the middle, s^2 the mean of the mask at k and at -k."""
        squares = 0.5 * (self.mask.double() + mirrored(self.mask).double()).flatten()
        seen = squares.nonzero()[:, 0]
        s = squares[seen].sqrt()

        def hartley(x: Tensor) -> Tensor:
            return _hartley(x).flatten(-2)[..., seen.to(x.device)]

        def back(c: Tensor) -> Tensor:
            whole = c.new_zeros(c.shape[:-1] + (squares.numel(),)).index_copy(-1, seen.to(c.device), c)
            return _hartley(whole.unflatten(-1, self.in_shape))

        Vh = FromFunctions(self.in_shape, s.shape, hartley, back)
        U = FromFunctions(s.shape, self.out_shape, lambda c: self._forward(back(c / s.to(c))),
                          lambda y: hartley(self._adjoint(y)) / s.to(y))  # fmt: skip
        return U, s, Vh

    @property
    def measured(self) -> Tensor:
        """The mask, on both channels."""
        return self.mask.expand(self.out_shape)


def _hartley(x: Tensor) -> Tensor:
    """The orthonormal Hartley transform of (..., H, W), the origin at (H // 2, W // 2); its own inverse."""
    spectrum = torch.fft.fftshift(torch.fft.fft2(torch.fft.ifftshift(x, dim=AXES), norm="ortho"), dim=AXES)
    return spectrum.real - spectrum.imag


def mirrored(values: Tensor) -> Tensor:
    """Values at -k in the place of those at k, (..., H, W), the origin at (H // 2, W // 2)."""
    shifts = [1 - n % 2 for n in values.shape[-2:]]
    return values.flip(AXES).roll(shifts, AXES)
