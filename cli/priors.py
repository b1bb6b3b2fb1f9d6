"""Priors by name or file, and whether an image fits them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import data
from cli.errors import INPUT, nearest, refusing, usage
from data.checks import OVERSHOOT, RANGES, range_remedy
from data.errors import InputRefused

if TYPE_CHECKING:
    from recon.prior import Prior


def find(name: str | None) -> Path:
    """The file of a prior: a bundled name, a file, or the folder that `recon train` wrote; its form is checked, no torch."""
    bundled = data.bundled_priors()
    if name is None:
        raise usage(
            "no prior given",
            "--prior",
            "nothing",
            "a name or a file",
            "--prior with one of "
            + (", ".join(bundled) or "your own files")
            + "; or --method fbp, tv or pinv, which need none",
        )
    path = bundled.get(name, Path(name))
    if path.is_dir():
        path /= "prior.safetensors"
    if not path.exists() and Path(name).suffix != ".safetensors":
        guess = nearest(name, list(bundled))
        raise InputRefused(
            "E-PRIOR",
            "no such prior",
            f"--prior {name}",
            "neither a bundled prior nor a file",
            ", ".join(bundled) or "a .safetensors file",
            f"{guess}see `recon info priors`",
        )
    data.check_prior_file(path)
    return path


def load(path: Path, device: str) -> Prior:
    """The prior of a file, on its device."""
    import recon

    with refusing(
        "E-PRIOR", "prior cannot be used", str(path), INPUT, "get the file again from where it came"
    ):
        return recon.load_prior(path, device=device)


def value_range(prior: Prior) -> tuple[float, float]:
    """Values that an image of this prior takes: what its unit says, else normalised -1 .. 1."""
    return RANGES.get(prior.unit, (prior.shift - prior.scale, prior.shift + prior.scale))


def check_range(
    y: np.ndarray, expected: tuple[float, float], reach: float, sigma: float, unit: str, where: str
) -> None:
    """Refuses data that no image in the prior's range can have given; nothing is ever clipped.

    Args:
        y: the data.
        expected: lowest and highest value of an image, in `unit`.
        reach: largest sum of weights with which the operator adds up an image (1 where it only averages).
        sigma: standard deviation of the noise; six of them are taken for noise.
    """
    low, high = float(y.min()), float(y.max())
    bottom, top = min(expected[0] * reach, 0.0), max(expected[1] * reach, 0.0)
    slack = OVERSHOOT * (top - bottom) + 6 * sigma
    if bottom - slack <= low and high <= top + slack:
        return
    raise InputRefused(
        "E-RANGE",
        "values outside the range of the prior",
        where,
        f"{low:.6g} .. {high:.6g}",
        f"{bottom:.6g} .. {top:.6g} (images of {expected[0]:g} .. {expected[1]:g}, unit {unit})",
        range_remedy(low / reach, high / reach, unit),
    )


def check_channels(found: int, prior: Prior, where: str) -> None:
    """Refuses an image with other channels than the prior's."""
    if found != prior.shape[0]:
        fix = "--to-gray" if prior.shape[0] == 1 else f"a prior for {found}-channel images"
        raise InputRefused(
            "E-CHANNELS",
            "channels do not fit the prior",
            where,
            f"{found} channels",
            f"{prior.shape[0]}, as in prior {prior.name}",
            fix,
        )


def fitting_size(size: tuple[int, int], prior: Prior) -> tuple[int, int]:
    """The smallest (H, W) that holds an image of `size` and that the prior takes."""
    if prior.any_size:
        return tuple(-(-n // prior.multiple) * prior.multiple for n in size)
    return tuple(max(n, m) for n, m in zip(size, prior.shape[-2:], strict=True))


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
        "trained on": origin.get("data") or origin.get("source"),
        "licence": origin.get("licence"),
        "attribution": origin.get("attribution"),
        "training images": training.get("training_images"),
    }
    return {key: str(value) for key, value in found.items() if value}
