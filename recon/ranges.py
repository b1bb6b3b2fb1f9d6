"""The numbers that an option of a method may be, declared where the option is: `zeta: Positive = 1.0`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_type_hints


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both among them unless `above` leaves out `low`."""

    low: float
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high and not (self.above and value == self.low)

    def __str__(self) -> str:
        if self.high < math.inf:
            return f"{self.low:g} to {self.high:g}"
        return f"above {self.low:g}" if self.above else f"{self.low:g} or more"


Positive = Annotated[float, Range(0.0, above=True)]
NotNegative = Annotated[float, Range(0.0)]
Share = Annotated[float, Range(0.0, 1.0)]
Count = Annotated[int, Range(1, 100_000)]


def ranges(function: Callable[..., Any]) -> dict[str, Range]:
    """The ranges of a function's parameters, by name; of `Count | None` that of the number."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: mark
        for name, hint in hints.items()
        for part in (hint, *get_args(hint))
        for mark in getattr(part, "__metadata__", ())
        if isinstance(mark, Range)
    }


def refuse_outside(function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuses options outside of their ranges.

    Raises:
        ValueError: naming the option, its range and its default.
    """
    known = ranges(function)
    for name, value in options.items():
        if name in known and isinstance(value, int | float) and value not in known[name]:
            raise ValueError(f"got {name}={value}; expected {known[name]}; leave it out for the default")
