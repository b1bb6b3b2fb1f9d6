"""Files before they are opened: does the path name a readable file, what is like it, what is its hash."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

from data.errors import InputRefused

MOST_NAMES = 1000  # names of one folder that are compared with a missing one


def existing_file(path: str | os.PathLike[str]) -> Path:
    """The path, if it is a regular file that may be read.

    Raises:
        InputRefused: E-FILE when it is missing (with the nearest names), a folder, a device, or not readable.
    """
    path = Path(path)
    try:
        if path.is_file():
            with path.open("rb"):
                return path
        found = (
            f"a folder holding {listing(path)}"
            if path.is_dir()
            else "a device or pipe"
            if path.exists()
            else ""
        )
    except (OSError, ValueError) as problem:  # ValueError: a null byte in the name
        reason = getattr(problem, "strerror", None) or str(problem)
        raise InputRefused(
            "E-FILE",
            "the file cannot be opened",
            str(path),
            reason,
            "a file that may be read",
            "check the path and its permissions (ls -l)",
        ) from problem
    if found:
        fix = "name one of the files in it" if path.is_dir() else "name a file"
        raise InputRefused("E-FILE", "not a file", str(path), found, "one file", fix)
    raise missing(path)


def missing(path: Path) -> InputRefused:
    """The error for a path that leads nowhere; it names the first missing part and what is near it."""
    broken = next(part for part in [*reversed(path.parents), path] if not part.exists())
    if broken.is_symlink():
        found = f"{broken} is a link to {os.readlink(broken)}, where nothing is"
        return InputRefused("E-FILE", "no such file", str(path), found, "a file that exists", "mend the link")
    folder = broken.parent
    close = nearest(broken.name, names_in(folder))
    rest = path.relative_to(broken)
    fix = (
        f"did you mean {' or '.join(str(folder / name / rest) for name in close)}?"
        if close
        else (f"check the path; {folder} holds {listing(folder)}")
    )
    return InputRefused(
        "E-FILE", "no such file", str(path), f"nothing at {broken}", "a file that exists", fix
    )


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of the known names that are spelled most like `name`, whatever the case."""
    by_lower = {k.lower(): k for k in known}
    return [by_lower[k] for k in get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)]


def names_in(folder: Path) -> list[str]:
    """The visible names in a folder, sorted; empty if it cannot be listed."""
    try:
        return sorted(e.name for e in islice(folder.iterdir(), MOST_NAMES) if not e.name.startswith("."))
    except OSError:
        return []


def listing(folder: Path, most: int = 6) -> str:
    """A few names of a folder as text: "a.png, b.png and 12 more"."""
    names = names_in(folder)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more if names else "nothing"


def sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 of the file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
