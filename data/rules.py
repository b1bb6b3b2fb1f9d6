"""What must hold for a measurement: values, angles, noise, shapes. All problems are found, not only one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from data.errors import InputRefused

TURN = 2 * np.pi
TOMOGRAPHY = ("ct", "ct_fan")
MODELS = {  # of noise, their parameters, and whether these are above zero
    "gaussian": {"sigma": False},
    "laplace": {"scale": True},
    "poisson": {"gain": True, "background": False},
    "transmission": {"I0": True, "electronic": False},
    "rician": {"sigma": True},
    "correlated": {"factor": False, "axes": False},
}
NOT_NEGATIVE = ("poisson", "rician")
NOISE_FIXES = {
    "gain": "give the counts for a value of 1",
    "background": "give the expected counts of an empty image",
    "I0": "give the counts of an empty scanner",
    "electronic": "give the read-out noise in counts",
}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, in the words of the error that will report it."""

    code: str
    found: str
    expected: str
    fix: str
    exit_code: int = 3


def refusal(title: str, where: str, problems: list[Problem]) -> InputRefused:
    """One error for all problems; code and exit code are those of the first."""
    found, expected, fix = (
        "\n".join(dict.fromkeys(getattr(problem, name) for problem in problems))
        for name in ("found", "expected", "fix")
    )
    return InputRefused(problems[0].code, title, where, found, expected, fix, problems[0].exit_code)


def labels(operator: dict[str, Any], ndim: int) -> tuple[str, ...]:
    """Names of the axes of y: ("item", "channel", "angle", "detector") for CT.

    Args:
        operator: {"name", "parameters"}.
        ndim: how many axes y has.
    """
    last = event_labels(operator["name"], operator["parameters"])
    lead = ("item", "channel")[: ndim - len(last)]
    names = ("item", "value") if ndim == 2 else (*lead, *last)
    return names if len(names) == ndim else tuple(f"axis{i}" if i else "item" for i in range(ndim))


def event_labels(name: str, parameters: dict[str, Any]) -> tuple[str, ...]:
    """Names of the axes on which an operator acts: those of images unless they are known to be others."""
    if name in TOMOGRAPHY:
        return ("angle", "detector")
    if name in ("hadamard", "random_projection"):
        return ("value",)
    if name in ("mosaic", "grey"):
        return ("channel", "row", "column")
    if name == "mri":
        points = ("row", "column") if parameters.get("trajectory") is None else ("shot", "sample")
        return (*(("coil",) if parameters.get("coils") is not None else ()), "part", *points)
    if name == "phase_retrieval" and parameters.get("patterns") is not None:
        return ("pattern", "row", "column")
    return ("row", "column")


def problems(
    y: np.ndarray,
    operator: dict[str, Any],
    noise: dict[str, Any],
    x: np.ndarray | None = None,
    axes: tuple[str, ...] = (),
    units: str = "rad",
) -> list[Problem]:
    """Everything that is wrong with a measurement.

    Args:
        y: (items, ...) data.
        operator: {"name", "parameters"}; angles in radians.
        noise: {"model", and its parameters, numbers or arrays, see `MODELS`}.
        x: (items, C, H, W) truth, or None.
        axes: names of the axes of y as stored, empty when they are not.
        units: of the angles; anything but "rad" is a problem, because a unit is never guessed.
    """
    found = [*values("y", y), *shapes(y, operator, x), *noise_level(noise, y, operator)]
    if operator["name"] in TOMOGRAPHY:
        found += [
            *angles(operator["parameters"].get("angles"), y, units),
            *sinogram(y, operator["parameters"]),
        ]
    if operator["name"] in EVENTS:
        found += event(y, operator["name"], operator["parameters"])
    wanted = labels(operator, y.ndim)
    if axes and axes != wanted:
        fix = f"bring y into the order {', '.join(wanted)} (numpy.moveaxis) and name its axes so"
        found.append(Problem("E-GEOMETRY", f"y has axes ({', '.join(axes)})", f"({', '.join(wanted)})", fix))
    return found


def values(name: str, array: np.ndarray) -> Iterator[Problem]:
    """NaN, Inf, and values that are not real numbers."""
    if array.dtype.kind not in "biuf":
        yield Problem("E-FORMAT", f"{name} of type {array.dtype}", "real numbers", f"store {name} as float32")
    elif array.size == 0:
        yield Problem(
            "E-GEOMETRY", f"{name} of shape {array.shape}", "at least one value", "measure something"
        )
    elif count := int((~np.isfinite(array)).sum()):
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        text = f"{count} of {array.size} values of {name} are NaN or Inf, the first at index {first}"
        yield Problem("E-VALUES", text, "finite values", "mend the source, or leave the items out")


def shapes(y: np.ndarray, operator: dict[str, Any], x: np.ndarray | None) -> Iterator[Problem]:
    """Number of items, and image sizes against the operator's."""
    if y.ndim < 2:
        yield Problem(
            "E-GEOMETRY", f"y of shape {y.shape}", "(items, ...)", "put the item axis first: y[None]"
        )
    size = image_size(operator["parameters"].get("shape"))
    if x is not None:
        yield from values("x", x)
        if x.shape[:1] != y.shape[:1]:
            text = f"{len(x)} items in x, {len(y)} in y"
            yield Problem(
                "E-GEOMETRY", text, "as many truths as measurements", "store the truth of each item"
            )
        if size and x.shape[-len(size) :] != size:
            yield misfit("x", x.shape, size)
    mask = operator["parameters"].get("mask")
    if isinstance(mask, np.ndarray) and size and mask.shape[-len(size) :] != size:
        yield misfit("mask", mask.shape, size)


def image_size(stated: Any) -> tuple[int, ...]:
    """The stated image size (H, W), or () where none is stated; the operator itself judges an odd one."""
    fits = isinstance(stated, list | tuple) and len(stated) == 2 and all(isinstance(n, int) for n in stated)
    return tuple(stated) if fits else ()


def misfit(name: str, shape: tuple[int, ...], size: tuple[int, ...]) -> Problem:
    """An image-like array whose last axes are not the operator's image."""
    turned = shape[-len(size) :] == size[::-1]
    fix = f"swap the last two axes of {name}" if turned else f"store {name} at the size of the image"
    return Problem("E-GEOMETRY", f"{name} has shape {shape}", f"{size} in its last axes", fix)


def noise_level(noise: dict[str, Any], y: np.ndarray, operator: dict[str, Any]) -> Iterator[Problem]:
    """The noise model, its parameters, and data that it can give."""
    model = noise.get("model")
    if model not in MODELS or set(noise) != {"model", *MODELS[model]}:
        text = f"noise with {', '.join(f'{k} {v!r:.40}' for k, v in noise.items()) or 'nothing'}"
        known = ", ".join(f"model '{name}' with {' and '.join(levels)}" for name, levels in MODELS.items())
        yield Problem("E-NOISE", text, f"model 'gaussian' and sigma, or {known}", "describe the noise by one of these")
        return
    if model == "correlated":
        yield from correlated(noise, y, event_labels(operator["name"], operator["parameters"]))
        return
    for name, positive in MODELS[model].items():
        yield from level(name, noise[name], y, positive)
    if model in NOT_NEGATIVE and y.dtype.kind in "biuf" and y.size and float(np.nanmin(y)) < 0:
        text = f"{model} noise for y from {float(np.nanmin(y)):g}"
        yield Problem("E-NOISE", text, "data of zero or more", "store what was counted, or model 'gaussian'")


def correlated(noise: dict[str, Any], y: np.ndarray, names: tuple[str, ...]) -> Iterator[Problem]:
    """The factor of a covariance, and the axes of y that it is about; `names`: of those that an operator acts on."""
    factor, axes = np.asarray(noise["factor"]), np.asarray(noise["axes"])
    square = factor.ndim == 2 and factor.shape[0] == factor.shape[1] and factor.dtype.kind in "iuf"
    if not square or not np.isfinite(factor).all() or np.triu(factor, 1).any() or not (np.diag(factor) > 0).all():
        text, expected = f"factor of shape {factor.shape}", "a lower triangular matrix, its diagonal above zero"
        yield Problem("E-NOISE", text, expected, "store the Cholesky factor of the covariance", 2)
        return
    named = axes.ndim == 1 and axes.dtype.kind in "iu" and len(set(axes.tolist())) == axes.size > 0
    if not named or not ((axes < 0) & (axes >= -len(names))).all():
        text, known = f"axes {axes.tolist()} for y of shape {y.shape}", range(-len(names), 0)
        listed = ", ".join(f"{k} ({name})" for k, name in zip(known, names, strict=True))
        yield Problem("E-NOISE", text, f"a list of some of {listed}, not of the items", "count y's axes from its end")
    elif len(factor) != (size := int(np.prod([y.shape[axis] for axis in axes]))):
        text = f"a factor of {len(factor)} rows for axes {axes.tolist()} of y of shape {y.shape}"
        yield Problem("E-GEOMETRY", text, f"{size} rows", "give the axes that the covariance is about")


def level(name: str, value: Any, y: np.ndarray, positive: bool) -> Iterator[Problem]:
    """One parameter of a noise model: finite, not negative or above zero, one number or one for each datum."""
    given = np.asarray(value)
    bad = given.dtype.kind not in "iuf" or not (np.isfinite(given).all() and (given >= 0).all())
    if bad or (positive and not (given > 0).all()):
        fix = NOISE_FIXES.get(name, "give the standard deviation of the noise in units of y")
        wrong = "zero, negative or not finite" if positive else "negative or not finite"
        shown = given if given.ndim == 0 else f"of shape {given.shape} with values that are {wrong}"
        expected = "a finite number, " + ("above zero" if positive else "not negative")
        yield Problem("E-NOISE", f"{name} {shown}", expected, fix, 2)
    try:
        fits = np.broadcast_shapes(given.shape, y.shape) == y.shape
    except ValueError:
        fits = False
    if not fits:
        text = f"{name} of shape {given.shape} for y of shape {y.shape}"
        expected, fix = "one number, or a shape that fits y", f"store one {name}, or one per value"
        yield Problem("E-GEOMETRY", text, expected, fix)


def angles(theta: Any, y: np.ndarray, units: str) -> Iterator[Problem]:
    """The projection angles, in radians."""
    wanted = f"{y.shape[-2]} angles, as y has" if y.ndim >= 2 else "one angle for each projection"
    if not isinstance(theta, np.ndarray) or theta.ndim != 1 or theta.dtype.kind not in "iuf":
        text = (
            "no angles"
            if theta is None
            else f"angles of type {type(theta).__name__} {getattr(theta, 'shape', '')}"
        )
        fix = 'store them in /angles with the attribute units = "deg" or "rad"'
        yield Problem("E-GEOMETRY", text, wanted, fix)
        return
    if y.ndim >= 2 and len(theta) != y.shape[-2]:
        swapped = len(theta) == y.shape[-1]
        fix = (
            "swap the last two axes of y (angle first, detector second)"
            if swapped
            else "store one angle a projection"
        )
        yield Problem("E-GEOMETRY", f"{len(theta)} angles for y of shape {y.shape}", wanted, fix)
    if bad := int((~np.isfinite(theta)).sum()):
        yield Problem("E-GEOMETRY", f"{bad} angles are NaN or Inf", "finite angles", "store the true angles")
        return
    if twice := len(theta) - len(np.unique(theta)):
        fix = "average projections of equal angle, or store the true angles"
        yield Problem("E-GEOMETRY", f"{twice} angles occur more than once", "different angles", fix)
    if units != "rad":
        text = f"{len(theta)} angles up to {theta.max():g}, attribute units {units or 'missing'}"
        yield Problem(
            "E-GEOMETRY", text, 'units "deg" or "rad"', "file['angles'].attrs['units'] = 'deg' (or 'rad')"
        )
    elif np.ptp(theta) > 1.001 * TURN:
        text = f"angles from {theta.min():g} to {theta.max():g} marked as radians"
        yield Problem("E-GEOMETRY", text, "at most one turn (6.28)", 'if they are degrees: units = "deg"')


def sinogram(y: np.ndarray, parameters: dict[str, Any]) -> Iterator[Problem]:
    """The number of detector elements."""
    detectors = parameters.get("detectors")
    if isinstance(detectors, int) and y.ndim >= 2 and y.shape[-1] != detectors:
        text = f"{y.shape[-1]} detector elements in y of shape {y.shape}"
        yield Problem(
            "E-GEOMETRY", text, f"{detectors}, as the operator says", "correct detectors, or the axes of y"
        )


def kspace(parameters: dict[str, Any]) -> tuple[int, ...]:
    """Last axes of the data of an MRI operator: (coils,) 2, and those of the mask or of the trajectory."""
    coils, trajectory = parameters.get("coils"), parameters.get("trajectory")
    points = trajectory.shape[:2] if isinstance(trajectory, np.ndarray) else image_size(parameters.get("shape"))
    return (*(coils.shape[:1] if isinstance(coils, np.ndarray) else ()), 2, *points)


def chosen(parameters: dict[str, Any]) -> tuple[int, ...]:
    """How many data compressed sensing gives: one for each row."""
    rows = parameters.get("rows", parameters.get("matrix"))
    return rows.shape[:1] if isinstance(rows, np.ndarray) else ()


EVENTS = {"mri": kspace, "hadamard": chosen, "random_projection": chosen}


def event(y: np.ndarray, name: str, parameters: dict[str, Any]) -> Iterator[Problem]:
    """The last axes of the data, where the parameters say them, and coil maps of the image's size."""
    wanted = EVENTS[name](parameters)
    if wanted and y.shape[y.ndim - len(wanted) :] != wanted or y.ndim <= len(wanted):
        names = event_labels(name, parameters)
        sizes = ", ".join(f"{n} {size}" for n, size in zip(names, wanted, strict=False))
        fix = "complex data go in two real channels, the real part first" if name == "mri" else "correct rows, or y"
        yield Problem("E-GEOMETRY", f"y of shape {y.shape}", f"last axes {wanted} ({sizes})", fix)
    coils, size = parameters.get("coils"), image_size(parameters.get("shape"))
    if isinstance(coils, np.ndarray) and size and coils.shape[-2:] != size:
        yield misfit("coils", coils.shape, size)
