"""A finished reconstruction as files: `result.h5`, PNG previews, overview.png, run.json, report.html."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import data
from cli import likeness, pictures, report, showing
from cli.measure import STATED, Task
from cli.noises import noise_words
from cli.pictures import Picture
from cli.restore import Result
from cli.run_record import Run, save
from cli.scores import COVERAGE, LEVEL, PERCENT, SCATTER, scores
from cli.spec import PICTURES
from cli.verdict import BAD, GOOD, Verdict, judge
from data.checks import RANGES

Scores = dict[str, dict[str, Any]]
NULL = ("Std that data do not fix", "scale of the std")
WIDTH = f"Width of {PERCENT} % interval"
SHOWN_ITEMS, SHOWN_SAMPLES, OVERVIEW = 4, 8, 7
FEW, MANY = 4, 10**6  # samples: fewer say little of the spread, as many all


@dataclass(frozen=True)
class Finished:
    """A reconstruction with what is needed to show it.

    Args:
        task, result: what was asked and what came of it.
        scale: values shown as black and white, also the data range of PSNR and SSIM.
        title: heading; the first word of an item's heading where there are several.
        name: of its folder in the folder of the whole, "" for the only one.
        rivals: (B, C, H, W) of other methods by name, shown beside.
        stored: the arguments of `data.write_measurement`, where the measurement is kept with the result.
    """

    task: Task
    result: Result
    scale: tuple[float, float]
    title: str
    name: str = ""
    rivals: dict[str, np.ndarray] = field(default_factory=dict)
    stored: dict[str, Any] | None = None

    @property
    def data_range(self) -> float:
        return self.scale[1] - self.scale[0]

    @property
    def headline(self) -> str:
        """What the estimate is called in pictures."""
        return self.result.method.upper() if self.result.samples is None else "Posterior mean"

    @property
    def key(self) -> str:
        """What its picture file is called."""
        return self.result.method if self.result.samples is None else "mean"

    @property
    def verdicts(self) -> list[Verdict]:
        """For each item whether the result explains its data."""
        return [judge(fit) for fit in self.result.fits]

    def warn(self, run: Run) -> None:
        """Notes items whose data are not explained, one sentence, that of the worst; and what is unlike the prior."""
        wrong = [verdict for verdict in self.verdicts if verdict.word != GOOD]
        if wrong:
            worst = next((verdict for verdict in wrong if verdict.word == BAD), wrong[0])
            count = len(self.verdicts)
            of = f"{len(wrong)} of {count} items, the worst: " if count > 1 else ""
            run.note(f"{self.title}: {of}{worst.text}")
        count = 0 if self.result.samples is None else len(self.result.samples)
        if 1 < count < FEW:
            run.note(f"{self.title}: the spread of {count} samples is a rough one, so the {PERCENT} % interval takes "
                     f"{wide(count)} standard deviations ({wide(8)} with --samples 8)")  # fmt: skip
        for text in self.result.likeness.warnings(self.title) if self.result.likeness else []:
            run.note(text)

    def score(self) -> Scores:
        """Scores of the estimate and of the rivals by title, where the truth is known; else nothing."""
        if self.task.truth is None:
            return {}
        truth, result = self.task.truth, self.result
        own = scores(result.estimate, truth, self.data_range, result.samples, result.chi_square)
        beside = {title: scores(x, truth, self.data_range, None, None) for title, x in self.rivals.items()}
        return {self.headline: own, **beside}


def input_picture(done: Finished, item: int, prefix: str) -> Picture:
    """The data: as an image where they are one, else on their own scale."""
    from operators import Poisson

    y, spec = done.task.measurement.y[item].numpy(), done.task.measurement.operator.spec
    if spec["name"] in PICTURES:
        counts = isinstance(done.task.measurement.noise, Poisson)
        scale, unit = (pictures.full_range(y), "counts") if counts else (done.scale, done.task.unit)
        return pictures.image(f"{prefix}input", "Input", done.task.crop_data(y), scale, unit)
    title, values, caption = showing.data(y, spec)
    return pictures.image(f"{prefix}input", f"Input: {title}", values, pictures.full_range(values), caption=caption)


def item_pictures(
    done: Finished, judged: Scores, item: int, prefix: str
) -> tuple[list[Picture], list[Picture]]:
    """The pictures of one item, and of its samples; `judged`: scores by title where the truth is known."""
    result, unit = done.result, done.task.unit

    def estimate(key: str, title: str, values: np.ndarray) -> Picture:
        own = judged[title]["items"][item] if judged else None
        caption = f"PSNR {own['psnr']:.1f} dB, SSIM {own['ssim']:.3f}" if own else ""
        return pictures.image(f"{prefix}{key}", title, values[item], done.scale, unit, caption)

    shown = [input_picture(done, item, prefix)]
    shown += [estimate(title.lower(), title, values) for title, values in done.rivals.items()]
    shown.append(estimate(done.key, done.headline, result.estimate))
    if done.task.truth is not None:
        shown.append(pictures.image(f"{prefix}truth", "Truth", done.task.truth[item], done.scale, unit))
    if result.std is not None:
        maps = {"std": ("Standard deviation", result.std), "width" + PERCENT: (WIDTH, result.width)}
        count = f"{len(result.samples)} samples"
        said = {"std": f"from {count}", "width" + PERCENT: f"{count}, {wide(len(result.samples))} std"}
        shown += [
            pictures.spread(prefix + key, title, values[item], done.data_range, unit, said[key])
            for key, (title, values) in maps.items()
        ]
    if result.supplied is not None and result.supplied.std is not None:
        std = next(picture for picture in shown if picture.name == f"{prefix}std")
        title, caption = NULL
        values = result.supplied.std[item]
        shown.append(replace(std, name=f"{prefix}null_std", title=title, values=values, caption=caption))
    draws = [] if result.samples is None else result.samples[:SHOWN_SAMPLES, item]
    samples = [
        pictures.image(f"{prefix}sample_{k}", f"Sample {k}", draw, done.scale, unit)
        for k, draw in enumerate(draws)
    ]
    return shown, samples


def facts(done: Finished, item: int, measured: dict[str, float] | None) -> list[tuple[str, str]]:
    """The numbers of one item, in words."""
    result = done.result
    rows = [("measurement", describe(done.task)), ("method", result.method)]
    if result.samples is not None:
        cost = f"{result.nfe} network calls and {result.backpropagations} backpropagations each"
        cost += f", {result.seconds:.1f} s in all"
        rows.append(("samples", f"{len(result.samples)}, {cost}"))
    if result.width is not None:
        rows.append((f"{PERCENT} % interval of a pixel", interval(len(result.samples), result.width[item], done)))
    own = result.fits[item]
    if own.of_samples and own.chi_square is not None:
        band = f"{own.band[0]:.2f} .. {own.band[1]:.2f} by chance if all is right{', outside' if own.outside else ''}"
        rows.append(("residual chi-square of the samples", f"{own.chi_square:.2f} ({band})"))
    if result.chi_square is not None:
        expected = expected_chi_square(result, item)
        text = f"{result.chi_square[item]:.2f}"
        if expected is not None:
            text += f" ({expected:.2f} expected: it fits the noise of about {own.fitted:.0f} of {own.count} data)"
        rows.append(("residual chi-square of the estimate", text))
    relative = "" if own.peak is None else f"{own.peak:.1f} times the noise, "
    rows.append(("largest residual", f"{relative}{100 * own.misfit:.2g} % of the data's range ({own.place})"))
    if result.supplied is not None:
        rows.append(("supplied by the prior", result.supplied.text(item)))
    if result.likeness is not None:
        rows.append(("likeness to the prior's images", result.likeness.text(item)))
    if measured:
        closeness = f"{measured['psnr']:.2f} dB, {measured['ssim']:.3f}"
        rows.append(("PSNR, SSIM", f"{closeness} (data range {done.data_range:g})"))
        if COVERAGE in measured:
            share = f"{100 * measured[COVERAGE]:.1f} % of the pixels ({SCATTER})"
            rows.append((f"truth inside the {PERCENT} % interval", share))
    return rows


def wide(samples: int) -> str:
    """The width of the interval in standard deviations."""
    from recon.posterior import interval_factor

    return f"{interval_factor(samples, LEVEL):.3g}"


def interval(samples: int, width: np.ndarray, done: Finished) -> str:
    """How wide the interval is for the samples there are, and where that says nothing, in words."""
    found = f"{wide(samples)} standard deviations of {samples} samples ({wide(MANY)} of many)"
    empty = float((width > done.data_range).mean())
    more = f"; wider than all values there are ({done.data_range:g}) in {100 * empty:.2g} % of the pixels"
    return found + (more if empty else "")


def expected_chi_square(result: Result, item: int) -> float | None:
    """What the chi-square of the mean of right samples is on average; None where it is not known."""
    own = result.fits[item]
    return None if own.fitted is None else 1 - (1 - 1 / len(result.samples)) * own.fitted / own.count


def describe(task: Task) -> str:
    """The measurement in a line."""
    operator = task.measurement.operator
    sizes = [" x ".join(str(n) for n in shape) for shape in (operator.in_shape, operator.out_shape)]
    seen = ""
    if operator.measured is not None:
        what = "k-space" if operator.spec["name"] == "mri" else "the pixels"
        seen = f", {100 * operator.measured.float().mean().item():.0f} % of {what} seen"
    return f"{operator.spec['name']}, {sizes[0]} to {sizes[1]}{seen}, noise {noise(task)}"


def noise(task: Task) -> str:
    """The noise level, the largest where there are several, and whether anyone stated it."""
    return noise_words(task.measurement.noise) + ("" if task.known == STATED else f" ({task.known})")


def sections(done: Finished, judged: Scores, run: Run) -> list[report.Section]:
    """The report's sections, one per item."""
    count = len(done.result.estimate)
    if count > SHOWN_ITEMS:
        run.note(f"pictures of the first {SHOWN_ITEMS} of {count} items; the result file holds all")
    found = []
    for item, verdict in enumerate(done.verdicts[:SHOWN_ITEMS]):
        prefix = (f"{done.name}/" if done.name else "") + (f"item{item}_" if count > 1 else "")
        shown, samples = item_pictures(done, judged, item, prefix)
        title = f"{done.title}, item {item}" if count > 1 else done.title
        rows = facts(done, item, judged[done.headline]["items"][item] if judged else None)
        warning = done.result.likeness is not None and done.result.likeness.unusual(item)
        found.append(report.Section(title, shown, samples, rows, verdict, likeness.LABEL if warning else ""))
    return found


def publish(
    folder: Path, title: str, finished: list[Finished], prior: dict[str, str] | None, run: Run
) -> dict[str, Any]:
    """Writes everything and returns the run record."""
    files, parts, outcomes = [], [], {}
    for done in finished:
        done.warn(run)
        judged, result = done.score(), done.result
        parts += sections(done, judged, run)
        files.append(f"{done.name}/result.h5".lstrip("/"))
        data.write_result(
            folder / files[-1], result.estimate, result.estimate, result.std, result.samples, attributes(done),
            null_std=None if result.supplied is None else result.supplied.std,
        )  # fmt: skip
        if done.stored:
            files.append(f"{done.name}/measurement.h5".lstrip("/"))
            data.write_measurement(folder / files[-1], **done.stored)
        outcomes[done.name or "result"] = outcome(done, judged)
    figures = [part.pictures + part.samples for part in parts]
    rows = [[p for p in row if not p.name.removesuffix("null_std").endswith("std")][:OVERVIEW] for row in figures]
    pictures.overview(folder / "overview.png", [part.label for part in parts], rows)
    drawn = [picture for row in figures for picture in row]
    names = ["report.html", "overview.png", *files, "run.json", *(f"{picture.name}.png" for picture in drawn)]
    results = outcomes if len(outcomes) > 1 else outcomes["result"]
    record = run.record(**results, scales={picture.name: picture.scale() for picture in drawn}, outputs=names)
    report.write(folder, title, parts, record, prior)
    save(folder, record)
    return record


def outcome(done: Finished, judged: Scores) -> dict[str, Any]:
    """The numbers of a reconstruction for the run record."""
    result = done.result
    return {
        "method": result.method,
        "network_calls": result.nfe,
        "backpropagations": result.backpropagations,
        "samples": 0 if result.samples is None else len(result.samples),
        "sampling_s": round(result.seconds, 3),
        "noise": noise(done.task),
        "chi_square": result.chi_square,
        "chi_square_of_samples": [fit.chi_square for fit in result.fits if fit.of_samples],
        "chi_square_expected": [expected_chi_square(result, item) for item in range(len(result.fits))],
        "chi_square_band": [fit.band if fit.of_samples else None for fit in result.fits],
        "largest_residual": [{"share": fit.misfit, "sigmas": fit.peak, "place": fit.place} for fit in result.fits],
        "verdict": [verdict.word for verdict in done.verdicts],
        **({} if result.supplied is None else {"supplied_by_the_prior": result.supplied.record()}),
        **({} if result.likeness is None else {"likeness": result.likeness.record()}),
        "scores": judged,
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
        "verdict": [verdict.word for verdict in done.verdicts],
    }
    extra = {"chi_square": result.chi_square, "truth": done.task.truth}
    return found | {key: value for key, value in extra.items() if value is not None}


def own_scale(task: Task, estimate: np.ndarray) -> tuple[float, float]:
    """The scale where no prior sets one: that of the unit, else of the values."""
    return RANGES.get(task.unit) or pictures.full_range(estimate if task.truth is None else task.truth)
