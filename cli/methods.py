"""Methods and their options, from the words of a command line."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cli import keywords


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
    """The options typed as `NAME=VALUE`, each of the type that the method's signature says."""
    return keywords.read(method, "--option", function(method), defaults(method), texts)
