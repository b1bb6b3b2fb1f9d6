"""The parameters of an operator in words: default and meaning, from its signature and its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from cli import spec


def table(operator: str) -> dict[str, str]:
    """What `--set NAME=VALUE` takes for an operator: its default and what it is; a shorthand where there is one."""
    from operators import OPERATORS

    meaning = arguments(OPERATORS[operator])
    found = {}
    for name, default in spec.parameters(operator).items():
        parts = [f"--{name}" if name in spec.SHORTHANDS else "", shown(default), meaning.get(name, "")]
        found[name] = "; ".join(filter(None, parts))
    return found


def shown(default: Any) -> str:
    """A default in words; nothing where there is none."""
    if default is None:
        return ""
    return "default " + (",".join(f"{x:g}" for x in default) if np.ndim(default) else f"{default}")


def arguments(function: Callable[..., Any]) -> dict[str, str]:
    """What the section `Args:` of a docstring says of each parameter, up to the end of its sentence."""
    text = inspect.getdoc(function) or ""
    section = re.search(r"^Args:\n(.*?)(?:^\S|\Z)", text + "\n", re.S | re.M)
    found: dict[str, str] = {}
    for entry in re.split(r"\n(?= {4}\S)", section[1].rstrip() if section else ""):
        names, colon, words = entry.partition(":")
        if colon:
            found |= {name.strip(): " ".join(words.split()) for name in names.split(",")}
    return found
