"""What detectors do to values: clipping, rounding, losing the phase."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from operators.channels import to_complex
from operators.checks import fault, finite_float, image_shape, positive_int, shape_of
from operators.linear import Operator


class Clip(Operator):
    """y = gain x, cut off below `low` and above `high`, element by element.

    Args:
        shape: in_shape and out_shape.
        gain, low, high: As for `clip`.
    """

    def __init__(self, shape: Sequence[int], gain: float, low: float, high: float) -> None:
        super().__init__(shape, shape)
        self.gain, self.low, self.high = gain, low, high

    def _forward(self, x: Tensor) -> Tensor:
        return (self.gain * x).clamp(self.low, self.high)

    def secant(self, x: Tensor, y: Tensor, std: Tensor) -> Tensor:
        """The slope that leads from x towards data y: gain, but zero where both are cut off. See `within`."""
        return self.gain * (within(self.gain * x, self.low, self.high) | within(y, self.low, self.high, 3 * std)).to(x)


class Quantise(Operator):
    """y = the nearest of 2^bits values evenly from `low` to `high`.

    The derivative is zero almost everywhere, which says nothing about an image; autograd is given that of clipping
    instead: one between low and high, zero outside.

    Args:
        shape: in_shape and out_shape.
        bits, low, high: As for `quantise`.
    """

    def __init__(self, shape: Sequence[int], bits: int, low: float, high: float) -> None:
        super().__init__(shape, shape)
        self.low, self.high, self.step = low, high, (high - low) / (2**bits - 1)

    def _forward(self, x: Tensor) -> Tensor:
        inside = x.clamp(self.low, self.high)
        rounded = self.low + self.step * ((inside.detach() - self.low) / self.step).round()
        return rounded + (inside - inside.detach())

    def secant(self, x: Tensor, y: Tensor, std: Tensor) -> Tensor:
        """The slope that leads from x towards data y: one, but zero where both are at an end. See `within`."""
        return (within(x, self.low, self.high) | within(y, self.low, self.high, 3 * std)).to(x)


class Magnitude(Operator):
    """y = |x| for complex x in two channels: (..., 2, H, W) to (..., H, W). The gradient at zero is taken as zero.

    Args:
        shape: in_shape, its third axis from the end being 2.
    """

    def __init__(self, shape: Sequence[int]) -> None:
        shape = shape_of("shape", shape)
        if len(shape) < 3 or shape[-3] != 2:
            raise fault("shape", shape, "(..., 2, H, W)", "put the real and the imaginary part on that axis")
        super().__init__(shape, (*shape[:-3], *shape[-2:]))

    def _forward(self, x: Tensor) -> Tensor:
        return to_complex(x).abs()


def within(values: Tensor, low: float, high: float, margin: float | Tensor = 0.0) -> Tensor:
    """Whether values lie between low and high, by more than a margin.

    Outside, the derivative is zero and says nothing of the way back; where the data lie within, there is one.
    """
    return (values > low + margin) & (values < high - margin)


def clip(shape: Sequence[int], gain: float = 2.0, low: float = 0.0, high: float = 1.0) -> Clip:
    """y = gain x cut off at low and high: a photograph exposed too long, to be given back its dynamic range.

    Args:
        shape: (H, W) of the image.
        gain: Above zero.
        low, high: Ends of the detector's range, in units of y.

    Raises:
        ValueError: gain is not above zero, or the range is empty.
    """
    shape, (low, high) = image_shape(shape), _range(low, high)
    operator = Clip(shape, finite_float("gain", gain, low=0.0, above=True), low, high)
    parameters = {"shape": list(shape), "gain": operator.gain, "low": low, "high": high}
    operator.spec = {"name": "clip", "parameters": parameters}
    return operator


def quantise(shape: Sequence[int], bits: int = 4, low: float = 0.0, high: float = 1.0) -> Quantise:
    """y = x rounded to the nearest of 2^bits values from low to high: a coarse analogue-to-digital converter.

    Args:
        shape: (H, W) of the image.
        bits: How many there are for each value, 1 to 16.
        low, high: The least and the largest value of y.

    Raises:
        ValueError: bits is no whole number from 1 to 16, or the range is empty.
    """
    shape, (low, high) = image_shape(shape), _range(low, high)
    bits = positive_int("bits", bits)
    if bits > 16:
        raise fault("bits", bits, "at most 16", "take the operator 'identity' for finer data")
    operator = Quantise(shape, bits, low, high)
    operator.spec = {"name": "quantise", "parameters": {"shape": list(shape), "bits": bits, "low": low, "high": high}}
    return operator


def _range(low: float, high: float) -> tuple[float, float]:
    low, high = finite_float("low", low), finite_float("high", high)
    if low >= high:
        raise fault("low and high", f"{low:g} and {high:g}", "low below high", "swap them, or widen the range")
    return low, high
