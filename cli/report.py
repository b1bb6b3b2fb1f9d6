"""`report.html`: one self-contained page with pictures, their scales, the numbers, and what to trust."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.pictures import Picture, data_uri
from cli.run_record import document
from cli.scores import PERCENT
from cli.verdict import Verdict

DISCLAIMER = "Research use, not for diagnosis; generated structure may be absent in the patient."


@dataclass(frozen=True)
class Section:
    """One item of a report: pictures in a row, samples below, what was measured, a judgement, and a warning or none."""

    title: str
    pictures: list[Picture]
    samples: list[Picture]
    facts: list[tuple[str, str]]
    verdict: Verdict
    warning: str = ""

    @property
    def label(self) -> str:
        """What stands beside its pictures in an overview."""
        return "\n".join(filter(None, (self.title, self.verdict.label, self.warning)))


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
            "warning": section.warning,
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
        run_json=document(run),
        percent=PERCENT,
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
        "high": picture.end,
        "unit": picture.unit,
        "gradient": picture.gradient(),
        "stretched": picture.stretched,
    }
