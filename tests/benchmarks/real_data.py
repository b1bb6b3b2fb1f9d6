"""Real measurements without a truth: tomography of a synchrotron and k-space of a scanner, judged by data held out.

    python -m tests.benchmarks.real_data --tomography SCAN.h5 --rows 50 90 --air 0:26,8 --kspace KSPACE.h5 -o real.jsonl
    python -m tests.benchmarks.real_data --table -o tests/benchmarks/results/real_data.jsonl

Files are read as `recon reconstruct` reads them, notes included in the rows; air, stripes and noise are found in all
data, coil maps and the image's phase without those held out. Every method reconstructs from all, and again without
every sixth view (of k-space: without a twelfth of the samples, at random outside the middle). What it predicts of those
is compared with what was measured:

    held_out = mean of ((y - A x) / sigma)^2 over data that x has not seen

which is 1 + the error of the prediction in units of the noise, whatever the truth is. It is 1 for a perfect image and a
perfect model; `chi_square`, of all data, falls as low as one likes by fitting noise. `held_out_outer` and
`held_out_inner` are that of the outer and of the inner half of a row of the detector (of k-space: of its radius).
Baselines: filtered backprojection with its four windows (zeros in place of missing samples for k-space) and total
variation with a few weights, the best of each by `held_out`, which favours them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

import operators
import recon
from cli import kspace, projections
from cli.fit import for_prior
from cli.measure import Task
from cli.raw import RawFlags
from cli.run_record import Run
from data.kspace import read_kspace
from operators.calibration import calibration_fraction
from recon.classical import CLASSICAL
from tests.benchmarks.table import append_row, measure_or_print, read_rows

EVERY_VIEW, EVERY_SAMPLE = 6, 12
WINDOWS = ("ramp", "shepp-logan", "cosine", "hann")
WEIGHTS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
TV = {"tolerance": 3e-3, "max_iterations": 500}
HEADING = ("data", "method", "settings", "chi-square", "held out", "inner", "outer", "seconds")


@dataclass(frozen=True)
class Case:
    """A measurement twice: all of it, and without what is held out.

    Args:
        name: of the data.
        task: all of it.
        seen: without the data held out.
        judging: all of it, to which an image of what was seen is compared.
        held_out: where these are, broadcastable to y.
        inner: which of the data are from the inner half.
        prior: name of the prior.
        notes: what was said on reading.
    """

    name: str
    task: Task
    seen: recon.Measurement
    judging: recon.Measurement
    held_out: Tensor
    inner: Tensor
    prior: str
    notes: list[str]


def quietly(read: object, *arguments: object) -> tuple[Task, list[str]]:
    """A task and the notes that reading it made."""
    run = Run("reconstruct", {})
    with contextlib.redirect_stderr(io.StringIO()):
        return read(*arguments, run), run.notes


def tomography(path: Path, row: int, air: str | None, stripes: int | None, prior: str) -> Case:
    """One row of a scan; every sixth view is held out."""
    task, notes = quietly(projections.from_projections, path, None, RawFlags(air=air, stripes=stripes), str(row))
    m, geometry = task.measurement, task.measurement.operator.geometry
    held = torch.zeros(m.operator.out_shape, dtype=torch.bool)
    held[EVERY_VIEW // 2 :: EVERY_VIEW] = True
    kept = ~held[:, 0]
    parameters = m.operator.spec["parameters"] | {"angles": geometry.angles_rad[kept.numpy()]}
    A = operators.OPERATORS["ct"](**parameters)
    seen = recon.Measurement(A, m.y[..., kept, :], operators.Gaussian(m.noise.sigma[..., kept, :]))
    bins = torch.arange(geometry.detectors)
    inner = ((bins - geometry.detector_centre).abs() < geometry.detectors / 4).expand_as(held)
    return Case(f"tomography, row {row}", task, seen, m, held, inner, prior, notes)


def scanner(path: Path, axes: str, prior: str) -> Case:
    """Measured k-space; a twelfth of the samples outside the calibrating middle is held out."""
    task, notes = quietly(kspace.from_kspace, path, None, RawFlags(axes=axes), None)
    m = task.measurement
    parameters = m.operator.spec["parameters"]
    mask = torch.as_tensor(parameters["mask"]).bool()
    rows, columns = (torch.arange(n) - n // 2 for n in mask.shape)
    middle = (rows.abs()[:, None] <= mask.shape[0] // 16) & (columns.abs() <= mask.shape[1] // 16)
    drawn = torch.rand(mask.shape, generator=torch.Generator().manual_seed(0)) < 1 / EVERY_SAMPLE
    held = mask & drawn & ~middle
    left = (mask & ~held).numpy()
    kept = read_kspace(path, axes).kspace[0] * left
    maps, _ = quietly(kspace.estimated, kept, calibration_fraction(left))
    maps = kspace.phased(maps, m.y * torch.from_numpy(left), left, m.noise, 1.0)
    A, whole = (operators.OPERATORS["mri"](**(parameters | {"mask": some, "coils": maps})) for some in (left, mask))
    inner = (rows[:, None] / (mask.shape[0] / 4)) ** 2 + (columns / (mask.shape[1] / 4)) ** 2 < 1
    seen = recon.Measurement(A, m.y * torch.from_numpy(left), m.noise)
    return Case("k-space", task, seen, recon.Measurement(whole, m.y, m.noise), held, inner, prior, notes)


def judged(case: Case, whole: Tensor, part: Tensor) -> dict[str, float]:
    """Chi-square of an image from all data, and what one from the others says of those held out."""
    squares = case.judging.deviations(part).square()
    found = {"chi_square": float(case.task.measurement.chi_square(whole))}
    for name, chosen in (("held_out", case.held_out), ("held_out_inner", case.held_out & case.inner),
                         ("held_out_outer", case.held_out & ~case.inner)):  # fmt: skip
        found[name] = float(squares[..., chosen].mean())
    return found


def baselines(case: Case) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """Method, settings, image from all data, image without those held out."""
    m = case.task.measurement
    if m.operator.spec["name"] == "ct":
        for window in WINDOWS:
            yield "fbp", window, *(CLASSICAL["fbp"](part, window) for part in (m, case.seen))
    else:
        share = operators.operator_norm(m.operator) ** -2
        yield "zero-filled", "", *(share * part.operator.adjoint(part.y) for part in (m, case.seen))
    for weight in WEIGHTS:
        yield "tv", f"weight {weight:g}", *(CLASSICAL["tv"](part, weight, **TV) for part in (m, case.seen))


def sampled(case: Case, calls: int, samples: int, options: dict) -> Iterator[tuple[str, str, Tensor, Tensor]]:
    """The posterior mean."""
    prior, images = recon.load_prior(case.prior), []
    for part in (case.task.measurement, case.seen):
        with contextlib.redirect_stderr(io.StringIO()):
            task = for_prior(Task(part, None, case.task.unit), prior, case.name, Run("reconstruct", {}))
        found = recon.reconstruct(task.measurement, prior, samples=samples, steps=calls, options=options)
        images.append(torch.from_numpy(task.crop(found.mean.numpy())))
    words = ", ".join(f"{key} {value}" for key, value in options.items())
    yield "posterior mean", f"{case.prior}, {calls} calls, {samples} samples" + (f", {words}" if words else ""), *images


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """What the command line names."""
    for row in options.rows if options.tomography else ():
        for prior in options.priors:
            yield tomography(options.tomography, row, options.air, options.stripes, prior)
    if options.kspace:
        yield scanner(options.kspace, options.axes, "mri-brain-256")


def run(options: argparse.Namespace) -> None:
    """Measure what the output does not hold yet."""
    done = {(row["data"], row["method"], row["settings"]) for row in read_rows(options.output)}
    given = {"tolerance": options.tolerance} if options.tolerance else {}
    for case in cases(options):
        name = f"posterior mean {case.prior}"
        start = time.perf_counter()
        if not any(row[0] == case.name and row[1] in ("fbp", "zero-filled") for row in done):
            for found in baselines(case):
                start = keep(options.output, case, found, start, done)
        if not any(row[0] == case.name and name == f"{row[1]} {row[2].split(',')[0]}" for row in done):
            start = time.perf_counter()
            for found in sampled(case, options.calls, options.samples, given):
                keep(options.output, case, found, start, done)


def keep(
    output: Path, case: Case, found: tuple[str, str, Tensor, Tensor], start: float, done: set[tuple[str, str, str]]
) -> float:
    """Append a row, and keep the picture beside it; the time at which the next one starts."""
    method, settings, whole, part = found
    seconds = time.perf_counter() - start
    row = {"data": case.name, "method": method, "settings": settings, **judged(case, whole, part),
           "seconds": round(seconds, 1), "notes": case.notes}  # fmt: skip
    append_row(output, row)
    done.add((case.name, method, settings))
    pictures = output.with_suffix("")
    pictures.mkdir(exist_ok=True)
    torch.save(whole.squeeze(), pictures / f"{case.name}, {method}, {settings}.pt".replace("/", "-"))
    print(show([row]).splitlines()[-1], flush=True)
    return time.perf_counter()


def best(rows: list[dict]) -> list[dict]:
    """Of each method, and of each prior, the settings that predict best."""
    groups: dict[tuple[str, ...], dict] = {}
    for row in rows:
        key = (row["data"], row["method"], row["settings"].split(",")[0] if row["method"] == "posterior mean" else "")
        if key not in groups or row["held_out"] < groups[key]["held_out"]:
            groups[key] = row
    return list(groups.values())


def show(rows: list[dict]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(HEADING) + " |", "|---|---|---|" + "---:|" * (len(HEADING) - 3)]
    for row in best(rows):
        numbers = [f"{row[key]:.3f}" for key in ("chi_square", "held_out", "held_out_inner", "held_out_outer")]
        cells = [row["data"], row["method"], row["settings"], *numbers, f"{row['seconds']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or print the rows there are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tomography", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[50, 90])
    parser.add_argument("--air")
    parser.add_argument("--stripes", type=int, default=9)
    parser.add_argument("--priors", nargs="+", default=["mri-brain-256", "ct-chest-256"])
    parser.add_argument("--kspace", type=Path)
    parser.add_argument("--axes", default="coil,row,column")
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--tolerance", type=float, help="of the solver in the default method; default: its own")
    parser.add_argument("-o", "--output", type=Path, required=True)
    measure_or_print(parser, run, show)


if __name__ == "__main__":
    main()
