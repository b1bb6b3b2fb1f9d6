"""Geometries of ASTRA as ours: angles, bins, rows and the source's place agree, so that only names and units change.

ASTRA's data are (angles, detectors) as ours, in its own unit of length. It is not needed for this: its geometries are
plain dictionaries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from operators.checks import fault, finite_float, real_array


def astra_geometry(projections: Mapping[str, Any], volume: Mapping[str, Any], unit_mm: float = 1.0) -> dict[str, Any]:
    """The spec of the operator for ASTRA's geometries: OPERATORS[spec["name"]](**spec["parameters"]) builds it.

    Args:
        projections: What astra.create_proj_geom("parallel" or "fanflat", ...) gives.
        volume: What astra.create_vol_geom(rows, columns, ...) gives; a window of its own places the rotation centre.
        unit_mm: ASTRA's unit of length; by default a pixel's side, so give the pixel's side in mm. Data of ASTRA
            times `unit_mm` are ours.

    Returns:
        {"name": "ct" or "ct_fan", "parameters"}.

    Raises:
        ValueError: another type of geometry, or pixels that are not square.
    """
    unit = finite_float("unit_mm", unit_mm, low=0.0, above=True)
    kind = projections.get("type")
    if kind not in ("parallel", "fanflat"):
        raise fault("projections", f"type {kind!r}", "'parallel' or 'fanflat'",
                    "create it with astra.create_proj_geom('fanflat', ...)")
    shape, side, centre = _grid(volume)
    parameters = {
        "shape": shape, "angles": real_array("ProjectionAngles", projections["ProjectionAngles"]),
        "detectors": int(projections["DetectorCount"]), "spacing_mm": side * unit,
        "detector_spacing_mm": float(projections["DetectorWidth"]) * unit, "centre": centre,
    }
    if kind == "parallel":
        return {"name": "ct", "parameters": parameters}
    source = float(projections["DistanceOriginSource"])
    to_detector = source + float(projections["DistanceOriginDetector"])
    fan = {"source_mm": source * unit, "detector_mm": to_detector * unit, "detector": "flat"}
    return {"name": "ct_fan", "parameters": parameters | fan}


def _grid(volume: Mapping[str, Any]) -> tuple[tuple[int, int], float, tuple[float, float]]:
    """(rows, columns), the side of a pixel in ASTRA's unit, and where its origin lies, in pixels."""
    rows, columns = int(volume["GridRowCount"]), int(volume["GridColCount"])
    window = {"WindowMinX": -columns / 2, "WindowMaxX": columns / 2, "WindowMinY": -rows / 2, "WindowMaxY": rows / 2}
    window |= volume.get("option", {})
    side = (window["WindowMaxX"] - window["WindowMinX"]) / columns
    height = (window["WindowMaxY"] - window["WindowMinY"]) / rows
    if not np.isclose(side, height, rtol=1e-6, atol=0):
        raise fault("volume", f"pixels of {side:g} x {height:g}", "square pixels", "choose the window accordingly")
    return (rows, columns), side, (window["WindowMaxY"] / side - 0.5, -window["WindowMinX"] / side - 0.5)
