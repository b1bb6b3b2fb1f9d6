"""What all projectors of parallel-beam tomography share: the geometry, and exact solves where the data are few.

A A^H is diagonalised in the parts into which the symmetries of the scan split it: data that are even or odd under each
of them do not mix. Evenly spread views split it in four, which makes that 16 times faster.
"""

from __future__ import annotations

import itertools
import math
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import scipy.sparse
import torch
from torch import Tensor, nn

from operators.geometry import ParallelBeam
from operators.linear import FromFunctions, LinearOperator
from operators.solve import damped_inverse
from operators.sparse import SparseMatrix, matched
from operators.symmetry import Symmetry, data_permutation

TOGETHER = 128  # unit data that are projected at once


class ParallelBeamTransform(LinearOperator):
    """Projections at the angles of a parallel-beam geometry, from (..., H, W) to (..., angles, detectors).

    Args:
        geometry: Where the rays run.
        bases: Of the parts of the data in which A A^H is diagonalised on first use, which makes solves exact and
            fast, see `even_and_odd`; empty where solves are iterative.
    """

    def __init__(self, geometry: ParallelBeam, bases: list[SparseMatrix]) -> None:
        super().__init__(geometry.shape, (geometry.angles_rad.size, geometry.detectors))
        self.geometry = geometry
        self.bases = nn.ModuleList(bases)
        self.eigenspaces = nn.ModuleList()

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
        return len(self.bases) > 0

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        if not self.closed_form:
            return super()._gram_solve(u, rho)
        self._decompose()
        flat = u.flatten(-2)
        rho = rho.flatten(-2) if rho.ndim else rho
        largest = max(space.eigenvalues.amax() for space in self.eigenspaces).to(u)
        total = torch.zeros_like(flat)
        for space in self.eigenspaces:
            gains = damped_inverse(space.constant("eigenvalues", u), rho, largest)
            total = total + space.adjoint(space(flat) * gains)
        return total.unflatten(-1, self.out_shape)

    def _decompose(self) -> None:
        """Cache the eigenvectors of A A^H; eigenvalues within rounding of zero become zero."""
        if len(self.eigenspaces):
            return
        device = next(self.buffers()).device
        with torch.inference_mode(False), torch.no_grad():
            pairs = [torch.linalg.eigh(self._gram(basis, device)) for basis in self.bases]
            largest = max(values.amax() for values, _ in pairs)
            floor = math.prod(self.out_shape) * torch.finfo(torch.float64).eps * largest
            for basis, (values, vectors) in zip(self.bases, pairs, strict=True):
                self.eigenspaces.append(Eigenspace(basis, vectors, torch.where(values > floor, values, 0.0)))

    def _gram(self, basis: SparseMatrix, device: torch.device) -> Tensor:
        """Q A A^H Q^H for the basis Q."""
        units = torch.eye(*basis.out_shape, dtype=torch.float64, device=device)
        rows = [basis(self._flat_forward(self._flat_adjoint(basis.adjoint(part)))) for part in units.split(TOGETHER)]
        gram = torch.cat(rows)
        return (gram + gram.T) / 2

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """From the eigenvectors of A A^H, where the data are few."""
        if not self.closed_form:
            return super().svd()
        self._decompose()
        s = torch.cat([space.eigenvalues for space in self.eigenspaces]).sqrt()
        kept, counts = s > 0, [len(space.eigenvalues) for space in self.eigenspaces]
        s, places = s[kept], kept.nonzero()[:, 0]

        def synthesis(c: Tensor) -> Tensor:
            full = c.new_zeros(*c.shape[:-1], kept.numel()).index_copy(-1, places.to(c.device), c)
            parts = zip(self.eigenspaces, full.split(counts, dim=-1), strict=True)
            return sum(space.adjoint(part) for space, part in parts).unflatten(-1, self.out_shape)

        def analysis(y: Tensor) -> Tensor:
            full = torch.cat([space(y.flatten(-2)) for space in self.eigenspaces], dim=-1)
            return full.index_select(-1, places.to(y.device))

        U = FromFunctions(s.shape, self.out_shape, synthesis, analysis)
        Vh = FromFunctions(self.in_shape, s.shape, lambda x: U.adjoint(self(x)) / s.to(x),
                           lambda c: self.adjoint(U(c / s.to(c))))
        return U, s, Vh


class Eigenspace(LinearOperator):
    """Coefficients of data in the eigenvectors of one part: c = V^T Q u.

    Args:
        basis: Q, (size,) to (part,), with orthonormal rows.
        vectors: V, (part, part), a column for each eigenvector.
        eigenvalues: (part,).
    """

    def __init__(self, basis: SparseMatrix, vectors: Tensor, eigenvalues: Tensor) -> None:
        super().__init__(basis.in_shape, basis.out_shape)
        self.basis = basis
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("eigenvalues", eigenvalues, persistent=False)

    def _forward(self, u: Tensor) -> Tensor:
        return self.basis(u) @ self.constant("vectors", u)

    def _adjoint(self, c: Tensor) -> Tensor:
        return self.basis.adjoint(c @ self.constant("vectors", c).T)


def even_and_odd(geometry: ParallelBeam, symmetries: Sequence[Symmetry]) -> list[SparseMatrix]:
    """Orthonormal bases of the data that are even or odd under each symmetry of the scan.

    A A^H does not mix them: where A M = P A with an orthogonal M of the image and a permutation P of the data, P
    commutes with A A^H.

    Args:
        geometry: Of the scan.
        symmetries: Those to look for, none or more; each its own inverse, and commuting with the others.

    Returns:
        Maps of flattened data to coefficients; one basis, the unit data, where no symmetry is found.
    """
    size = geometry.angles_rad.size * geometry.detectors
    found = [data_permutation(geometry, symmetry) for symmetry in symmetries]
    found = [permutation for permutation in found if permutation is not None]
    group = [(np.arange(size), ())]
    for permutation in found:
        group = [(p[permutation] if done else p, (*word, done)) for p, word in group for done in (0, 1)]
    first = np.min([p for p, _ in group], axis=0) == np.arange(size)  # one of each orbit
    rows, bases = np.arange(first.sum()), []
    for odd in itertools.product((0, 1), repeat=len(found)):
        signs = [(-1.0) ** np.dot(odd, word) if word else 1.0 for _, word in group]
        places = np.tile(rows, len(group)), np.concatenate([p[first] for p, _ in group])
        # What falls on one place is added.
        part = scipy.sparse.csr_matrix((np.repeat(signs, rows.size), places), shape=(rows.size, size))
        norms = np.sqrt(part.multiply(part).sum(axis=1)).A1
        kept = norms > 0.5
        part = scipy.sparse.diags(1.0 / norms[kept]) @ part[kept]
        part.eliminate_zeros()
        if kept.any():
            bases.append(SparseMatrix(part.tocsr(), (size,), (int(kept.sum()),)))
    return bases
