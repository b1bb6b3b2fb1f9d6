"""Checks shared by the operators. Every refusal says what was got, what was expected and how to mend it."""

from __future__ import annotations

import math
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

LEAST, MOST = 1e-18, 1e18  # of what is zero or more: single precision holds its square and one over that
LARGEST = 3.4e38  # of single precision


def fault(what: str, got: object, expected: object, remedy: str) -> ValueError:
    """A ValueError that says got / expected / what to do."""
    return ValueError(f"{what}: got {got}; expected {expected}; {remedy}")


def positive_int(what: str, value: object) -> int:
    """`value` as an int above zero."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise fault(what, repr(value), "a whole number above zero", f"pass an int, e.g. {what}=4")
    return int(value)


def finite_float(what: str, value: object, low: float = -math.inf, above: bool = False) -> float:
    """`value` as a float that single precision holds, at least `low` (or `above` it)."""
    good = isinstance(value, Real) and not isinstance(value, bool) and abs(value) <= LARGEST
    if not good or value < low or (above and value < low + LEAST):
        bound = "" if low == -math.inf else f" {'above' if above else 'of at least'} {low:g}"
        raise fault(what, repr(value), f"one finite number{bound}", f"correct `{what}`")
    return float(value)


def shape_of(what: str, value: object, axes: int | None = None) -> tuple[int, ...]:
    """`value` as a tuple of positive ints, with `axes` entries where given."""
    entries = [value] if isinstance(value, Integral) else value
    try:
        shape = tuple(positive_int(what, entry) for entry in entries)
    except TypeError:
        shape = ()
    if not shape or (axes is not None and len(shape) != axes):
        wanted = "(height, width)" if axes == 2 else f"{axes or 'one or more'} positive ints"
        raise fault(what, repr(value), wanted, f"pass e.g. {what}={(64,) * (axes or 2)}")
    return shape


def image_shape(value: object) -> tuple[int, int]:
    """`value` as (height, width)."""
    return shape_of("shape", value, axes=2)


def real_array(what: str, value: object) -> np.ndarray:
    """`value` as a finite float64 array."""
    return _finite_array(what, value, "real", "buif", np.float64)


def complex_array(what: str, value: object) -> np.ndarray:
    """`value`, complex or real, as a finite complex128 array."""
    return _finite_array(what, value, "complex", "buifc", np.complex128)


def _finite_array(what: str, value: object, numbers: str, kinds: str, dtype: type) -> np.ndarray:
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        array = np.asarray(None)
    if array.dtype.kind not in kinds or array.size == 0:
        kind = "an empty array" if array.size == 0 else f"dtype {array.dtype}"
        raise fault(what, kind, f"a non-empty array of {numbers} numbers", f"pass `{what}` as {numbers} numbers")
    array = array.astype(dtype)
    bad = int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise fault(what, f"{bad} entries that are NaN or infinite, the first at index {first}",
                    "finite numbers", f"replace them in `{what}`")
    return array


def trailing_axes(what: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """`value`, a real floating tensor whose last axes are `shape`."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{what}: got {type(value).__name__}; expected a torch.Tensor; use torch.as_tensor")
    if not value.is_floating_point():
        raise fault(what, f"dtype {value.dtype}", "a real floating dtype", "convert it, e.g. with .float()")
    if value.shape[value.ndim - len(shape):] != shape or value.ndim < len(shape):
        axes = ", ".join(str(n) for n in shape)
        raise fault(what, f"shape {tuple(value.shape)}", f"(..., {axes})",
                    "give a tensor with these last axes, or build the operator for this shape")
    return value


def per_sample(what: str, value: float | Tensor, like: Tensor, event_axes: int) -> Tensor:
    """`value` (a number, or one number for each entry of the first axis) shaped to broadcast over `like`.

    Args:
        what: Name of the argument, for the error.
        value: Float, tensor of shape (), or tensor of shape (B,), none of them negative.
        like: Tensor (B, ..., *event).
        event_axes: Number of the last axes of `like` that are no batch.
    """
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    batched = like.ndim > event_axes
    if value.ndim > 1 or (value.ndim == 1 and not (batched and value.shape[0] == like.shape[0])):
        samples = f" or ({like.shape[0]},)" if batched else ""
        raise fault(what, f"shape {tuple(value.shape)}", f"a number, or shape (){samples}",
                    "give one value, or one for each sample of the first axis")
    if not bool((value >= 0).all()):
        raise fault(what, value.tolist(), "zero or more", f"check how `{what}` was computed")
    return value.reshape(value.shape + (1,) * (like.ndim - 1)) if value.ndim else value


def level_for(what: str, value: float | Tensor, y: Tensor) -> Tensor:
    """`value`, a number or a tensor that broadcasts to y, in the dtype and on the device of y."""
    level = torch.as_tensor(value, dtype=y.dtype, device=y.device)
    pairs = zip(level.shape[::-1], y.shape[::-1], strict=False)
    if level.ndim > y.ndim or any(a not in (1, b) for a, b in pairs):
        raise fault(what, f"shape {tuple(level.shape)}", f"broadcastable to y {tuple(y.shape)}",
                    "give a number, or one value for each element of y")
    return level


def level_at_least(what: str, value: float | Tensor, remedy: str, above: bool = False) -> None:
    """Refuse a number or tensor that is not within `LEAST` .. `MOST`; without `above`, zero is taken too."""
    level = torch.as_tensor(value, dtype=torch.float64)
    wrong = ~((level >= LEAST) & (level <= MOST) | (level == 0) & (not above))
    if bool(wrong.any()):
        bound = "above zero" if above else "zero or more"
        raise fault(what, float(level[wrong].flatten()[0]), f"finite and {bound}, within {LEAST:g} .. {MOST:g}", remedy)


def data_pair(y: Tensor, clean: Tensor) -> None:
    """Refuse data and noiseless data that are not of one shape (B, ...)."""
    if y.shape != clean.shape or y.ndim < 2:
        raise fault("log_likelihood", f"y {tuple(y.shape)} and clean {tuple(clean.shape)}",
                    "two equal shapes (B, ...)", "give both a batch axis and the same shape")


def unit_draws(clean: Tensor, noise: tuple[Tensor, ...], count: int) -> None:
    """Refuse draws that are not `count` tensors of the shape of `clean`."""
    if len(noise) != count or any(draw.shape != clean.shape for draw in noise):
        raise fault("noise", f"shape {', '.join(str(tuple(draw.shape)) for draw in noise) or 'nothing'}",
                    f"{'that' if count == 1 else f'{count} tensors'} of the data, {tuple(clean.shape)}",
                    f"draw {'it' if count == 1 else 'each'} with torch.randn_like(clean)")
