"""Every failure in one form: what went wrong, where, what was found and expected, how to mend it.

error E-RANGE: values outside the range of the prior
  where     photo.npy
  found     0 .. 255
  expected  0 .. 1
  fix       divide by 255
"""

from __future__ import annotations

import errno
import inspect
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, Literal, get_args, get_origin, get_type_hints

import typer

from data.errors import InputRefused

OK, BUG, USAGE, INPUT, NUMERICAL, RESOURCES, PARTLY, SAFETY = range(8)
INTERRUPTED, TERMINATED = 130, 143
UsageError = typer.BadParameter.__mro__[1]  # typer names only the subclass in public
FLAGS = (  # parameters of the library that are flags of the same name
    "angles", "detectors", "keep", "mask", "box", "std", "kernel", "motion", "boundary", "factor", "steps", "samples",
    "seed", "batch_size", "method", "device",
)  # fmt: skip


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
    """Turns the library's `ValueError("got X; expected Y; remedy")` into an error of the command.

    A usage error is about flags, so it speaks of flags where the library speaks of arguments.
    """
    try:
        yield
    except (ValueError, TypeError) as error:
        text = in_flags(str(error)) if exit_code == USAGE else str(error)
        found, expected, remedy = split(text)
        raise InputRefused(code, title, where, found, expected, fix or remedy, exit_code=exit_code) from error


def flag(name: str) -> str:
    """The flag of a parameter: `--batch-size`."""
    return "--" + name.replace("_", "-")


def in_flags(text: str) -> str:
    """The library's Python words as a command line has them: `keep=0.4` is `--keep 0.4`, "`std`" is --std."""
    names = "|".join(FLAGS)
    text = re.sub(rf"\b({names})=(?=\S)", lambda match: flag(match[1]) + " ", text)
    text = re.sub(rf"`({names})\b[^`]*`", lambda match: flag(match[1]), text)
    return text.replace("A.pinv(y)", "--method pinv")


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
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    command = context.command_path if context else "recon"
    if parameter is None:
        expected = "a command line as in its help"
        return usage("wrong command line", command, error.format_message(), expected, f"{command} --help")
    name, verb = parameter.name, inspect.unwrap(context.command.callback)
    expected, default = accepted(verb, name), inspect.signature(verb).parameters[name].default
    if name in (context.default_map or {}):
        from cli.config import line_of

        where, found = line_of(context.obj, name), f"{name} = {context.default_map[name]!r}"
        return usage("wrong value in the configuration", where, found, expected, "mend the value")
    typed = next((problem["input"] for problem in problems(error)), None)
    found = error.format_message() if typed is None else f"{parameter.opts[-1]} {typed}"
    name, see = parameter.opts[-1], f"see `{command} --help`"
    if default is inspect.Parameter.empty:
        return usage("wrong command line", command, found, expected, see)
    fix = f"leave {name} out" if default is None else f"{name} {default}"
    return usage("wrong command line", command, found, expected, f"{fix}, or {see}")


def problems(error: BaseException) -> list[dict[str, Any]]:
    """What the validator behind a parser's error says, where there is one."""
    listed = getattr(error.__cause__, "errors", None)
    return listed() if listed else []


def accepted(verb: Any, name: str) -> str:
    """The values that a parameter of a command takes, in words, from its annotation."""
    kind, info = get_args(get_type_hints(verb, include_extras=True)[name])
    parts = get_args(kind)
    kind = parts[0] if type(None) in parts else kind  # `int | None` is an int that may be left out
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    number = {int: "a whole number", float: "a number"}.get(kind)
    if number is None:
        return info.help
    if info.max is not None:
        return f"{number} from {info.min} to {info.max}"
    return f"{number}, {info.min} or more" if info.min is not None else number


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
