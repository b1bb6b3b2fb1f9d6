"""Rows of a board: one JSON object a line, appended as they are measured, and printed as Markdown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import torch

COLUMNS = {  # heading -> key of the row, digits
    "calls": ("calls", 0),
    "backprops": ("backpropagations", 0),
    "samples": ("samples", 0),
    "PSNR mean": ("psnr", 2),
    "SSIM mean": ("ssim", 3),
    "PSNR one": ("psnr_one", 2),
    "SSIM one": ("ssim_one", 3),
    "coverage 0.9": ("coverage", 3),
    "spread/error": ("spread_over_error", 2),
    "chi-square": ("chi_square", 2),
    "s": ("seconds", 0),
}
OPTIONS = ("weight", "window")  # tuned settings, shown beside the method


def read_rows(path: Path) -> list[dict]:
    """The finished rows of a board; a last line that a killed run left unfinished is cut off the file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def append_row(path: Path, row: dict) -> None:
    """Add a row at once, so that a run that is stopped loses only the one it was at."""
    with path.open("a") as stream:
        stream.write(json.dumps(row) + "\n")


def measure_or_print(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], None], show: Callable[[list[dict]], str]
) -> None:
    """What a board's command does: measure on one thread, or with --table print the rows of --output."""
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.table:
        print(show(read_rows(options.output)))
    else:
        run(options)


def table(rows: list[dict]) -> str:
    """One Markdown table a task, best PSNR of the mean first; what failed comes last."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        of_task = sorted((r for r in rows if r["task"] == task), key=lambda r: -r.get("psnr", -1e9))
        lines += [
            f"\n**{task}** ({of_task[0]['items']} slices)\n",
            "| method | " + " | ".join(COLUMNS) + " |",
            "|---|" + "---:|" * len(COLUMNS),
            *map(_line, of_task),
        ]
    return "\n".join(lines)


def summary(rows: list[dict]) -> str:
    """One Markdown table for all tasks, a line a method and number of calls.

    Cells hold the PSNR of the mean / of one sample / the coverage. Lines are ordered by the PSNR of the mean on the
    first task; baselines have one number.
    """
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    cells: dict[tuple, dict[str, str]] = {}
    for row in sorted(rows, key=lambda r: (tasks.index(r["task"]), -r.get("psnr", -1e9))):
        line = cells.setdefault((row["method"], row["steps"], row["samples"]), {})
        scores = [f"{row[key]:.2f}" for key in ("psnr", "psnr_one", "coverage") if key in row]
        line[row["task"]] = " / ".join(scores) or row.get("failed", "")
    lines = ["| method | calls | samples | " + " | ".join(tasks) + " |", "|---|---:|---:|" + "---|" * len(tasks)]
    for (method, steps, samples), line in cells.items():
        scores = " | ".join(line.get(task, "") for task in tasks)
        lines.append(f"| `{method}` | {steps or ''} | {samples or ''} | {scores} |")
    return "\n".join(lines)


def _line(row: dict) -> str:
    options = [f"{key} {row[key]}" for key in OPTIONS if key in row]
    name = row["method"] + (f" ({', '.join(options)})" if options else "")
    if "failed" in row:
        return f"| {name}, {row['failed']} | {row['steps']} |" + " |" * (len(COLUMNS) - 1)
    cells = [f"{row[key]:.{digits}f}" if key in row else "" for key, digits in COLUMNS.values()]
    return f"| {name} | " + " | ".join(cells) + " |"
