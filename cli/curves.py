"""The log of a training as a figure: its loss, and how well it denoises at each band of noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import data


def draw(log: list[dict[str, Any]], path: Path) -> Path:
    """Loss in training and validation over the steps, and denoising PSNR by noise level, as a PNG.

    Args:
        log: the records of log.jsonl; of a step that was done again after a resume the last one counts.
        path: replaced if it exists.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    by_step = {entry["step"]: entry for entry in log if "loss" in entry and not entry.get("skipped")}
    checks = {entry["step"]: entry["validation"] for entry in log if entry.get("validation")}
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    steps = sorted(by_step)
    left.plot(steps, [by_step[step]["loss"] for step in steps], lw=0.6, alpha=0.6, label="training")
    at = sorted(checks)
    left.plot(at, [checks[step]["loss"] for step in at], "o-", ms=3, label="validation")
    left.set(xlabel="step", ylabel="weighted loss", yscale="log")
    left.legend(fontsize=8)
    for band in (key for key in (checks[at[-1]] if at else {}) if key.startswith("psnr_")):
        low, high = band.split("_")[1:]
        label = f"noise {low} to {high}"
        right.plot(at, [checks[step].get(band, float("nan")) for step in at], "o-", ms=3, label=label)
    right.set(xlabel="step", ylabel="validation denoising PSNR in dB")
    if at:
        right.legend(fontsize=7)
    with data.atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return path
