"""What a wrong adjoint may be: the true one, changed as people change it by mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from operators.linear import LinearOperator

AGREES = 1e-5  # relative: far above rounding, far below chance

Change = Callable[[Tensor], Tensor]


def suspicion(A: LinearOperator, x: Tensor, y: Tensor) -> str:
    """The likely cause of an adjoint that fails the dot test, and the remedy.

    Every suspect is a change of what the adjoint gives, or of what it is given. It is guilty if the dot test holds
    with it undone, up to one factor for all pairs.

    Args:
        A: The operator.
        x, y: Unit normal images and data, at least four pairs.
    """
    axes = tuple(range(1, y.ndim))
    wanted = (A(x) * y).sum(axes)
    result = A.adjoint(y)
    if not bool((result != 0).any()):
        return "the adjoint gives only zeros"
    tries: list[tuple[str, Tensor]] = [("", result)]
    tries += [(f"{text} of its result", undo(result)) for text, undo in changes(A.in_shape)]
    tries += [(f"{text} of its argument", A.adjoint(undo(y))) for text, undo in changes(A.out_shape)]
    if _complex(A.in_shape) and _complex(A.out_shape):
        tries.append(("a missing conjugation (a transpose in place of the conjugate transpose)",
                      _conjugate(A.adjoint(_conjugate(y)))))
    for text, attempt in tries:
        factor = _common_factor(wanted, (x * attempt).sum(tuple(range(1, x.ndim))))
        if factor is None:
            continue
        scaled = f"{factor:.6g} times what it should be: multiply it by {1 / factor:.6g}"
        if not text:
            return f"the adjoint is {scaled}"
        return f"suspected cause: {text}" + ("" if abs(factor - 1) < AGREES else f"; and it is {scaled}")
    Ax = A(x)
    if (A(A.adjoint(Ax)) - Ax).norm() <= AGREES * Ax.norm():
        return "the adjoint undoes A: it is an inverse or pseudo-inverse; return A^H y instead"
    return ("no simple cause fits; look for a weight applied in one of the two only, another boundary, or another "
            "order of the axes, and compare with backpropagation: torch.autograd.functional.vjp(A, x, y)")


def changes(shape: tuple[int, ...]) -> Iterator[tuple[str, Change]]:
    """(what was done to it, how to undo that) for tensors that end in `shape`."""
    for axis in range(-1, -min(2, len(shape)) - 1, -1):
        for step in (1, -1, 2, -2):
            if shape[axis] > abs(step):
                yield (f"a shift by {-step} along axis {axis}",
                       lambda v, step=step, axis=axis: v.roll(step, axis))
        if shape[axis] > 1:
            yield f"a reversed axis {axis}", lambda v, axis=axis: v.flip(axis)
    if len(shape) > 1:
        yield "a turn by 180 degrees", lambda v: v.flip((-2, -1))
        for steps in ((1, 1), (-1, -1), (1, -1), (-1, 1)):
            yield (f"a shift by {tuple(-step for step in steps)} along the last two axes",
                   lambda v, steps=steps: v.roll(steps, (-2, -1)))
        if shape[-1] == shape[-2]:
            yield "a transposition", lambda v: v.mT
    if _complex(shape):
        yield "a conjugation (or one too few)", _conjugate


def _complex(shape: tuple[int, ...]) -> bool:
    """Whether the tensors may be complex numbers in two channels."""
    return len(shape) > 2 and shape[-3] == 2


def _conjugate(v: Tensor) -> Tensor:
    return torch.cat([v[..., :1, :, :], -v[..., 1:, :, :]], dim=-3)


def _common_factor(wanted: Tensor, found: Tensor) -> float | None:
    """c with found = c wanted for all pairs, or None."""
    factor = ((found * wanted).sum() / wanted.square().sum()).item()
    near = (found - factor * wanted).norm() <= AGREES * found.norm()
    return factor if bool(near) and factor != 0 else None
