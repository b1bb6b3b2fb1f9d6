"""NAME=VALUE, as typed, to keywords of a function, each of a type that its signature allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

import data
from cli.errors import nearest, usage

WORDS = {
    int: "a whole number",
    float: "a number of at most 3.4e38",
    Sequence: "numbers with commas between",
    np.ndarray: "a file of an array (NPY, or a picture)",
    str: "a word",
}


def read(
    owner: str, flag: str, function: Callable[..., Any], known: dict[str, Any], texts: list[str]
) -> dict[str, Any]:
    """The keywords typed as `NAME=VALUE`.

    Args:
        owner: what the user calls the function.
        flag: with which these texts are given.
        function: whose signature says the types.
        known: the keywords that may be set, with their defaults.
        texts: as typed.
    """
    hints, found = get_type_hints(function), {}
    for text in texts:
        name, value = pair(owner, flag, list(known), text)
        found[name] = typed(flag, name, value, hints[name], known[name])
    return found


def pair(owner: str, flag: str, known: list[str], text: str) -> tuple[str, str]:
    """NAME and VALUE of one text, the name being one of the known."""
    name, equals, value = (part.strip() for part in text.partition("="))
    if name in known and equals and value:
        return name, value
    if name in known:
        raise usage(f"{name} has no value", flag, text, f"{name}=VALUE", f"see `recon info {owner}` for what it takes")
    listed = ", ".join(f"{key}=..." for key in known) or f"no {flag}"
    fix = f"{nearest(name, known)}see `recon info {owner}`"
    raise usage(f"{owner} has no such setting", flag, text, f"{owner} takes {listed}", fix)


def typed(flag: str, name: str, text: str, hint: Any, default: Any) -> Any:
    """One value as the first of the kinds of `WORDS` that the hint allows and the text can be."""
    allowed = kinds(hint)
    for kind, part in allowed:
        try:
            return CONVERTERS[kind](text, part)
        except ValueError:
            continue
    words = " or ".join(WORDS[kind] for kind, _ in allowed)
    fix = f"see what {name} is in `recon info`" if default is None else f"its default is {default}"
    raise usage(f"{name} not understood", flag, f"{name}={text}", words, fix)


def kinds(hint: Any) -> list[tuple[Any, Any]]:
    """The kinds of `WORDS` in a hint like `int | Sequence[float] | np.ndarray | None`, each with its part of it."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    named = {Sequence if get_origin(part) in (Sequence, tuple) else part: part for part in parts}
    return [(kind, named[kind]) for kind in WORDS if kind in named]


def whole(text: str, hint: Any) -> int:
    return int(text)


def number(text: str, hint: Any) -> float:
    value = float(text)
    if not abs(value) <= float(np.finfo(np.float32).max):
        raise ValueError(text)
    return value


def numbers(text: str, hint: Any) -> tuple[int | float, ...]:
    return tuple((whole if get_args(hint)[0] is int else number)(part, hint) for part in text.split(","))


def word(text: str, hint: Any) -> str:
    return text


def array(text: str, hint: Any) -> np.ndarray:
    """The array of a file: NPY and NPZ as they are, real or complex; a picture as its grey values in 0 .. 1."""
    from data.arrays import read_array
    from data.kinds import expect
    from data.paths import existing_file
    from data.reading import ARRAYS, PICTURES, SUFFIXES

    if SUFFIXES.get(Path(text).suffix.lower()) not in (*PICTURES, *ARRAYS):
        raise ValueError(text)
    path = existing_file(text)
    kind = expect(path, *PICTURES, *ARRAYS, as_what="an array")
    if kind in PICTURES:
        return data.read_image(path, to_gray=True).values[0]
    return read_array(path, kind, data.MAX_PIXELS)


CONVERTERS: dict[Any, Callable[[str, Any], Any]] = {
    int: whole, float: number, Sequence: numbers, np.ndarray: array, str: word,
}  # fmt: skip
