"""Import arrows run one way: recon -> operators, cli -> all; operators and data import none of ours."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {"operators", "recon", "data", "cli"}
NUMERIC = {"torch", "numpy", "scipy", "skimage"}
ALLOWED = {
    "operators": NUMERIC,
    "recon": NUMERIC | {"operators", "safetensors", "pydantic"},
    "data": {"numpy", "scipy", "skimage", "h5py", "PIL", "tifffile", "safetensors", "matplotlib", "pydicom", "nibabel"},
    "cli": NUMERIC | OURS | {"typer", "rich", "jinja2", "matplotlib", "pydantic"},
}


def imports(path: Path) -> set[str]:
    """Top-level packages that a file imports anywhere, also inside functions and under TYPE_CHECKING."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide where they lead"
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_a_package_imports_only_what_it_may(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        stray = imports(path) - ALLOWED[package] - {package}
        assert not stray, f"{path} imports {sorted(stray)}; {package} may import {sorted(ALLOWED[package])}"


@pytest.mark.parametrize("package", sorted(OURS))
def test_no_file_is_named_like_a_module_of_the_standard_library(package):
    """The folders are packages, but a script that runs inside one would meet its neighbours first."""
    for path in (ROOT / package).rglob("*.py"):
        assert path.stem == "__init__" or path.stem not in sys.stdlib_module_names, path
