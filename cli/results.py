"""A finished reconstruction as files: `result.h5`, PNG previews, `overview.png`, `run.json`, `report.html`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import data
from cli import pictures, report
from cli.measure import Task
from cli.pictures import Picture
from cli.restore import Result
from cli.run_record import Run, save
from cli.scores import scores
from data.checks import RANGES

SHOWN_ITEMS, SHOWN_SAMPLES = 4, 8
IMAGE_LIKE = ("identity", "inpaint", "blur", "downsample")


@dataclass(frozen=True)
class Finished:
    """A reconstruction with what is needed to show it.

    Args:
        task, result: what was asked and what came of it.
        scale: values shown as black and white, also the data range of PSNR and SSIM.
        title: heading; the first word of an item's heading where there are several.
        name: prefix of file names, "" for the only one.
        rivals: (B, C, H, W) of other methods by name, shown beside.
    """

    task: Task
    result: Result
    scale: tuple[float, float]
    title: str
    name: str = ""
    rivals: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def data_range(self) -> float:
        return self.scale[1] - self.scale[0]

    def judge(
        self, estimate: np.ndarray, samples: np.ndarray | None = None, chi_square: np.ndarray | None = None
    ) -> dict[str, Any] | None:
        """Scores of an estimate where the truth is known."""
        if self.task.truth is None:
            return None
        return scores(estimate, self.task.truth, self.data_range, samples, chi_square)


def input_picture(done: Finished, item: int, prefix: str) -> Picture:
    """The data: as an image where they are one, else on their own scale."""
    y = done.task.measurement.y[item].numpy()
    if done.task.measurement.operator.spec["name"] in IMAGE_LIKE:
        return pictures.image(f"{prefix}input", "Input", done.task.crop(y), done.scale, done.task.unit)
    return pictures.image(
        f"{prefix}input", "Input: sinogram", y, pictures.full_range(y), caption="angle down, detector across"
    )


def item_pictures(done: Finished, item: int, prefix: str) -> tuple[list[Picture], list[Picture]]:
    """The pictures of one item, and of its samples."""
    result, unit = done.result, done.task.unit

    def estimate(key: str, title: str, values: np.ndarray) -> Picture:
        judged = done.judge(values)
        own = judged["items"][item] if judged else None
        caption = f"PSNR {own['psnr']:.1f} dB, SSIM {own['ssim']:.3f}" if own else ""
        return pictures.image(f"{prefix}{key}", title, values[item], done.scale, unit, caption)

    shown = [input_picture(done, item, prefix)]
    shown += [estimate(name.lower(), name, values) for name, values in done.rivals.items()]
    if result.samples is None:
        shown.append(estimate(result.method, result.method.upper(), result.estimate))
    else:
        shown.append(estimate("mean", "Posterior mean", result.estimate))
    if done.task.truth is not None:
        shown.append(pictures.image(f"{prefix}truth", "Truth", done.task.truth[item], done.scale, unit))
    if result.std is not None:
        shown.append(pictures.spread(f"{prefix}std", "Standard deviation", result.std[item], unit))
        shown.append(
            pictures.spread(f"{prefix}width90", "Width of the 90 % interval", result.width[item], unit)
        )
    draws = [] if result.samples is None else result.samples[:SHOWN_SAMPLES, item]
    samples = [
        pictures.image(f"{prefix}sample_{k}", f"Sample {k}", draw, done.scale, unit)
        for k, draw in enumerate(draws)
    ]
    return shown, samples


def facts(done: Finished, measured: dict[str, float] | None) -> list[tuple[str, str]]:
    """The numbers of one item, in words."""
    result = done.result
    rows = [("measurement", describe(done.task)), ("method", result.method)]
    if result.samples is not None:
        rows.append(
            (
                "samples",
                f"{len(result.samples)}, {result.nfe} network calls each, {result.seconds:.1f} s in all",
            )
        )
    if measured:
        rows.append(
            (
                "PSNR, SSIM",
                f"{measured['psnr']:.2f} dB, {measured['ssim']:.3f} (data range {done.data_range:g})",
            )
        )
        if "coverage90" in measured:
            rows.append(
                ("truth inside the 90 % interval", f"{100 * measured['coverage90']:.1f} % of the pixels")
            )
    return rows


def describe(task: Task) -> str:
    """The measurement in a line."""
    operator = task.measurement.operator
    sizes = [" x ".join(str(n) for n in shape) for shape in (operator.in_shape, operator.out_shape)]
    seen = ""
    if operator.measured is not None:
        seen = f", {100 * operator.measured.float().mean().item():.0f} % of the pixels seen"
    return f"{operator.spec['name']}, {sizes[0]} to {sizes[1]}{seen}, noise {float(np.max(task.measurement.noise.sigma)):.4g}"


def sections(done: Finished, run: Run) -> list[report.Section]:
    """The report's sections, one per item."""
    count = len(done.result.estimate)
    if count > SHOWN_ITEMS:
        run.note(f"pictures of the first {SHOWN_ITEMS} of {count} items; the result file holds all")
    judged = done.judge(done.result.estimate, done.result.samples, done.result.chi_square)
    found = []
    for item in range(min(count, SHOWN_ITEMS)):
        prefix = f"{done.name}_" if done.name else ""
        shown, samples = item_pictures(done, item, prefix + (f"item{item}_" if count > 1 else ""))
        chi_square = None if done.result.chi_square is None else float(done.result.chi_square[item])
        title = f"{done.title}, item {item}" if count > 1 else done.title
        found.append(
            report.Section(
                title, shown, samples, facts(done, judged["items"][item] if judged else None), chi_square
            )
        )
    return found


def publish(
    folder: Path, title: str, finished: list[Finished], prior: dict[str, str] | None, run: Run
) -> dict[str, Any]:
    """Writes everything and returns the run record."""
    files, parts, outcomes = [], [], {}
    for done in finished:
        parts += sections(done, run)
        file = f"{done.name or 'result'}.h5"
        data.write_result(
            folder / file,
            done.result.estimate,
            done.result.estimate,
            done.result.std,
            done.result.samples,
            attributes(done),
        )
        files.append(file)
        outcomes[done.name or "result"] = outcome(done)
    pictures.overview(
        folder / "overview.png", [(part.title, part.pictures + part.samples[:2]) for part in parts]
    )
    drawn = [picture for part in parts for picture in part.pictures + part.samples]
    record = run.record(
        **(outcomes if len(outcomes) > 1 else outcomes.popitem()[1]),
        scales={p.name: p.scale() for p in drawn},
        outputs=["report.html", "overview.png", *files, "run.json", *(f"{p.name}.png" for p in drawn)],
    )
    report.write(folder, title, parts, record, prior)
    save(folder, record)
    return record


def outcome(done: Finished) -> dict[str, Any]:
    """The numbers of a reconstruction for the run record."""
    result = done.result
    return {
        "method": result.method,
        "network_calls": result.nfe,
        "samples": 0 if result.samples is None else len(result.samples),
        "sampling_s": round(result.seconds, 3),
        "chi_square": result.chi_square,
        "scores": done.judge(result.estimate, result.samples, result.chi_square),
    }


def attributes(done: Finished) -> dict[str, Any]:
    """What the result file says of itself, enough to evaluate it alone."""
    result = done.result
    found = {
        "method": result.method,
        "nfe": result.nfe,
        "seconds": result.seconds,
        "unit": done.task.unit,
        "data_range": done.data_range,
    }
    if result.chi_square is not None:
        found["chi_square"] = result.chi_square
    return found


def own_scale(task: Task, estimate: np.ndarray) -> tuple[float, float]:
    """The scale where no prior sets one: that of the unit, else of the values."""
    return RANGES.get(task.unit) or pictures.full_range(estimate if task.truth is None else task.truth)
