"""Noise models and their levels from the words of a command line, and in the words of reports."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from cli import keywords
from cli.errors import USAGE, refusing, usage
from cli.spec import OperatorFlags, known

COUNTS = {"poisson": "gain", "transmission": "I0"}  # models of counts, and what --photons is to them
LEVELS = {"gaussian": "sigma", "laplace": "scale", "rician": "sigma"}  # the others, and what --noise is to them


WITHOUT_LEVEL = {  # models of which --noise says nothing, and why
    **dict.fromkeys(COUNTS, "counts have no noise level of their own: it follows from --photons"),
    "correlated": "correlated noise has its level in its factor",
}
MATRIX = {"factor": None, "axes": (-1,)}  # what correlated noise is given by


@dataclass(frozen=True)
class NoiseFlags:
    """The noise as typed: a level, or photons for counts, and the model."""

    level: str = "1%"
    model: str | None = None
    photons: float | None = None


def noise_settings(model: str) -> dict[str, Any]:
    """What `--set` takes for a noise model, with defaults: all but its level."""
    found = {"poisson": {"background": 0.0}, "transmission": {"electronic": 0.0}, "correlated": MATRIX}
    return found.get(model, {})


def noise(flags: NoiseFlags, settings: list[str], largest: float) -> Any:
    """The noise model of the flags.

    Args:
        flags: as typed.
        settings: NAME=VALUE, further parameters of the model.
        largest: what a share like 1% refers to.
    """
    from operators import NOISES

    name = known("noise model", flags.model or "gaussian", list(NOISES))
    more = keywords.read(name, "--set", NOISES[name], noise_settings(name), settings)
    if name in COUNTS and flags.photons is None:
        fix = f"--noise-model {name} --photons 1e4"
        raise usage(f"{name} counts photons", "--noise-model", "no --photons", "how many there are", fix)
    if name not in COUNTS and flags.photons is not None:
        fix = "leave out --photons, or give --noise-model poisson or transmission"
        raise usage(f"{name} noise counts no photons", "--photons", flags.photons, "a noise model of counts", fix)
    if name == "correlated" and "factor" not in more:
        fix = "--noise-model correlated --set factor=L.npy --set axes=-1"
        raise usage("correlated noise is given by a matrix", "--noise-model", "no factor", "a lower triangular L", fix)
    level = {COUNTS[name]: flags.photons} if name in COUNTS else {}
    level |= {LEVELS[name]: sigma(flags.level, largest)} if name in LEVELS else {}
    with refusing("E-USAGE", "this noise cannot be", "--noise-model", USAGE):
        return NOISES[name](**level, **more)


def level_of(model: str, path: Path) -> str:
    """The parameter of a noise model that `--noise` replaces; counts have none."""
    if model not in LEVELS:
        fix = "leave out --noise"
        raise usage(WITHOUT_LEVEL[model], "--noise", f"{model} noise in {path}", "no --noise", fix)
    return LEVELS[model]


def stored_noise(model: Any) -> dict[str, Any]:
    """A noise model as measurement files keep it: {"model", its parameters}."""
    from operators import NOISES

    name = next(name for name, kind in NOISES.items() if isinstance(model, kind))
    levels = {field.name: getattr(model, field.name) for field in fields(model)}
    return {"model": name, **{key: np.asarray(value) if np.ndim(value) else value for key, value in levels.items()}}


def noise_words(model: Any) -> str:
    """A noise model in words: of Gaussian noise the largest level, of another its name and parameters."""
    found = stored_noise(model)
    name = found.pop("model")
    levels = {key: f"{float(np.max(value)):.4g}" for key, value in found.items()}
    return levels["sigma"] if name == "gaussian" else ", ".join([name, *(f"{key} {v}" for key, v in levels.items())])


def sigma(text: str, largest: float) -> float:
    """Noise level in units of y from `0.02` or `1%` of the largest |A x|.

    Args:
        text: as typed.
        largest: largest absolute value of the noiseless data.
    """
    from operators import Gaussian

    relative = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise usage(
            "noise level is no standard deviation",
            "--noise",
            text,
            "a number of zero or more, or a share like 1%",
            "--noise 0.02, or --noise 1%",
        )
    level = value / 100 * largest if relative else value
    with refusing("E-USAGE", "noise level cannot be used", f"--noise {text}", USAGE):
        Gaussian(level)
    return level


def split(flags: OperatorFlags, model: str | None) -> tuple[OperatorFlags, list[str]]:
    """What of `--set` is the operator's, and what the noise model's."""
    own = noise_settings(model or "gaussian")
    of_noise = [text for text in flags.set or [] if text.partition("=")[0].strip() in own]
    return replace(flags, set=[text for text in flags.set or [] if text not in of_noise]), of_noise
