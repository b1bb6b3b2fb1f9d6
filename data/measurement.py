"""Measurement files: HDF5 with everything that a reconstruction needs.

    attributes   recon_format = 1, unit (of an image value)
    /y           (items, ...) data, item first; the axes carry their names
    /operator    attributes name and parameters (JSON); arrays among the parameters are datasets
    /angles      angles of a CT operator, attribute units = "deg" or "rad"
    /mask        mask of an inpainting operator, or of k-space
    /noise       attribute model; its parameters (sigma of "gaussian", in units of y) as attributes or datasets;
                 of "correlated" L (m, m) as `factor`, with covariance L L^T, and `axes` of y, counted from its end
    /x           optional truth (items, C, H, W)
    /attributes  optional: anything else that was stored with it

A file written by hand may leave `angles` and `mask` out of the parameters: /angles and /mask are taken.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data import hdf5
from data.errors import InputRefused, first_line
from data.kinds import sniff
from data.rules import labels, problems, refusal
from data.tree import read_tree, write_tree

if TYPE_CHECKING:
    import h5py

FORMAT = 1
PLACES = {"angles": "/angles", "mask": "/mask"}  # parameters with a place of their own


@dataclass(frozen=True)
class MeasurementFile:
    """What a measurement file holds.

    Args:
        y: (items, ...) float32 or float64.
        operator: {"name", "parameters"}, what the factory of that name takes; angles in radians.
        noise: {"model": "gaussian", "sigma": float or array}, in units of y, or another of `data.rules.MODELS`.
        x: (items, C, H, W) truth, or None.
        unit: of an image value, "" if not known.
        attrs: anything else that was stored.
        notes: what was converted on reading.
    """

    y: np.ndarray
    operator: dict[str, Any]
    noise: dict[str, Any]
    x: np.ndarray | None = None
    unit: str = ""
    attrs: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def write_measurement(
    path: str | os.PathLike[str],
    y: np.ndarray,
    operator: dict[str, Any],
    noise: dict[str, Any],
    x: np.ndarray | None = None,
    unit: str = "",
    attrs: dict[str, Any] | None = None,
) -> None:
    """Writes a file that `read_measurement` reads back bit for bit; arguments as in `MeasurementFile`.

    Raises:
        ValueError: the parts do not fit one another; the text lists everything that is wrong.
    """
    if wrong := problems(y, operator, noise, x):
        raise ValueError("; ".join(f"got {p.found}; expected {p.expected}; {p.fix}" for p in wrong))
    with hdf5.created(path) as file:
        file.attrs["recon_format"] = FORMAT
        file.attrs["unit"] = unit
        file["y"] = y
        for axis, name in zip(file["y"].dims, labels(operator, y.ndim), strict=True):
            axis.label = name
        group = file.create_group("operator")
        group.attrs["name"] = operator["name"]
        write_tree(group, operator["parameters"], PLACES)
        if "angles" in file:
            file["angles"].attrs["units"] = "rad"
        group = file.create_group("noise")
        group.attrs["model"] = noise["model"]
        for name, level in noise.items():
            if np.ndim(level):
                group[name] = level
            elif name != "model":
                group.attrs[name] = float(level)
        if x is not None:
            file["x"] = x
        write_tree(file.create_group("attributes"), attrs or {})


def read_measurement(path: str | os.PathLike[str], max_elements: int = hdf5.MAX_ELEMENTS) -> MeasurementFile:
    """Reads and judges a measurement file.

    Raises:
        InputRefused: E-FILE, E-FORMAT, E-LAYOUT when it is none; E-GEOMETRY, E-VALUES, E-NOISE with all
            that is wrong in it; E-LIMIT and E-UNSAFE (exit 7) as for every HDF5 file.
    """
    path = Path(path)
    with hdf5.opened(path) as file:
        if not {"y", "operator", "noise"} <= set(file):
            raise hdf5.wrong_layout(file, "recon measurement")
        refuse_format(file, path)
        y, notes = real(hdf5.dataset(file, "y", max_elements)[()], f"{path}:/y")
        x = hdf5.dataset(file, "x", max_elements)[()] if "x" in file else None
        operator, units, more = read_operator(file, path)
        noise = read_noise(file["noise"])
        attrs = read_tree(file["attributes"]) if "attributes" in file else {}
        axes = tuple(
            map(str, file["y"].attrs.get("DIMENSION_LABELS", ()))
        )  # Dataset.dims crashes on torn files
        unit = str(file.attrs.get("unit", ""))
    wrong = problems(y, operator, noise, x, axes if any(axes) else (), units)
    if wrong:
        raise refusal("the measurement does not hold together", f"{path}:/y", wrong)
    return MeasurementFile(y, operator, noise, x, unit, attrs, notes + more)


def is_measurement(path: str | os.PathLike[str]) -> bool:
    """Whether a file is meant as a measurement, well made or not."""
    if sniff(path) != "hdf5":
        return False
    with hdf5.opened(path) as file:
        return "reconstruction" not in file and (
            "recon_format" in file.attrs or {"y", "operator"} <= set(file)
        )


def refuse_format(file: h5py.File, path: Path) -> None:
    """Refuses files of another format version."""
    version = file.attrs.get("recon_format")
    if version != FORMAT:
        found = "no attribute recon_format" if version is None else f"recon_format = {version}"
        fix = f"file.attrs['recon_format'] = {FORMAT}" if version is None else "update recon"
        raise InputRefused("E-LAYOUT", "unknown format", str(path), found, f"recon_format = {FORMAT}", fix)


def read_operator(file: h5py.File, path: Path) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """The operator (angles in radians if their unit is known), that unit, a note if it was degrees."""
    where, name = f"{path}:/operator", file["operator"].attrs.get("name")
    try:
        parameters = read_tree(file["operator"])
    except ValueError as problem:
        fix = "store the factory's keyword arguments as a JSON object"
        raise InputRefused(
            "E-LAYOUT", "unreadable operator", where, first_line(problem), "JSON", fix
        ) from problem
    if not isinstance(name, str):
        raise InputRefused(
            "E-LAYOUT", "the operator has no name", where, f"{name!r}", "attribute name", "store it"
        )
    for key, place in PLACES.items():
        if place in file and key not in parameters:
            parameters[key] = hdf5.dataset(file, key)[()]
    units = str(file["angles"].attrs.get("units", "")) if "angles" in file else ""
    if units == "deg" and isinstance(parameters.get("angles"), np.ndarray):
        parameters["angles"] = np.deg2rad(parameters["angles"])
        return {"name": name, "parameters": parameters}, "rad", ("angles turned from degrees to radians",)
    return {"name": name, "parameters": parameters}, units, ()


def read_noise(group: h5py.Group) -> dict[str, Any]:
    """The noise model: attributes, and arrays where a level is one."""
    noise = {
        key: value.item() if isinstance(value, np.generic) else value for key, value in group.attrs.items()
    }
    return {**noise, **{key: hdf5.dataset(group.file, f"noise/{key}")[()] for key in group}}


def real(y: np.ndarray, where: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """y as float32 or float64; other real types are converted if that is exact."""
    if y.dtype.kind not in "biuf" or y.dtype in (np.float32, np.float64):
        return y.astype(y.dtype.newbyteorder("="), copy=False), ()
    for dtype in (np.float32, np.float64):
        converted = y.astype(dtype)
        if (converted.astype(y.dtype) == y).all():
            return converted, (f"y turned from {y.dtype} to {converted.dtype}, exactly",)
    raise InputRefused(
        "E-FORMAT", "y is too precise", where, str(y.dtype), "float32 or float64", "convert it"
    )
