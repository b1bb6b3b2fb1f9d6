"""Operators and noise levels from the words of a command line."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import data
from cli import catalogue, keywords
from cli.errors import USAGE, nearest, refusing, usage

if TYPE_CHECKING:
    from operators import LinearOperator


NEEDS = {  # of these flags an operator takes exactly one, as in the example
    "ct": {"angles": "60"},
    "ct_fan": {"angles": "360"},
    "inpaint": {"mask": "mask.png", "keep": "0.4", "box": "8,8,16,16"},
    "blur": {"std": "2", "motion": "9,30", "kernel": "kernel.png", "defocus": "3"},
}
REQUIRED = {"ct_fan": {"source_mm": "570", "detector_mm": "1040"}}  # these it takes all, as in the example
DEFAULTS = {"mri": {"image": "real"}}  # pictures are real where the library leaves it open
PICTURES = ("identity", "inpaint", "blur", "downsample", "mosaic", "grey", "clip", "quantise")  # whose data are such


@dataclass(frozen=True)
class OperatorFlags:
    """The operator's parameters as typed; None where not given."""

    angles: str | None = None
    detectors: int | None = None
    keep: float | None = None
    mask: Path | None = None
    box: str | None = None
    std: float | None = None
    kernel: str | None = None
    motion: str | None = None
    boundary: str | None = None
    factor: int | None = None
    set: list[str] | None = None  # NAME=VALUE, any parameter

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in (None, [])}


    def text(self, name: str) -> str:
        """A parameter as typed, by its own flag or by `--set`; "" where it was not."""
        given = {key.strip(): value.strip() for key, _, value in (text.partition("=") for text in self.set or [])}
        return str(self.given().get(name, given.get(name, "")))


SHORTHANDS = tuple(field.name for field in fields(OperatorFlags) if field.name != "set")


def flag(name: str, value: object) -> str:
    """A parameter as it is typed: a flag of its own, or `--set NAME=VALUE`."""
    return f"--{name} {value}" if name in SHORTHANDS else f"--set {name}={value}"


def known(what: str, name: str, names: list[str]) -> str:
    """`name`, if it is one of `names`."""
    if name not in names:
        raise usage(
            f"unknown {what}",
            f"--{what}",
            name,
            ", ".join(names),
            f"{nearest(name, names)}see `recon info {what}s`",
        )
    return name


def named(operator: str | None) -> str:
    """The operator's name, which must be given."""
    if operator is None:
        raise usage(
            "no operator given",
            "--operator",
            "nothing",
            ", ".join(catalogue.OPERATORS),
            "see `recon info operators`",
        )
    return known("operator", operator, list(catalogue.OPERATORS))


def parameters(name: str) -> dict[str, Any]:
    """The parameters of an operator that may be set, with their defaults; None where it must be chosen or is."""
    from operators import OPERATORS

    signature = inspect.signature(OPERATORS[name]).parameters.values()
    found = {p.name: None if p.default is p.empty else p.default for p in signature}
    return {key: value for key, value in {**found, **DEFAULTS.get(name, {})}.items() if key not in ("shape", "seed")}


def build(name: str, flags: OperatorFlags, shape: tuple[int, int], seed: int) -> LinearOperator:
    """The operator of the flags, for images of `shape` (H, W); a flag of another operator is refused."""
    from operators import OPERATORS

    factory, known_ones = OPERATORS[known("operator", name, list(OPERATORS))], parameters(name)
    typed = {key: value for key, value in flags.given().items() if key in SHORTHANDS}
    for key in typed:
        if key not in known_ones:
            takes = ", ".join(f"--{key}" if key in SHORTHANDS else f"--set {key}=..." for key in known_ones)
            raise usage(
                f"--{key} is no parameter of {name}",
                f"--{key}",
                typed[key],
                f"{name} takes {takes or 'no parameters'}",
                f"remove --{key}, or choose another --operator",
            )
    typed |= settings(name, known_ones, flags, typed)
    refuse_incomplete(name, typed)
    values = {**DEFAULTS.get(name, {}), **{key: parse(key, value, name, shape) for key, value in typed.items()}}
    if "seed" in inspect.signature(factory).parameters:
        values["seed"] = seed
    with refusing("E-USAGE", f"{name} cannot be built", f"--operator {name}", USAGE):
        return factory(shape=shape, **values)


def split(flags: OperatorFlags, model: str | None) -> tuple[OperatorFlags, list[str]]:
    """What of `--set` is the operator's, and what the noise model's."""
    own = noise_settings(model or "gaussian")
    of_noise = [text for text in flags.set or [] if text.partition("=")[0].strip() in own]
    return replace(flags, set=[text for text in flags.set or [] if text not in of_noise]), of_noise


def settings(name: str, accepted: dict[str, Any], flags: OperatorFlags, typed: dict[str, Any]) -> dict[str, Any]:
    """What `--set` gives: values of the signature's types, but texts where a shorthand has a form of its own."""
    from operators import OPERATORS

    found, plain = {}, []
    for text in flags.set or []:
        key, value = keywords.pair(name, "--set", list(accepted), text)
        if key in typed or key in found:
            raise usage(f"{key} is given twice", "--set", text, "each parameter once", f"leave out --set {key}=...")
        found[key] = value
        if key not in FORMS:
            plain.append(text)
    return found | keywords.read(name, "--set", OPERATORS[name], accepted, plain)


def refuse_incomplete(name: str, given: dict[str, Any]) -> None:
    """Refuses an operator that lacks what it needs, or has it twice."""
    needs = NEEDS.get(name, {})
    there = [flag(key, given[key]) for key in needs if key in given]
    if needs and len(there) != 1:
        found = " and ".join(there) or "none of its flags"
        expected = " or ".join(flag(key, "...").removesuffix(" ...") for key in needs)
        examples = ", or ".join(flag(key, example) for key, example in needs.items())
        raise usage(f"{name} needs one of its flags", f"--operator {name}", found, expected, examples)
    missing = [key for key in REQUIRED.get(name, {}) if key not in given]
    if missing:
        found, words = " and ".join(f"no {key}" for key in missing), " and ".join(REQUIRED[name])
        expected = f"{words}: see `recon info {name}`"
        raise usage(f"{name} needs more", f"--operator {name}", found, expected, example(name))


def example(name: str) -> str:
    """What an operator needs, as it may be typed."""
    needs = [*list(NEEDS.get(name, {}).items())[:1], *REQUIRED.get(name, {}).items()]
    return " ".join(flag(key, value) for key, value in needs)


FORMS = ("angles", "mask", "box", "motion", "kernel")  # parameters with a form of their own on the command line


def parse(flag: str, value: Any, operator: str, shape: tuple[int, int]) -> Any:
    """One flag's text as the value that the operator's factory takes."""
    if flag == "angles":
        return angles(value)
    if flag == "mask":
        return data.read_mask(Path(value), shape)
    if flag == "box":
        return numbers(flag, value, int, 4, "TOP,LEFT,HEIGHT,WIDTH in whole pixels")
    if flag == "motion":
        return numbers(flag, value, float, 2, "LENGTH_PX,ANGLE_DEG")
    if flag == "kernel" and operator == "blur":
        return kernel(Path(value))
    return value


def angles(text: str) -> int | np.ndarray:
    """`60`: a count over a half turn; `START:STOP:COUNT` in degrees, STOP not included, as radians."""
    *ends, last = text.split(":")
    try:
        count, (start, stop) = int(last), [float(end) for end in ends] or (0.0, 180.0)
        fits = count > 0 and start != stop and max(abs(start), abs(stop), abs(stop - start)) <= 360
    except ValueError:
        fits = False
    if not fits:
        raise usage(
            "angles not understood",
            "--angles",
            text,
            "a count over a half turn, or START:STOP:COUNT in degrees, at most one turn from START to STOP",
            "--angles 60, or --angles 0:120:40",
        )
    return np.deg2rad(np.linspace(start, stop, count, endpoint=False)) if ends else count


def numbers(flag: str, text: str, kind: type, count: int, form: str) -> tuple[Any, ...]:
    """`count` numbers of one kind, separated by commas."""
    try:
        values = tuple(kind(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise usage(
            f"--{flag} not understood", f"--{flag}", text, form, f"--{flag} " + ",".join(["8"] * count)
        )
    return values


def kernel(path: Path) -> np.ndarray:
    """A blur kernel from an image or NPY file, scaled to sum 1 (an image cannot store it so)."""
    values = data.read_image(path, to_gray=True).values[0]
    total = float(values.sum())
    if not total > 0:
        raise usage(
            "kernel without weight",
            str(path),
            f"sum {total:g}",
            "a positive sum",
            "give a kernel with light in it",
        )
    return values / total


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
    return value / 100 * largest if relative else value
