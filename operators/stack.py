"""Several measurements of one image, as one operator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from operators.checks import fault, trailing_axes
from operators.linear import LinearOperator


class Stack(LinearOperator):
    """[A; B; ...]: the outputs of several operators on one image, flattened and laid end to end.

    Args:
        operators: One or more, all with the same in_shape. out_shape is (total number of outputs,).
    """

    def __init__(self, operators: Sequence[LinearOperator]) -> None:
        operators = list(operators)
        shapes = sorted({operator.in_shape for operator in operators})
        if len(shapes) != 1:
            raise fault("Stack", f"in_shapes {shapes}", "one or more operators with the same in_shape",
                        "build them all for the same image shape")
        sizes = [math.prod(operator.out_shape) for operator in operators]
        super().__init__(shapes[0], (sum(sizes),))
        self.operators = nn.ModuleList(operators)
        self.sizes = sizes

    def split(self, y: Tensor) -> list[Tensor]:
        """The parts of y (..., total), each in the out_shape of its operator."""
        y = trailing_axes("y", y, self.out_shape)
        parts = y.split(self.sizes, dim=-1)
        return [part.unflatten(-1, A.out_shape) for part, A in zip(parts, self.operators, strict=True)]

    def _forward(self, x: Tensor) -> Tensor:
        return torch.cat([A(x).flatten(-len(A.out_shape)) for A in self.operators], dim=-1)

    def _adjoint(self, y: Tensor) -> Tensor:
        return sum(A.adjoint(part) for A, part in zip(self.operators, self.split(y), strict=True))

    @property
    def measured(self) -> Tensor | None:
        """Those of the parts, laid end to end."""
        masks = [A.measured for A in self.operators]
        if all(mask is None for mask in masks):
            return None
        device = next(mask.device for mask in masks if mask is not None)
        full = [torch.ones((), dtype=torch.bool, device=device) if mask is None else mask for mask in masks]
        return torch.cat([m.expand(A.out_shape).flatten() for m, A in zip(full, self.operators, strict=True)])
