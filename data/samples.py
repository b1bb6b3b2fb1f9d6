"""The real images that come with the package, with where they come from and under which licence."""

from __future__ import annotations

import json
from pathlib import Path

from data.errors import InputRefused
from data.paths import nearest

FOLDER = Path(__file__).parent / "samples"


def bundled_samples() -> dict[str, Path]:
    """Names and files of the sample images: "headct-1" and others."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.png"))}


def sample_path(name: str) -> Path:
    """The file of a sample image.

    Raises:
        InputRefused: E-SAMPLE (exit 2) when there is none of this name; the nearest names are given.
    """
    samples = bundled_samples()
    if name in samples:
        return samples[name]
    close = nearest(name, samples)
    raise InputRefused(
        "E-SAMPLE",
        "no such sample image",
        "bundled samples",
        name,
        "one of " + ", ".join(samples),
        f"did you mean {' or '.join(close)}?" if close else "choose one of these names",
        exit_code=2,
    )


def sample_info(name: str) -> dict[str, object]:
    """Source, licence, attribution and changes of a sample image."""
    sample_path(name)
    return json.loads((FOLDER / "provenance.json").read_text(encoding="utf-8"))[name]
