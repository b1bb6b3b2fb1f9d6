"""What a picture is asked to show: a class by its name or number, and how strongly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.errors import INPUT, nearest, refusing, usage
from data.kinds import expect
from data.paths import existing_file

if TYPE_CHECKING:
    from recon import Classifier, Prior


def classifier(path: Path) -> Classifier:
    """The classifier of a file, or of a bundled name."""
    import recon

    bundled = recon.bundled_classifiers()
    found = bundled[str(path)] if str(path) in bundled else existing_file(path)
    expect(found, "safetensors", as_what="a classifier")
    with refusing("E-PRIOR", "classifier cannot be used", str(found), INPUT, "a file that recon.save_classifier wrote"):
        return recon.load_classifier(found)


def asked(label: str | None, weight: float, guide: Path | None, prior: Prior) -> dict[str, Any]:
    """The keywords of `recon.reconstruct` and `recon.sample_prior` for what was asked; none without a label."""
    if label is None:
        if guide is not None or weight != 1:
            flag = "--classifier" if guide is not None else "--label-weight"
            raise usage("nothing to guide to", flag, "no --label", "a label with it", "--label NAME")
        return {}
    if not math.isfinite(weight):
        raise usage("no weight", "--label-weight", weight, "a finite number", "--label-weight 2")
    guiding = None if guide is None else classifier(guide)
    if guiding is not None and not math.isclose(guiding.data_std, prior.data_std, rel_tol=1e-3):
        raise usage("the classifier is of another prior", f"--classifier {guide}",
                    f"it reads images of standard deviation {guiding.data_std:.4g}",
                    f"{prior.data_std:.4g}, as those of the prior {prior.name!r}",
                    "the prior that it was trained with, or another classifier")  # fmt: skip
    count = prior.classes if guiding is None else guiding.classes
    if not count:
        raise usage("the prior knows no labels", f"--label {label}", f"prior {prior.name!r} was trained without",
                    "a prior with classes, or a classifier", "leave --label out, or add --classifier FILE")  # fmt: skip
    header = prior.header if guiding is None else guiding.header
    names = list((header.get("provenance") or {}).get("classes") or map(str, range(count)))
    return {"label": place(label, names), "label_weight": weight, "classifier": guiding}


def place(label: str, names: list[str]) -> int:
    """Which of the class names, or which number, a label is."""
    if label in names:
        return names.index(label)
    if label.isdecimal() and int(label) < len(names):
        return int(label)
    fix = ("" if label.isdecimal() else nearest(label, names)) + "choose one of these"
    raise usage("no such class", f"--label {label}", label, ", ".join(names), fix)
