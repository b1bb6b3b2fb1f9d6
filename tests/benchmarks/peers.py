"""Other packages, where they are installed: how to import them, and their projectors on our geometry."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch

from operators.fan_geometry import fan_beam
from operators.geometry import parallel_beam

LIBRARIES: list[torch.library.Library] = []  # a library that is let go takes its names with it
Pair = tuple[Callable[[], object], Callable[[], object]]


def astra_projector(kind: str, operator: str, parameters: dict) -> Pair | None:
    """Forward and adjoint of one random image on a projector of ASTRA for the CPU, or None.

    Its detector is centred whatever ours is, which costs as much.

    Args:
        kind: ASTRA's name: "linear", "strip", ... of parallel beams, "line_fanflat", ... of fan beams.
        operator: "ct", or "ct_fan" with a flat detector.
        parameters: Of that operator.
    """
    if importlib.util.find_spec("astra") is None:
        return None
    import astra

    g = {"ct": parallel_beam, "ct_fan": fan_beam}[operator](**parameters)
    bins = g.detector_spacing_mm / g.spacing_mm, g.detectors, g.angles_rad
    if operator == "ct":
        views = astra.create_proj_geom("parallel", *bins)
    else:
        source, behind = g.source_mm / g.spacing_mm, (g.detector_mm - g.source_mm) / g.spacing_mm
        views = astra.create_proj_geom("fanflat", *bins, source, behind)
    projector = astra.OpTomo(astra.create_projector(kind, views, astra.create_vol_geom(*g.shape)))
    volume = np.random.default_rng(0).random(g.shape, dtype=np.float32)
    data = projector.FP(volume)
    return lambda: projector.FP(volume), lambda: projector.BP(data)


def deepinv() -> ModuleType:
    """The package deepinv, which must be installed."""
    if not LIBRARIES:  # its torchvision does not import beside a CPU-only torch until these names exist
        LIBRARIES.append(torch.library.Library("torchvision", "DEF"))
        for name in ("nms", "qnms"):
            LIBRARIES[0].define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("deepinv")


def deepinv_projector(parameters: dict, batch: int) -> Pair | None:
    """Forward and adjoint of deepinv's tomography for a batch, on the same number of views, or None."""
    if importlib.util.find_spec("deepinv") is None:
        return None
    g = parallel_beam(**parameters)
    physics = deepinv().physics.Tomography(
        angles=torch.from_numpy(np.rad2deg(g.angles_rad)).float(), img_width=g.shape[0], circle=False, normalize=False
    )
    x = torch.rand(batch, 1, *g.shape)
    y = physics.A(x)
    return lambda: physics.A(x), lambda: physics.A_adjoint(y)
