"""Operators and noise levels from the words of a command line."""

from __future__ import annotations

import inspect
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import data
from cli import catalogue
from cli.errors import USAGE, nearest, refusing, usage

if TYPE_CHECKING:
    from operators import LinearOperator


NEEDS = {  # of these flags an operator takes exactly one, as in the example
    "ct": {"angles": "60"},
    "inpaint": {"mask": "mask.png", "keep": "0.4", "box": "8,8,16,16"},
    "blur": {"std": "2", "motion": "9,30", "kernel": "kernel.png"},
}


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

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


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


def build(name: str, flags: OperatorFlags, shape: tuple[int, int], seed: int) -> LinearOperator:
    """The operator of the flags, for images of `shape` (H, W); a flag of another operator is refused."""
    from operators import OPERATORS

    factory = OPERATORS[known("operator", name, list(OPERATORS))]
    accepted = inspect.signature(factory).parameters
    given = flags.given()
    for flag in given:
        if flag not in accepted:
            takes = ", ".join(f"--{key}" for key in asdict(flags) if key in accepted) or "no parameters"
            raise usage(
                f"--{flag} is no parameter of {name}",
                f"--{flag}",
                given[flag],
                f"{name} takes {takes}",
                f"remove --{flag}, or choose another --operator",
            )
    refuse_incomplete(name, given)
    values = {flag: parse(flag, value, name, shape) for flag, value in given.items()}
    if "seed" in accepted:
        values["seed"] = seed
    with refusing("E-USAGE", f"{name} cannot be built", f"--operator {name}", USAGE):
        return factory(shape=shape, **values)


def refuse_incomplete(name: str, given: dict[str, Any]) -> None:
    """Refuses an operator that lacks what it needs, or has it twice."""
    needs = NEEDS.get(name, {})
    there = [f"--{flag} {given[flag]}" for flag in needs if flag in given]
    if needs and len(there) != 1:
        found = " and ".join(there) or "none of its flags"
        expected = " or ".join(f"--{flag}" for flag in needs)
        examples = ", or ".join(f"--{flag} {example}" for flag, example in needs.items())
        raise usage(f"{name} needs one of its flags", f"--operator {name}", found, expected, examples)


def parse(flag: str, value: Any, operator: str, shape: tuple[int, int]) -> Any:
    """One flag's text as the value that the operator's factory takes."""
    if flag == "angles":
        return angles(value)
    if flag == "mask":
        return data.read_mask(value, shape)
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
