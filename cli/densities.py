"""Densities of images as rows: what `recon logp` measures, in words and numbers."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli import likeness
from cli.errors import USAGE, refusing
from cli.progress import bar
from cli.run_record import Run

if TYPE_CHECKING:
    from torch import Tensor

    from recon import Prior

SLOW = 1024  # values of an image beyond which an exact trace takes long
HEADINGS = {
    "item": "item", "nats": "nats", "standard_error": "+-", "bits_per_dimension": "bits/dim",
    "bits_standard_error": "+-", "bound_bits_per_dimension": "bound", "network_calls": "calls", "distance": "distance",
}  # fmt: skip
DIGITS = {
    "nats": 1, "standard_error": 1, "bits_per_dimension": 4, "bits_standard_error": 4, "bound_bits_per_dimension": 4,
    "distance": 2,
}  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """How to measure.

    Args:
        probes: random signs an image, None for the exact trace.
        tolerance: of the solver, relative and absolute.
        seed: of probes, dequantising noise and the bound's noise.
        bound_only: whether the ODE is left out.
        grey: step of the stored values, None where they count as continuous.
        batch_size: images at a time, None for as many as are fast.
    """

    probes: int | None
    tolerance: float
    seed: int
    bound_only: bool
    grey: float | None
    batch_size: int | None


def measured(values: Tensor, prior: Prior, plan: Plan, title: str, run: Run) -> dict[str, Any]:
    """Rows by image and their total, for images (B, C, H, W) in the prior's values."""
    from recon.reconstruct import default_batch

    if plan.probes is None and values[0].numel() > SLOW and not plan.bound_only:
        run.note(f"--exact takes {values[0].numel()} backpropagations a network call; --probes 4 takes 4")
    size, rows = plan.batch_size or default_batch(tuple(values.shape)), []
    wrong = refusing("E-SIZE", "these settings cannot work", title, USAGE)
    with bar("densities") as advance, wrong:
        for first in range(0, len(values), size):
            rows += chunk(values[first : first + size], first, prior, plan)
            if advance:
                advance(len(rows) / len(values))
    judged = likeness.of_images(values, prior, "images")
    for row in rows if judged is not None and judged.scores else []:
        row |= {"distance": judged.scores[row["item"]], "unusual": judged.unusual(row["item"])}
    if judged is not None:
        for text in likeness.Likeness(prior.name, (judged,)).warnings(title):
            run.note(text)
    found = likeness.NO_BAND if judged is None else judged.record()
    return {"density_of": meaning(plan.grey, prior), "items": rows, "total": total(rows), "likeness": found}


def chunk(values: Tensor, first: int, prior: Prior, plan: Plan) -> list[dict[str, Any]]:
    """The rows of some images, the first of which is number `first`."""
    import recon
    from recon.density import bits_per_dimension

    step, n = plan.grey or 1.0, values[0].numel()
    noisy = values if plan.grey is None else recon.dequantised(values, plan.grey, plan.seed, first)
    bound = recon.log_density_bound(prior, noisy, seed=plan.seed, first=first)
    columns = {"bound_nats": bound, "bound_bits_per_dimension": bits_per_dimension(bound, n, step)}
    if not plan.bound_only:
        found = recon.log_density(prior, noisy, plan.probes, plan.seed, plan.tolerance, plan.tolerance, first)
        bits = found.bits_per_dimension(step)
        per_bit = (bits_per_dimension(found.nats - found.standard_error, n, step) - bits).abs()
        columns = {
            "nats": found.nats, "standard_error": found.standard_error, "bits_per_dimension": bits,
            "bits_standard_error": per_bit, **columns, "network_calls": found.evaluations,
        }  # fmt: skip
    listed = {name: column.tolist() for name, column in columns.items()}
    return [{"item": first + k, **{name: column[k] for name, column in listed.items()}} for k in range(len(values))]


def total(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Sums in nats and means in bits per dimension over all images; independent errors add up in squares."""
    found: dict[str, float] = {"images": len(rows)}
    for name in ("nats", "bound_nats", "network_calls"):
        if name in rows[0]:
            found[name] = sum(row[name] for row in rows)
    for name in ("bits_per_dimension", "bound_bits_per_dimension"):
        if name in rows[0]:
            found[name] = sum(row[name] for row in rows) / len(rows)
    for name, share in (("standard_error", 1), ("bits_standard_error", len(rows))):
        if name in rows[0]:
            found[name] = sum(row[name] ** 2 for row in rows) ** 0.5 / share
    return found


def meaning(grey: float | None, prior: Prior) -> str:
    """Of what the numbers are the density, in a sentence."""
    noise = f"noise of the prior's lowest level ({prior.sde.sigma_min * prior.scale:.2g}) included"
    if grey is None:
        return f"continuous values, per unit {prior.unit or 'of the prior'} and value; {noise}"
    return (
        f"{round(1 / grey) + 1} grey values with uniform noise of one step added: nats per unit {prior.unit}, bits/dim "
        f"per grey value, an upper bound on its cost; {noise}"
    )


def table(found: dict[str, Any]) -> str:
    """Rows and total as aligned text."""
    rows = found["items"]
    shown = [name for name in HEADINGS if name in rows[0]]
    lines = ["".join(HEADINGS[name].rjust(12) for name in shown)]
    for row in [*rows, {"item": "total", **found["total"]}]:
        cells = [cell(row.get(name), DIGITS.get(name)) for name in shown]
        lines.append("".join(text.rjust(12) for text in cells) + ("  unusual" if row.get("unusual") else ""))
    lines.append(f"density of {found['density_of']}")
    judged = found["likeness"]
    if isinstance(judged, str) or "not_judged" in judged:
        lines.append("likeness: " + (judged if isinstance(judged, str) else f"not judged ({judged['not_judged']})"))
    else:
        lines.append(f"distance from the prior's held-out images: usual up to {judged['usual_up_to']:.2f}")
    return "\n".join(lines)


def cell(value: float | str | None, digits: int | None) -> str:
    if value is None:
        return ""
    return str(value) if digits is None else f"{value:.{digits}f}"


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """The rows as a table that others read."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
