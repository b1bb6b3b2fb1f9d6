"""Help and info answer at once: no torch, no image libraries."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROBE = """
import sys
from cli.main import execute
code = execute(sys.argv[1:])
print(sorted({"torch", "scipy", "skimage", "matplotlib", "h5py"} & set(sys.modules)), file=sys.stderr)
sys.exit(code)
"""


@pytest.mark.parametrize(
    "words", [["--help"], ["info"], ["info", "operators"], ["reconstruct", "--help"], ["--version"]]
)
def test_answers_without_heavy_imports(words):
    done = subprocess.run([sys.executable, "-c", PROBE, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == "[]"
    assert done.stdout


def test_no_command_shows_the_help():
    done = subprocess.run([sys.executable, "-m", "cli"], capture_output=True, text=True, timeout=60)
    assert "reconstruct" in done.stdout
