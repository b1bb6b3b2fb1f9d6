"""What all projectors of parallel-beam tomography share: the geometry, and exact solves where the data are few.

A A^H is diagonalised in the parts into which the symmetries of the scan split it, see `operators.splitting`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from operators.geometry import ParallelBeam
from operators.linear import Adjoint, FromFunctions, LinearOperator
from operators.solve import damped_inverse
from operators.sparse import SparseMatrix, matched
from operators.splitting import Coefficients, Splitting

TOGETHER = 128  # unit data that are projected at once


class ParallelBeamTransform(LinearOperator):
    """Projections at the angles of a parallel-beam geometry, from (..., H, W) to (..., angles, detectors).

    Args:
        geometry: Where the rays run.
        parts: In which A A^H is diagonalised on first use, which makes solves exact and fast; None where solves are
            iterative.
    """

    def __init__(self, geometry: ParallelBeam, parts: Splitting | None) -> None:
        super().__init__(geometry.shape, (geometry.angles_rad.size, geometry.detectors))
        self.geometry, self.parts = geometry, parts
        self.vectors = nn.ModuleDict()  # of data: all, and those that images are seen by; of images

    def _forward(self, x: Tensor) -> Tensor:
        flat = matched(x.reshape(-1, *self.in_shape), self._project, self._backproject)
        return flat.reshape(x.shape[:-2] + self.out_shape)

    def _adjoint(self, y: Tensor) -> Tensor:
        flat = matched(y.reshape(-1, *self.out_shape), self._backproject, self._project)
        return flat.reshape(y.shape[:-2] + self.in_shape)

    def extra_repr(self) -> str:
        """Shapes, the projector, and what its set-up holds."""
        name = self.spec["parameters"]["projector"] if self.spec else type(self).__name__
        held = sum(buffer.numel() * buffer.element_size() for buffer in self.matrix.buffers())
        return f"{super().extra_repr()}, {name}, {self.matrix.entries:.1e} weights in {held / 2**30:.2f} GiB"

    @abstractmethod
    def _project(self, x: Tensor) -> Tensor:
        """A x for x (N, H, W), without autograd."""

    @abstractmethod
    def _backproject(self, y: Tensor) -> Tensor:
        """A^H y for y (N, angles, detectors), without autograd."""

    @property
    def closed_form(self) -> bool:
        return self.parts is not None

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        if not self.closed_form:
            return super()._gram_solve(u, rho)
        self._decompose()
        eigenvalues = self.constant("eigenvalues", u)
        gains = damped_inverse(eigenvalues, rho.flatten(-2) if rho.ndim else rho, eigenvalues.amax())
        return self.vectors["all"].adjoint(self.vectors["all"](u) * gains)

    def _damped_pinv(self, y: Tensor, rho: Tensor) -> Tensor:
        if not self.closed_form:
            return super()._damped_pinv(y, rho)
        U, _, Vh = self.svd()
        s = self.constant("singular", y)
        gains = s * damped_inverse(s**2, rho.flatten(-2) if rho.ndim else rho, s.amax() ** 2)
        return Vh.adjoint(U.adjoint(y) * gains)

    def _decompose(self) -> None:
        """Cache the singular vectors; eigenvalues of A A^H within rounding of zero become zero.

        Those of images are products of A^H with those of data where pixels outnumber these, to be found as they are
        needed.
        """
        if len(self.vectors):
            return
        copies, few = [n for _, _, n in self.parts.sizes], math.prod(self.in_shape) <= math.prod(self.out_shape)
        with torch.inference_mode(False), torch.no_grad():
            if few:
                blocks = self._blocks(self.parts.image, [n for _, n, _ in self.parts.sizes], self._adjoint)
                grams = [block @ block.T for block in blocks]
            else:
                sizes = [n for n, _, _ in self.parts.sizes]
                grams = self._blocks(self.parts.data, sizes, lambda y: self._forward(self._adjoint(y)))
            pairs = [torch.linalg.eigh((gram + gram.T) / 2) for gram in grams]
            floor = math.prod(self.out_shape) * torch.finfo(torch.float64).eps * max(s.amax() for s, _ in pairs)
            kept = [int((values > floor).sum()) for values, _ in pairs]
            values = [values.flip(0).where(values.flip(0) > floor, 0.0) for values, _ in pairs]
            roots = [own[:k].sqrt() for own, k in zip(values, kept, strict=True)]
            for name, parts in (("eigenvalues", values), ("singular", roots)):
                each = [own.repeat_interleave(n) for own, n in zip(parts, copies, strict=True)]
                self.register_buffer(name, torch.cat(each), persistent=False)
            left = [vectors.T.flip(0).contiguous() for _, vectors in pairs]
            seen = [U[:k] for U, k in zip(left, kept, strict=True)]
            if few:
                right = [U @ block / s[:, None] for U, s, block in zip(seen, roots, blocks, strict=True)]
                self.vectors["image"] = Coefficients(self.parts.image, right, copies)
            self.vectors["data"] = Coefficients(self.parts.data, seen, copies)
            self.vectors["all"] = Coefficients(self.parts.data, left, copies)

    def _blocks(
        self, coordinates: SparseMatrix, sizes: list[int], product: Callable[[Tensor], Tensor]
    ) -> list[Tensor]:
        """For each part a row for each of its data u, the coordinates of product(u) of the part's first copy, float64.

        All of the unit data that a row of `parts.data` adds up have a product of the same coordinates there, but for
        the sign; so one of them tells, the first, and serves every part.
        """
        rows, data = self.parts.data.forward_rows[:-1].long(), self.parts.data
        unit, sign = data.forward_columns[rows].long(), data.forward_values[rows]
        units, which = unit.unique(return_inverse=True)
        found = []
        for some in units.split(TOGETHER):
            u = torch.zeros((len(some), math.prod(self.out_shape)), dtype=torch.float64, device=units.device)
            u[torch.arange(len(some), device=units.device), some] = 1.0
            found.append(coordinates(product(u.unflatten(1, self.out_shape))))
        every, parts, start, first = torch.cat(found), [], 0, 0
        for (count, _, copies), size in zip(self.parts.sizes, sizes, strict=True):
            own = slice(start, start + count * copies, copies)
            parts.append(every[which[own], first : first + size * copies : copies] / sign[own, None])
            start, first = start + count * copies, first + size * copies
        return parts

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """From the eigenvectors of A A^H, where the data are few."""
        if not self.closed_form:
            return super().svd()
        self._decompose()
        U, s = Adjoint(self.vectors["data"]), self.singular.clone()
        if "image" in self.vectors:
            return U, s, self.vectors["image"]
        return U, s, FromFunctions(self.in_shape, s.shape, lambda x: U.adjoint(self(x)) / s.to(x),
                                   lambda c: self.adjoint(U(c / s.to(c))))
