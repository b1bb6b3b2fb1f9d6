"""Packages that are not always installed: imported where they are used; the error names the extra that has them."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from data.errors import InputRefused


def needed(module: str, extra: str, where: str) -> ModuleType:
    """The module, imported.

    Raises:
        InputRefused: E-EXTRA (exit 2) when it is not installed; the remedy names the extra.
    """
    try:
        return import_module(module)
    except ImportError as problem:
        package = module.partition(".")[0]
        raise InputRefused(
            "E-EXTRA",
            f"{package} is not installed",
            where,
            f"no package {package}",
            f"the extra '{extra}' of recon",
            f'pip install "recon[{extra}]"',
            exit_code=2,
        ) from problem
