"""Operators, and the algebra of the linear ones.

An operator A takes images x to data y = A(x). `in_shape` and `out_shape` are the last axes it acts on; every
axis before them is batch and is kept. Linear operators also have

    A.adjoint(y)            A^H y, exactly matched: <A x, y> = <x, A^H y>
    A.normal(x)             A^H A x
    A.gram_solve(u, rho)    (A A^H + rho I)^-1 u, the one solve that every guidance and projection needs
    A.damped_pinv(y, rho)   A^H (A A^H + rho I)^-1 y, which is (A^H A + rho I)^-1 A^H y
    A.pinv(y)               the same at rho = 0, the minimum-norm least-squares solution
    A.svd()                 (U, s, Vh), where it is cheap
    A.H, A @ B, c * A, A + B, Stack([A, B])

A @ B is also there where one of the two is nonlinear, and is then a `Chain`.

Results have the dtype and the device of their argument: an operator holds its constants once, mostly in
float64, and keeps a copy for each dtype and device it meets. `A.to(device)` moves the constants themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Real

import torch
from torch import Tensor, nn

from operators.checks import fault, finite_float, per_sample, shape_of, trailing_axes
from operators.solve import conjugate_residuals, damped_inverse, least_squares


class Operator(nn.Module):
    """y = A(x), from (..., *in_shape) to (..., *out_shape), maybe nonlinear. Subclasses write `_forward`."""

    lead: tuple[int, ...] = ()  # batch axes that x must have, where constants differ from item to item

    def __init__(self, in_shape: Sequence[int], out_shape: Sequence[int]) -> None:
        super().__init__()
        self.in_shape = shape_of("in_shape", in_shape)
        self.out_shape = shape_of("out_shape", out_shape)
        self.spec: dict | None = None  # {"name", "parameters"}: how OPERATORS rebuilds this operator
        self._copies: dict[tuple, tuple[Tensor, Tensor]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """A(x).

        Args:
            x: (..., *in_shape), real floating.

        Returns:
            (..., *out_shape), of the dtype of x.
        """
        return self._forward(trailing_axes("x", x, self.in_shape))

    def _forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _forward")

    def __matmul__(self, other: Operator) -> Operator:
        return Chain(self, other) if isinstance(other, Operator) else NotImplemented

    @property
    def measured(self) -> Tensor | None:
        """Which elements of y were measured: boolean, broadcastable to out_shape; None means all of them."""
        return None

    def constant(self, name: str, like: Tensor) -> Tensor:
        """The buffer `name` on the device of `like`, and in its dtype if floating; converted once."""
        source = self._buffers[name]
        dtype = like.dtype if source.is_floating_point() else source.dtype
        if source.dtype == dtype and source.device == like.device:
            return source
        key = (name, dtype, like.device)
        held = self._copies.get(key)
        if held is None or held[0] is not source:
            with torch.inference_mode(False):  # a copy first made in inference mode must serve autograd later
                held = (source, source.to(like.device, dtype))
            self._copies[key] = held
        return held[1]

    def extra_repr(self) -> str:
        return f"{self.in_shape} -> {self.out_shape}"


class Chain(Operator):
    """A(B(x)): first `inner` B, then `outer` A, one of them nonlinear."""

    def __init__(self, outer: Operator, inner: Operator) -> None:
        _fitting(outer, inner)
        super().__init__(inner.in_shape, outer.out_shape)
        self.outer, self.inner = outer, inner

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    @property
    def measured(self) -> Tensor | None:
        """That of the outer factor, which makes the data."""
        return self.outer.measured


class LinearOperator(Operator):
    """y = A x. Subclasses write `_forward`, `_adjoint` and, where they are cheap, `_gram_solve` and `svd`."""

    def adjoint(self, y: Tensor) -> Tensor:
        """A^H y: (..., *out_shape) to (..., *in_shape)."""
        return self._adjoint(trailing_axes("y", y, self.out_shape))

    def normal(self, x: Tensor) -> Tensor:
        """A^H A x: (..., *in_shape) to the same, as of the normal equations; often cheaper than one after the other."""
        return self._normal(trailing_axes("x", x, self.in_shape))

    def gram_solve(self, u: Tensor, rho: float | Tensor = 0.0) -> Tensor:
        """(A A^H + rho I)^-1 u; at rho = 0 the pseudo-inverse (A A^H)^+ u.

        Args:
            u: (B, ..., *out_shape).
            rho: Zero or more; one number, or a tensor (B,) with one for each entry of the first axis.

        Returns:
            Tensor of the shape of u.

        Raises:
            ValueError: rho is negative or NaN, or has neither one value nor one for each sample.
        """
        u = trailing_axes("u", u, self.out_shape)
        return self._gram_solve(u, per_sample("rho", rho, u, len(self.out_shape)))

    def damped_pinv(self, y: Tensor, rho: float | Tensor) -> Tensor:
        """A^H (A A^H + rho I)^-1 y, the x that minimises |y - A x|^2 + rho |x|^2.

        Where solves are iterative this is more accurate than the adjoint of `gram_solve`, whose solution grows as
        1 / rho with any part of y that no image explains, and takes fewer iterations.

        Args:
            y: (B, ..., *out_shape).
            rho: Zero or more; one number, or a tensor (B,) with one for each entry of the first axis.

        Returns:
            (B, ..., *in_shape).
        """
        y = trailing_axes("y", y, self.out_shape)
        return self._damped_pinv(y, per_sample("rho", rho, y, len(self.out_shape)))

    def pinv(self, y: Tensor) -> Tensor:
        """A^+ y = A^H (A A^H)^+ y, the least-squares solution of least norm."""
        return self.damped_pinv(y, 0.0)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """A = U diag(s) Vh: U maps (k,) to out_shape, s has shape (k,), Vh maps in_shape to (k,).

        U and Vh^H are isometries; s is float64 and not sorted, and may leave out zeros.

        Raises:
            ValueError: no cheap decomposition is known for this operator; use `gram_solve`, or build a
                `Dense` operator from its matrix if it is small.
        """
        raise fault("svd", type(self).__name__, "an operator whose singular vectors are cheap",
                    "use gram_solve, or Dense(dense_matrix(A), A.in_shape, A.out_shape) if A is small")

    @property
    def H(self) -> LinearOperator:
        """The adjoint as an operator; A.H.H is A."""
        return Adjoint(self)

    def __matmul__(self, other: Operator) -> Operator:
        return Compose(self, other) if isinstance(other, LinearOperator) else super().__matmul__(other)

    def __add__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, other) if isinstance(other, LinearOperator) else NotImplemented

    def __sub__(self, other: LinearOperator) -> LinearOperator:
        return Sum(self, -other) if isinstance(other, LinearOperator) else NotImplemented

    def __rmul__(self, scale: float) -> LinearOperator:
        return Scaled(scale, self) if isinstance(scale, Real) else NotImplemented

    def __neg__(self) -> LinearOperator:
        return Scaled(-1.0, self)

    @property
    def orthonormal_rows(self) -> bool:
        """Whether A A^H = I is known, as for a unitary transform; False claims nothing."""
        return False

    @property
    def closed_form(self) -> bool:
        """Whether `gram_solve` takes no iterations; subclasses with a `_gram_solve` that may, say when."""
        return type(self)._gram_solve is not LinearOperator._gram_solve

    def _adjoint(self, y: Tensor) -> Tensor:
        raise NotImplementedError(f"{type(self).__name__} must define _adjoint")

    def _normal(self, x: Tensor) -> Tensor:
        return self._adjoint(self._forward(x))

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        """By iteration; `rho` comes shaped to broadcast over `u`."""
        rho = rho.expand(u.shape[:1] + (1,) * (u.ndim - 1)) if u.ndim > len(self.out_shape) else rho
        zero = rho == 0
        solved = u
        if not bool(zero.all()):
            damping = torch.where(zero, 1.0, rho)
            solved = conjugate_residuals(
                lambda z: self._forward(self._adjoint(z)) + damping * z,
                u.where(~zero, 0.0), len(self.out_shape),
            )
        if not bool(zero.any()):
            return solved

        # u may have a part outside the range of A, where A A^H z = u has no solution; so in two steps,
        # (A A^H)^+ = (A^H)^+ A^+.
        x = least_squares(self._flat_forward, self._flat_adjoint, u.where(zero, 0.0).flatten(-len(self.out_shape)))
        z = least_squares(self._flat_adjoint, self._flat_forward, x)
        return torch.where(zero, z.unflatten(-1, self.out_shape), solved)

    def _damped_pinv(self, y: Tensor, rho: Tensor) -> Tensor:
        if self.closed_form:
            return self._adjoint(self._gram_solve(y, rho))
        flat = y.flatten(-len(self.out_shape))
        damping = rho.reshape(rho.shape[:1] + (1,) * (flat.ndim - 1)) if rho.ndim else rho
        x = least_squares(self._flat_forward, self._flat_adjoint, flat, damping=damping)
        return x.unflatten(-1, self.in_shape)

    def _flat_forward(self, x: Tensor) -> Tensor:
        return self._forward(x.unflatten(-1, self.in_shape)).flatten(-len(self.out_shape))

    def _flat_adjoint(self, y: Tensor) -> Tensor:
        return self._adjoint(y.unflatten(-1, self.out_shape)).flatten(-len(self.in_shape))


class FromFunctions(LinearOperator):
    """The linear operator given by two functions, `forward` and its exactly matched `adjoint`."""

    def __init__(
        self,
        in_shape: Sequence[int],
        out_shape: Sequence[int],
        forward: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__(in_shape, out_shape)
        self.functions = (forward, adjoint)

    def _forward(self, x: Tensor) -> Tensor:
        return self.functions[0](x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.functions[1](y)


class Adjoint(LinearOperator):
    """A^H."""

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__(operator.out_shape, operator.in_shape)
        self.operator = operator

    def _forward(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)

    def _adjoint(self, x: Tensor) -> Tensor:
        return self.operator(x)

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """A^H = V diag(s) U^H."""
        U, s, Vh = self.operator.svd()
        return Vh.H, s, U.H

    @property
    def H(self) -> LinearOperator:
        """The operator itself."""
        return self.operator


class Compose(LinearOperator):
    """A B: first `inner` B, then `outer` A."""

    def __init__(self, outer: LinearOperator, inner: LinearOperator) -> None:
        _fitting(outer, inner)
        super().__init__(inner.in_shape, outer.out_shape)
        self.outer, self.inner = outer, inner

    def _forward(self, x: Tensor) -> Tensor:
        return self.outer(self.inner(x))

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def _normal(self, x: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.normal(self.inner(x)))

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        # A B B^H A^H = A A^H where B B^H = I, so the solver of A serves.
        solver = self.outer._gram_solve if self.inner.orthonormal_rows else super()._gram_solve
        return solver(u, rho)

    @property
    def closed_form(self) -> bool:
        return self.inner.orthonormal_rows and self.outer.closed_form

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """U diag(s) (Vh B) from the decomposition of A; where B has orthonormal rows."""
        if not self.inner.orthonormal_rows:
            return super().svd()
        U, s, Vh = self.outer.svd()
        return U, s, Vh @ self.inner

    @property
    def orthonormal_rows(self) -> bool:
        return self.outer.orthonormal_rows and self.inner.orthonormal_rows

    @property
    def measured(self) -> Tensor | None:
        """That of the outer factor, which makes the data."""
        return self.outer.measured


class Scaled(LinearOperator):
    """c A, for one real number c."""

    def __init__(self, scale: float, operator: LinearOperator) -> None:
        super().__init__(operator.in_shape, operator.out_shape)
        self.scale = finite_float("scale", scale)
        self.operator = operator

    def _forward(self, x: Tensor) -> Tensor:
        return self.scale * self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.scale * self.operator.adjoint(y)

    def _normal(self, x: Tensor) -> Tensor:
        return self.scale**2 * self.operator.normal(x)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        if self.scale == 0.0:
            return u * damped_inverse(torch.zeros_like(rho), rho)
        square = self.scale**2
        return self.operator._gram_solve(u, rho / square) / square

    @property
    def closed_form(self) -> bool:
        return self.scale == 0.0 or self.operator.closed_form

    def svd(self) -> tuple[LinearOperator, Tensor, LinearOperator]:
        """The sign of c goes to U."""
        U, s, Vh = self.operator.svd()
        return math.copysign(1.0, self.scale) * U, abs(self.scale) * s, Vh

    @property
    def measured(self) -> Tensor | None:
        """That of A."""
        return self.operator.measured


class Sum(LinearOperator):
    """A + B, for operators between the same shapes."""

    def __init__(self, first: LinearOperator, second: LinearOperator) -> None:
        shapes = [f"{A.in_shape} -> {A.out_shape}" for A in (first, second)]
        if shapes[0] != shapes[1]:
            raise fault("A + B", " and ".join(shapes), "equal shapes",
                        "build both for the same shapes, or use Stack for data side by side")
        super().__init__(first.in_shape, first.out_shape)
        self.first, self.second = first, second

    def _forward(self, x: Tensor) -> Tensor:
        return self.first(x) + self.second(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.first.adjoint(y) + self.second.adjoint(y)

    @property
    def measured(self) -> Tensor | None:
        """Measured by either."""
        first, second = self.first.measured, self.second.measured
        return None if first is None or second is None else first | second


def _fitting(outer: Operator, inner: Operator) -> None:
    if outer.in_shape != inner.out_shape:
        raise fault("A @ B", f"A that takes {outer.in_shape} after B that gives {inner.out_shape}",
                    "A.in_shape == B.out_shape", "build both for the same shape, or swap them")
