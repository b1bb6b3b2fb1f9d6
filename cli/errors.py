"""Every failure in one form: what went wrong, where, what was found and expected, how to mend it.

error E-RANGE: values outside the range of the prior
  where     photo.npy
  found     0 .. 255
  expected  0 .. 1
  fix       divide by 255
"""

from __future__ import annotations

import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import version

import typer

from data.errors import InputRefused

OK, BUG, USAGE, INPUT, NUMERICAL, RESOURCES, PARTLY, SAFETY = range(8)
INTERRUPTED, TERMINATED = 130, 143
UsageError = typer.BadParameter.__mro__[1]  # typer names only the subclass in public


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised like Ctrl-C so that whatever saves a checkpoint on one saves it on the other."""


def usage(title: str, where: str, found: object, expected: object, fix: str) -> InputRefused:
    """The error for a wrong flag or configuration (exit 2)."""
    return InputRefused("E-USAGE", title, where, str(found), str(expected), fix, exit_code=USAGE)


def nearest(name: str, known: list[str]) -> str:
    """`did you mean X? ` when a known name is close to `name`, else nothing."""
    close = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"did you mean {close[0]}? " if close else ""


@contextmanager
def refusing(code: str, title: str, where: str, exit_code: int, fix: str = "") -> Iterator[None]:
    """Turns the library's `ValueError("got X; expected Y; remedy")` into an error of the command."""
    try:
        yield
    except (ValueError, TypeError) as error:
        found, expected, remedy = split(str(error))
        raise InputRefused(code, title, where, found, expected, fix or remedy, exit_code=exit_code) from error


def split(text: str) -> tuple[str, str, str]:
    """The parts of `[name: ]got X; expected Y; remedy`; a text of another form is all `found`."""
    found, expected, remedy = [*(part.strip() for part in text.split(";", 2)), "", ""][:3]
    found = re.sub(r"^(?:(.{1,40}?): )?got ", lambda match: f"{match[1]}: " if match[1] else "", found)
    return found, expected.removeprefix("expected "), remedy


def explain(error: BaseException) -> InputRefused:
    """The refusal that stands for any exception; an unknown one is a bug and leaves a log."""
    if isinstance(error, InputRefused):
        return error
    if isinstance(error, UsageError):
        return bad_usage(error)
    if isinstance(error, FloatingPointError):
        return InputRefused(
            "E-DIVERGED",
            "the computation left the finite numbers",
            "sampler",
            str(error),
            "finite values",
            "more --steps, another --method, or check --noise",
            exit_code=NUMERICAL,
        )
    if is_memory(error):
        return InputRefused(
            "E-MEMORY",
            "not enough memory",
            "computation",
            first_line(error),
            "room for the batch",
            "a smaller --batch-size, or fewer --samples",
            exit_code=RESOURCES,
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputRefused(
            "E-DISK",
            "no space left on the disk",
            str(error.filename or "output"),
            first_line(error),
            "room for the result",
            "free some space, or choose another -o",
            exit_code=RESOURCES,
        )
    if isinstance(error, PermissionError):
        return InputRefused(
            "E-OUTPUT",
            "no permission",
            str(error.filename),
            first_line(error),
            "a path that may be written",
            "choose another -o",
            exit_code=USAGE,
        )
    return bug(error)


def bad_usage(error: Exception) -> InputRefused:
    """A wrong command line, from the parser's own exception."""
    context, name = getattr(error, "ctx", None), getattr(getattr(error, "param", None), "name", None)
    command = context.command_path if context else "recon"
    if context and name in (context.default_map or {}):
        from cli.config import line_of

        where, found = line_of(context.obj, name), f"{name} = {context.default_map[name]!r}"
        return usage("wrong value in the configuration", where, found, error.message, "mend the value")
    return usage(
        "wrong command line",
        command,
        error.format_message(),
        "a command line as in its help",
        f"{command} --help",
    )


def is_memory(error: BaseException) -> bool:
    """Whether memory ran out, on the host or on an accelerator (asked by name: torch may not be loaded)."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def bug(error: BaseException) -> InputRefused:
    """An error nobody foresaw: the traceback goes to a log file that a report can carry."""
    handle, path = tempfile.mkstemp(prefix="recon-", suffix=".log", text=True)
    with os.fdopen(handle, "w") as log:
        log.write(f"recon {version('recon')}, Python {sys.version}\n{' '.join(sys.argv)}\n\n")
        traceback.print_exception(error, file=log)
    return InputRefused(
        "E-BUG",
        "this is a mistake in recon, not in your input",
        path,
        f"{type(error).__name__}: {first_line(error)}",
        "no such error",
        f"please report it with {path}",
        exit_code=BUG,
    )


def first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
