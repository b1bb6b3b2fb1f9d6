"""Methods and their options, from the words of a command line."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from cli.errors import nearest, usage


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
    known, hints = list(defaults(method)), get_type_hints(function(method))
    found = {}
    for text in texts:
        name, equals, value = (part.strip() for part in text.partition("="))
        if name not in known or not equals:
            listed = ", ".join(f"{key}=..." for key in known) or "no options"
            fix = f"{nearest(name, known)}see `recon info {method}`"
            raise usage(f"no such option of {method}", "--option", text, f"{method} takes {listed}", fix)
        found[name] = parsed(method, name, value, hints[name])
    return found


def parsed(method: str, name: str, text: str, hint: Any) -> int | float | str:
    """One value as the first of the types int, float and str that the hint allows and the text can be."""
    allowed = [kind for kind in (int, float, str) if kind in (get_args(hint) or (hint,))]
    for kind in allowed:
        try:
            value = kind(text)
        except ValueError:
            continue
        if kind is str or math.isfinite(value):
            return value
    words = " or ".join({int: "a whole number", float: "a number", str: "a word"}[kind] for kind in allowed)
    fix = f"its default is {defaults(method)[name]}"
    raise usage(f"option {name} not understood", "--option", f"{name}={text}", words, fix)
