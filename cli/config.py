"""Settings from a file: defaults < `--config file.toml` < RECON_DEVICE < flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from cli.errors import flag, nearest, usage
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
    known = {p.name: p for p in context.command.params if p.name not in ("config", "help")}
    settings = read(path)
    for key, value in settings.items():
        if key not in known:
            raise unknown_key(path, key, list(known))
        repeated = known[key].multiple
        if not isinstance(value, str | int | float) and not (repeated and isinstance(value, list | dict)):
            found = f"{key} = {value!r}"
            raise usage("wrong value in the configuration", line_of(path, key), found, "one value", "mend it")
        settings[key] = words(value) if repeated else str(value)
    context.default_map = settings
    context.obj = path
    return path


def words(value: Any) -> list[str]:
    """What a flag that may be repeated would be given: of a table, NAME=VALUE for each entry."""
    if isinstance(value, dict):
        return [f"{name}={item}" for name, item in value.items()]
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def typed(context: typer.Context, names: Iterable[str]) -> dict[str, str]:
    """Which of these settings someone has made, on the command line or in the file, and where."""
    places = {"COMMANDLINE": flag, "DEFAULT_MAP": lambda name: line_of(context.obj, name)}
    sources = {name: context.get_parameter_source(name).name for name in names}
    return {name: places[source](name) for name, source in sources.items() if source in places}


def refuse_idle(context: typer.Context, names: Sequence[str], title: str) -> None:
    """Refuses settings that would have no effect here: who made them expects one."""
    if idle := typed(context, names):
        places, found = ", ".join(dict.fromkeys(idle.values())), ", ".join(map(flag, idle))
        expected = "none of " + ", ".join(map(flag, names))
        raise usage(title, places, found, expected, f"leave out {found}")


def extra(path: Path | None, known: list[str]) -> dict[str, Any]:
    """Every key of the file for a command that checks them itself."""
    if path is None:
        return {}
    settings = read(path)
    for key in settings:
        if key not in known:
            raise unknown_key(path, key, known)
    return settings
