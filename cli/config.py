"""Settings from a file: defaults < `--config file.toml` < RECON_DEVICE < flags."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import typer

from cli.errors import nearest, usage
from data.errors import InputRefused


def read(path: Path) -> dict[str, Any]:
    """The keys of a TOML file, dashes and underscores alike."""
    try:
        return {key.replace("-", "_"): value for key, value in tomllib.loads(path.read_text()).items()}
    except OSError as error:
        raise usage(
            "configuration cannot be read", str(path), error.strerror, "a TOML file", "check --config"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise usage(
            "configuration is not TOML", str(path), error, "lines like `steps = 50`", "mend the line"
        ) from error


def line_of(path: Path, key: str) -> str:
    """`file.toml:7`, the line that sets `key` (TOML readers do not keep it)."""
    pattern = re.compile(rf"""^\s*["'\[]*{key.replace("_", "[-_]")}["'\]]*\s*(=|\.|$)""")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if pattern.match(line):
            return f"{path}:{number}"
    return str(path)


def unknown_key(path: Path, key: str, known: list[str]) -> InputRefused:
    guess = nearest(key, known)
    return usage(
        "unknown key in the configuration",
        line_of(path, key),
        key,
        ", ".join(sorted(known)),
        f"{guess}remove or rename it",
    )


def apply(context: typer.Context, path: Path | None) -> Path | None:
    """Makes the file's values the defaults, read as if typed; the environment and flags win."""
    if path is None:
        return None
    known = [p.name for p in context.command.params if p.name not in ("config", "help")]
    settings = read(path)
    for key, value in settings.items():
        if key not in known:
            raise unknown_key(path, key, known)
        if not isinstance(value, str | int | float):
            found = f"{key} = {value!r}"
            raise usage("wrong value in the configuration", line_of(path, key), found, "one value", "mend it")
    context.default_map = {key: str(value) for key, value in settings.items()}
    context.obj = path
    return path


def extra(path: Path | None, known: list[str]) -> dict[str, Any]:
    """Every key of the file for a command that checks them itself."""
    if path is None:
        return {}
    settings = read(path)
    for key in settings:
        if key not in known:
            raise unknown_key(path, key, known)
    return settings
