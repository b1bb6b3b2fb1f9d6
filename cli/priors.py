"""Priors by name or file, and whether an image fits them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import data
from cli.errors import INPUT, refusing, usage

if TYPE_CHECKING:
    from recon.prior import Prior


def find(name: str | None, instead: str = "") -> Path:
    """The file of a prior, its form checked without torch: a bundled name, a file, or a training's folder.

    Args:
        name: as typed.
        instead: what else would do, for the one who gives none.
    """
    if name is None:
        known = ", ".join(data.bundled_priors()) or "a .safetensors file"
        raise usage(
            "no prior given",
            "--prior",
            "nothing",
            f"a name or a file: {known}",
            f"--prior NAME, {instead}".rstrip(", "),
        )
    path = data.prior_path(name)
    data.prior_header(path)
    return path


def load(path: Path, device: str, precision: str = "float32", compiled: bool = False) -> Prior:
    """The prior of a file, on its device, its network in a precision and perhaps compiled, see `recon.load_prior`."""
    import recon
    from recon.prior import PRECISIONS

    if precision not in PRECISIONS:
        raise usage("unknown precision", "--precision", precision, " or ".join(PRECISIONS), "--precision float32")
    with refusing(
        "E-PRIOR", "prior cannot be used", str(path), INPUT, "get the file again from where it came"
    ):
        prior = recon.load_prior(path, device, precision)
    if compiled:
        prior.compile()
    return prior


def facts(header: dict[str, Any]) -> dict[str, str]:
    """What a report says about a prior, from its header."""
    units, origin, training = (header.get(key) or {} for key in ("units", "provenance", "training"))
    shape = header.get("shape", ())
    found = {
        "name": header.get("name"),
        "images": " x ".join(str(n) for n in shape[1:]) + f", {shape[0]} channel"
        if len(shape) == 3
        else str(shape),
        "unit": units.get("name"),
        "process": (header.get("sde") or {}).get("name"),
        "trained on": images_of(origin),
        "source": origin.get("source"),
        "licence": origin.get("licence"),
        "attribution": origin.get("attribution"),
        "training images": training.get("training_images"),
    }
    if start := header.get("started_from"):
        found["started from"] = ", ".join(start[key] for key in ("name", "licence") if start.get(key))
    if typical := header.get("typicality"):
        found["band of what is usual"] = f"{len(typical['log_power'])} held-out images"
    return {key: str(value) for key, value in found.items() if value}


def images_of(origin: dict[str, Any]) -> str | None:
    """What the training images show, as shortly as their provenance says: the first clause of the description."""
    known = (origin.get(key) for key in ("description", "source", "data"))
    return next((text.partition(";")[0] for text in known if text), None)
