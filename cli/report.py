"""`report.html`: one self-contained page with pictures, their scales, the numbers, and what to trust."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.pictures import Picture, data_uri

DISCLAIMER = "Research use, not for diagnosis; generated structure may be absent in the patient."


@dataclass(frozen=True)
class Section:
    """One item of a report: pictures in a row, samples below, what was measured, and a judgement."""

    title: str
    pictures: list[Picture]
    samples: list[Picture]
    facts: list[tuple[str, str]]
    verdict: tuple[str, str]


def verdict(chi_square: float | None, of_samples: bool) -> tuple[str, str]:
    """A word for the style and a sentence: does the result explain the data?

    Args:
        chi_square: mean squared residual over the noise variance, or None.
        of_samples: whether it is that of posterior samples. Truth and samples are exchangeable under the
            posterior, so theirs is 1 on average; a best estimate's is lower by the share of noise it fits.
    """
    if chi_square is None:
        return "none", "The data are stated to be without noise, so the fit to them was not judged."
    whose = "Residual chi-square of the samples" if of_samples else "Residual chi-square"
    if chi_square > 2:
        return "bad", (
            f"{whose} {chi_square:.2f}: the result does not explain the data. The noise is larger than "
            "stated, the operator is not the true one, the image is unlike those the prior has seen, or the "
            "sampler took too few steps. Do not rely on the interval map."
        )
    if of_samples and chi_square > 1.3:
        return "odd", (
            f"{whose} {chi_square:.2f}: the samples fit the data less closely than the noise allows. "
            "More network calls (--steps) or another --method may help."
        )
    if of_samples and chi_square < 0.5:
        return "odd", (
            f"{whose} {chi_square:.2f}: closer to the data than their stated noise allows. The noise may be "
            "smaller than stated, or the method fits noise; the interval map is then too narrow."
        )
    return "good", f"{whose} {chi_square:.2f}: the data are explained (" + (
        "1 is ideal)." if of_samples else "1 or somewhat less is right)."
    )


def write(
    folder: Path, title: str, sections: list[Section], run: dict[str, Any], prior: dict[str, Any] | None
) -> Path:
    """Writes the pictures and `report.html`.

    Args:
        folder: where; the PNG files lie beside the page, which also holds copies of them.
        title: heading of the page.
        sections: one per item.
        run: the run record.
        prior: header of the prior, or None for a method without one.

    Returns:
        Path of the page.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cli", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    embedded = [
        {
            "title": section.title,
            "verdict": section.verdict,
            "facts": section.facts,
            "pictures": [embed(picture, folder) for picture in section.pictures],
            "samples": [embed(picture, folder) for picture in section.samples],
        }
        for section in sections
    ]
    page = environment.get_template("report.html").render(
        title=title,
        disclaimer=DISCLAIMER,
        sections=embedded,
        run=run,
        prior=prior or {},
        run_json=json.dumps(run, indent=2),
    )
    path = folder / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


def embed(picture: Picture, folder: Path) -> dict[str, Any]:
    """What the template needs of one picture."""
    return {
        "title": picture.title,
        "caption": picture.caption,
        "source": data_uri(picture.save(folder)),
        "low": f"{picture.low:.3g}",
        "high": f"{picture.high:.3g}",
        "unit": picture.unit,
        "gradient": picture.gradient(),
        "stretched": picture.stretched,
    }
