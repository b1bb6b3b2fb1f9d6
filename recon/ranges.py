"""What an option of a method may be, declared where the option is: `zeta: Positive = 1.0`."""

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


@dataclass(frozen=True)
class Words:
    """One of several names."""

    names: tuple[str, ...]

    def __contains__(self, value: object) -> bool:
        return value in self.names

    def __str__(self) -> str:
        return f"one of {', '.join(self.names)}"


Positive = Annotated[float, Range(0.0, above=True)]
NotNegative = Annotated[float, Range(0.0)]
Share = Annotated[float, Range(0.0, 1.0)]
Count = Annotated[int, Range(1, 100_000)]


def ranges(function: Callable[..., Any]) -> dict[str, Range | Words]:
    """The ranges of a function's parameters, by name; of `Count | None` that of the number, likewise of words."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name: mark
        for name, hint in hints.items()
        for part in (hint, *get_args(hint))
        for mark in getattr(part, "__metadata__", ())
        if isinstance(mark, Range | Words)
    }


def refuse_outside(function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Refuses options outside of their ranges.

    Raises:
        ValueError: naming the option, and its range or words.
    """
    known = ranges(function)
    for name, value in options.items():
        kind = str if isinstance(known.get(name), Words) else int | float
        if name in known and isinstance(value, kind) and value not in known[name]:
            raise ValueError(f"got {name}={value!r}; expected {known[name]}; leave it out for the default")
