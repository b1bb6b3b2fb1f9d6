"""Methods and their options, from the words of a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cli import keywords
from cli.errors import USAGE, refusing


def function(name: str) -> Callable[..., Any]:
    """The preset or the classical method of that name."""
    from recon.classical import CLASSICAL
    from recon.presets import METHODS

    return {**METHODS, **CLASSICAL}[name]


def defaults(method: str) -> dict[str, Any]:
    """The options of a method with their defaults: its parameters that have one."""
    parameters = inspect.signature(function(method)).parameters.values()
    return {p.name: p.default for p in parameters if p.default is not inspect.Parameter.empty}


def options(method: str, texts: list[str]) -> dict[str, Any]:
    """The options typed as `NAME=VALUE`, each of the type and in the range that the method's signature says."""
    from recon.ranges import refuse_outside

    found = keywords.read(method, "--option", function(method), defaults(method), texts)
    with refusing("E-USAGE", "option out of its range", "--option", USAGE, f"see `recon info {method}`"):
        refuse_outside(function(method), found)
    return found


def table(method: str) -> dict[str, str]:
    """The options of a method: default and range."""
    from recon.ranges import ranges

    allowed = ranges(function(method))
    return {
        name: ("chosen by the method" if value is None else str(value))
        + (f"; {allowed[name]}" if name in allowed else "")
        for name, value in defaults(method).items()
    }
