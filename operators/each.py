"""An operator applied to each of several things: to the coils of a scanner, to the channels of an image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from operators.checks import shape_of
from operators.linear import LinearOperator


class Each(LinearOperator):
    """y[i] = A x[i] for every index i of the leading axes: (*lead, *A.in_shape) to (*lead, *A.out_shape).

    Operators keep axes in front of theirs anyway; this one makes them part of the image and of the data, so
    that it can be composed with operators that mix them.

    Args:
        lead: The leading axes, e.g. (coils,).
        operator: A.
    """

    def __init__(self, lead: Sequence[int], operator: LinearOperator) -> None:
        lead = shape_of("lead", lead)
        super().__init__((*lead, *operator.in_shape), (*lead, *operator.out_shape))
        self.operator = operator

    def _forward(self, x: Tensor) -> Tensor:
        return self.operator(x)

    def _adjoint(self, y: Tensor) -> Tensor:
        return self.operator.adjoint(y)

    def _gram_solve(self, u: Tensor, rho: Tensor) -> Tensor:
        return self.operator._gram_solve(u, rho)

    @property
    def closed_form(self) -> bool:
        return self.operator.closed_form

    @property
    def orthonormal_rows(self) -> bool:
        return self.operator.orthonormal_rows

    @property
    def measured(self) -> Tensor | None:
        """That of A, the same for each."""
        return self.operator.measured
