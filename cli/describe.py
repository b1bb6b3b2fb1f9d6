"""What `recon info` says, as plain dictionaries: of the installation, a name, or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import data
from cli import catalogue, method_table, methods, priors, suggest
from cli.errors import nearest
from cli.run_record import versions
from data.errors import InputRefused
from data.hdf5 import opened
from data.kspace import AXES
from data.projections import find_scan, layout

TOPICS = {
    "operators": catalogue.OPERATORS,
    "noises": catalogue.NOISES,
    "methods": {**catalogue.METHODS, **catalogue.CLASSICAL},
    "sdes": catalogue.SDES,
    "steps": catalogue.SOLVERS,
}
HINTS = {
    "try it": "recon demo -o out/",
    "your own data": "recon simulate IMAGE --operator ct --angles 60 --noise 1% -o scan.h5",
    "reconstruct": "recon reconstruct scan.h5 --prior headct-64 -o out/",
    "help": "recon COMMAND --help",
}


def everything() -> dict[str, Any]:
    return {
        "versions": versions(),
        "priors": bundled(),
        "samples": {name: str(path) for name, path in data.bundled_samples().items()},
        **TOPICS,
        "next": HINTS,
    }


def bundled() -> dict[str, str]:
    """The bundled priors in a line each."""
    found = {}
    for name, path in data.bundled_priors().items():
        facts = priors.facts(data.prior_header(path))
        parts = [facts.get(key) for key in ("trained on", "unit", "process", "licence")]
        found[name] = ", ".join(filter(None, [*parts, f"{path.stat().st_size / 1e6:.1f} MB"]))
    return found


def topic(name: str) -> dict[str, Any]:
    """One list, one entry of a list, one bundled prior, or one file."""
    if name == "priors":
        return {"priors": bundled()}
    if name == "methods":
        return {"methods": TOPICS["methods"], "what they need, cost and err by": method_table.rows()}
    if name in TOPICS:
        return {name: TOPICS[name]}
    if name in catalogue.METHODS:
        return {
            "methods": {name: catalogue.METHODS[name]},
            method_table.HEADING: {name: method_table.row(name)},
            "--option NAME=VALUE": methods.table(name),
        }
    if name in TOPICS["methods"]:
        return {"methods": {name: TOPICS["methods"][name]}, "--option NAME=VALUE": methods.table(name)}
    if name in catalogue.OPERATORS:
        from cli import parameters

        return {"operators": {name: catalogue.OPERATORS[name]}, "--set NAME=VALUE": parameters.table(name)}
    for kind, entries in TOPICS.items():
        if name in entries:
            return {kind: {name: entries[name]}}
    if name in data.bundled_priors():
        return {name: prior(data.bundled_priors()[name])}
    if Path(name).exists():
        return files(Path(name))
    known = [
        *TOPICS,
        "priors",
        *data.bundled_priors(),
        *(key for entries in TOPICS.values() for key in entries),
    ]
    raise InputRefused(
        "E-FILE",
        "nothing of that name",
        f"recon info {name}",
        "neither a topic, a name, nor a file",
        ", ".join(known),
        f"{nearest(name, known)}see `recon info`",
    )


def prior(path: Path) -> dict[str, str]:
    """Header of a prior, without its weights."""
    header = data.prior_header(path)
    training = header.get("training", {})
    found = {**priors.facts(header), "file": str(path)}
    if training:
        steps = training.get("steps")
        kept = f", step {training['kept_step']} kept" if training.get("kept_step", steps) != steps else ""
        found["training"] = f"{steps} steps{kept}, {training.get('seconds', 0) / 3600:.1f} h"
        found["validation"] = ", ".join(
            f"{key} {value}" for key, value in training.get("validation", {}).items()
        )
    return found


def files(path: Path) -> dict[str, dict[str, str]]:
    """What a file is, and what would be done with it; for a folder of ours, the files in it that matter."""
    if not path.is_dir():
        return {str(path): file(path)}
    if (path / "prior.safetensors").exists() or data.is_model_folder(path):
        return {str(path): prior(data.prior_path(path))}
    inside = {str(path / name): result(found) for name, found in data.result_files(path).items()}
    return inside or {str(path): images(path, "folder")}


def file(path: Path) -> dict[str, str]:
    """What a single file is."""
    kind = data.sniff(path)
    if kind == "safetensors":
        return prior(path)
    if kind == "hdf5":
        with opened(path) as stored:
            names, scanned = set(stored), layout(stored) is not None
        if "reconstruction" in names:
            return result(path)
        if "y" in names:
            return measurement(path)
        if "kspace" in names:
            return kspace(path)
        if scanned:
            return projections(path)
    return images(path, kind)


def images(path: Path, kind: str) -> dict[str, str]:
    """Pictures: how many, how large, and how their values are read."""
    sizes = data.image_sizes(path)
    side = suggest.side(sizes)
    alike = len(set(sizes)) == 1 or side is None
    found = data.read_images(path) if alike else data.read_images(path, size=side, at_least=side)
    values, marks = found.values, data.percentiles(found)
    least, most = (" x ".join(map(str, size)) for size in (min(sizes), max(sizes)))
    shape = least if least == most else f"{least} .. {most}"
    return {
        "kind": kind,
        "images": f"{len(sizes)} of {shape}, {values.shape[1]} channel(s), {values.dtype}",
        "values": f"{values.min():g} .. {values.max():g}, divided by {found.value_max:g}: unit {found.unit}",
        "below": ", ".join(f"{share} % {level:.4g}" for share, level in marks.items()),
        **({"classes": ", ".join(found.class_names)} if found.class_names else {}),
        **({"size to train at": str(side)} if side else {}),
        **{key: str(found.attrs[key]) for key in ("licence", "source") if key in found.attrs},
    }


def result(path: Path) -> dict[str, str]:
    """The contents of a result file."""
    stored = data.read_result(path)
    count, channels, height, width = stored.mean.shape
    return {
        "kind": "result",
        "images": f"{count} of {height} x {width}, {channels} channel(s)",
        "samples": str(0 if stored.samples is None else len(stored.samples)),
        "method": str(stored.attrs.get("method", "not stated")),
        "network calls": str(stored.attrs.get("nfe", "not stated")),
        "fit to the data": ", ".join(stored.attrs.get("verdict", ["not stated"])),
        "truth": "stored" if "truth" in stored.attrs else "not stored",
    }


def measurement(path: Path) -> dict[str, str]:
    """The contents of a measurement file."""
    stored = data.read_measurement(path)
    parameters = {
        key: brief(value) if hasattr(value, "shape") and value.size > 8 else value
        for key, value in stored.operator["parameters"].items()
    }
    return {
        "kind": "measurement",
        "operator": stored.operator["name"],
        "parameters": ", ".join(f"{key} {value}" for key, value in parameters.items()),
        "y": " x ".join(str(n) for n in stored.y.shape) + f", {stored.y.min():.4g} .. {stored.y.max():.4g}",
        "noise": ", ".join(f"{key} {span(level)}".removeprefix("model ") for key, level in stored.noise.items()),
        "truth": "stored" if stored.x is not None else "not stored",
        "unit": stored.unit or "not stated",
    }


def kspace(path: Path) -> dict[str, str]:
    """The contents of a file of measured k-space."""
    with opened(path) as stored:
        size, kind = stored["kspace"].shape, stored["kspace"].dtype
        there = {key: "stored" if key in stored else "not stored" for key in ("mask", "sens")}
    axes = "" if len(size) == 4 else " --axes " + " or ".join(AXES.get(len(size), ("NAMES",)))
    return {
        "kind": "measured k-space",
        "kspace": f"{' x '.join(map(str, size))}, {kind}",
        "mask": there["mask"],
        "coil maps": there["sens"],
        "reconstruct": f"recon reconstruct {path.name}{axes} --method tv -o out/",
    }


def projections(path: Path) -> dict[str, str]:
    """The contents of a file of raw tomography."""
    scan = find_scan(path, angles_needed=False)
    views, rows, columns = scan.shape
    degrees = None if scan.angles_rad is None else np.rad2deg(scan.angles_rad)
    typed = "" if degrees is not None else f" --angles 0:180:{views}"
    return {
        "kind": "raw projections",
        scan.names[0]: f"{views} views of {rows} rows x {columns} columns",
        "flats, darks": f"{scan.frames[0]}, {scan.frames[1]}",
        "angles": "not stored" if degrees is None else f"{degrees.min():.5g} .. {degrees.max():.5g} degrees",
        **({"notes": "; ".join(scan.notes)} if scan.notes else {}),
        "reconstruct": f"recon reconstruct {path.name} --items {rows // 2}{typed} --method fbp -o out/",
    }


def brief(values: np.ndarray) -> str:
    """The size of an array, and what is in it: the share of a mask, the range of numbers."""
    size = " x ".join(map(str, values.shape))
    if values.dtype == bool:
        return f"{size} ({100 * values.mean():.3g} %)"
    waves = values.dtype.kind == "c"
    sizes = np.abs(values) if waves else values
    return f"{size} ({'modulus ' if waves else ''}{sizes.min():.4g} .. {sizes.max():.4g})"


def span(level: str | float | np.ndarray) -> str:
    """A noise model's name, its level, or the range of many."""
    if isinstance(level, str | int):
        return str(level)
    if isinstance(level, float):
        return f"{level:.4g}"
    if level.size < 9 and level.ndim == 1:
        return ", ".join(f"{value:.4g}" for value in level.tolist())
    return f"{level.min():.4g} .. {level.max():.4g} ({' x '.join(map(str, level.shape))} values)"


def lines(found: dict[str, Any]) -> list[str]:
    """A dictionary of dictionaries as text, aligned."""
    text = []
    for title, entries in found.items():
        text += ["", title] if text else [title]
        width = max((len(key) for key in entries), default=0)
        text += [f"  {key:<{width}}  {value}" for key, value in entries.items()] or ["  none"]
    return text
