"""Sinograms beside ASTRA's, against the exact line integrals of ellipses: parallel and fan beams, as a Markdown table.

python -m tests.benchmarks.tomography [--sizes 128 256 512] [--views 60 180] [--others]

Images are the Shepp-Logan ellipses, as their means over each pixel, and as their values at its centre. Errors are
|y - exact| / |exact| in per cent, for ours and ASTRA's alike: against the integrals along the rays to the middle of
each bin ("rays", what ASTRA's projectors model), and against the means of such integrals over the bins ("bins", what a
detector measures). `--others` adds all other projectors of both. Needs astra-toolbox.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import astra
import numpy as np
import torch

from operators import OPERATORS
from operators.ct import PROJECTORS
from operators.fan import PROJECTORS as FAN_PROJECTORS
from tests.operators.ellipses import SHEPP_LOGAN, fan_sinogram, image, relative_error, sinogram

SUBRAYS = 16
SUBPIXELS = {"means": 8, "points": 1}
SOURCE, DETECTOR = 2.2, 4.0  # distances, in widths of the image
Row = tuple[str, np.ndarray, np.ndarray, np.ndarray]


def parallel(size: int, views: int, x: np.ndarray, others: bool) -> Iterator[Row]:
    """Name, sinogram and both truths of parallel projectors."""
    angles = np.arange(views) * np.pi / views
    for name in ("auto", *(list(PROJECTORS)[1:] if others else [])):
        A = OPERATORS["ct"](shape=(size, size), angles=angles, projector=name)
        offsets, fractions = A.geometry.offsets_mm, (np.arange(SUBRAYS) + 0.5) / SUBRAYS - 0.5
        truth = sinogram(SHEPP_LOGAN, size, angles, offsets)
        means = np.mean([sinogram(SHEPP_LOGAN, size, angles, offsets + f) for f in fractions], axis=0)
        yield f"recon {A.spec['parameters']['projector']}", A(torch.from_numpy(x)).numpy(), truth, means
    geometry = astra.create_proj_geom("parallel", 1.0, offsets.size, angles)
    for name in ("linear", *(("line", "strip") if others else ())):
        yield f"ASTRA {name}", by_astra(name, geometry, x), truth, means


def fan_beam(size: int, views: int, x: np.ndarray, others: bool) -> Iterator[Row]:
    """The same of fan-beam projectors for a flat detector; ASTRA has none for a curved one."""
    source, detector = SOURCE * size, DETECTOR * size
    for name in ("auto", *(list(FAN_PROJECTORS)[1:] if others else [])):
        A = OPERATORS["ct_fan"]((size, size), views, source, detector, projector=name)
        truth, means = (fan_sinogram(SHEPP_LOGAN, size, A.geometry, rays) for rays in (1, SUBRAYS))
        yield f"recon {A.spec['parameters']['projector']}", A(torch.from_numpy(x)).numpy(), truth, means
    g = A.geometry
    geometry = astra.create_proj_geom(
        "fanflat", g.detector_spacing_mm, g.detectors, g.angles_rad, source, detector - source
    )
    for name in ("line_fanflat", *(("strip_fanflat",) if others else ())):
        yield f"ASTRA {name}", by_astra(name, geometry, x), truth, means


def by_astra(name: str, geometry: dict, x: np.ndarray) -> np.ndarray:
    """ASTRA's sinogram of an image."""
    projector = astra.create_projector(name, geometry, astra.create_vol_geom(*x.shape))
    index, y = astra.create_sino(x, projector)
    astra.data2d.delete(index)
    astra.projector.delete(projector)
    return y


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256, 512])
    parser.add_argument("--views", type=int, nargs="+", default=[60, 180])
    parser.add_argument("--others", action="store_true")
    chosen = parser.parse_args()
    print("| beam | pixels | views | projector | means: rays | means: bins | points: rays | points: bins |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for beam, rows in (("parallel", parallel), ("fan", fan_beam)):
        for size in chosen.sizes:
            images = [image(SHEPP_LOGAN, size, subpixels) for subpixels in SUBPIXELS.values()]
            for views in chosen.views:
                for found in zip(*(rows(size, views, x, chosen.others) for x in images), strict=True):
                    errors = [100 * relative_error(y, truth) for _, y, *truths in found for truth in truths]
                    cells = [beam, size, views, found[0][0], *(f"{error:.3f}" for error in errors)]
                    print("|", " | ".join(map(str, cells)), "|", flush=True)


if __name__ == "__main__":
    main()
