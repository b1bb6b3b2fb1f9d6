"""Operators from the words of a command line."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict, dataclass, fields
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
        more = "".join(f" {flag(key, value)}" for key, value in REQUIRED.get(name, {}).items() if key not in given)
        examples = ", or ".join(flag(key, example) + more for key, example in needs.items())
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


MOST_ANGLES = 100_000
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
        fits = 0 < count <= MOST_ANGLES and start != stop and max(abs(start), abs(stop), abs(stop - start)) <= 360
    except ValueError:
        fits = False
    if not fits:
        raise usage(
            "angles not understood",
            "--angles",
            text,
            f"a count over a half turn, at most {MOST_ANGLES}, or START:STOP:COUNT in degrees, at most one turn long",
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
