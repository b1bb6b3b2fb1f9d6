"""Sinograms beside ASTRA's, against the exact line integrals of ellipses: parallel and fan beams.

python -m tests.benchmarks.tomography [--sizes 128 256 512] [--views 60 180]

Images are the Shepp-Logan ellipses, their means over each pixel. Errors are |y - exact| / |exact| in per cent: against
the integrals along the rays to the middle of each bin, and against their means over the bins. Needs astra-toolbox.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import astra
import numpy as np
import torch

from operators import OPERATORS
from tests.operators.ellipses import SHEPP_LOGAN, fan_sinogram, image, relative_error, sinogram

SUBPIXELS, SUBRAYS = 8, 16
SOURCE, DETECTOR = 2.2, 4.0  # distances, in widths of the image


def parallel(size: int, views: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Name, sinogram and both truths of every parallel projector."""
    angles = np.arange(views) * np.pi / views
    A = OPERATORS["ct"](shape=(size, size), angles=angles)
    offsets, fractions = A.geometry.offsets_mm, (np.arange(SUBRAYS) + 0.5) / SUBRAYS - 0.5
    truth = sinogram(SHEPP_LOGAN, size, angles, offsets)
    means = np.mean([sinogram(SHEPP_LOGAN, size, angles, offsets + f) for f in fractions], axis=0)
    x = image(SHEPP_LOGAN, size, SUBPIXELS)
    yield "recon ct", A(torch.from_numpy(x)).numpy(), truth, means
    geometry = astra.create_proj_geom("parallel", 1.0, offsets.size, angles)
    for name in ("line", "strip", "linear"):
        yield f"astra {name}", by_astra(name, geometry, x), truth, means


def fan(size: int, views: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """The same of every fan-beam projector for a flat detector; ASTRA has none for a curved one."""
    source, detector = SOURCE * size, DETECTOR * size
    x = image(SHEPP_LOGAN, size, SUBPIXELS)
    for shape in ("flat", "curved"):
        A = OPERATORS["ct_fan"]((size, size), views, source, detector, shape)
        truth, means = (fan_sinogram(SHEPP_LOGAN, size, A.geometry, rays) for rays in (1, SUBRAYS))
        yield f"recon ct_fan {shape}", A(torch.from_numpy(x)).numpy(), truth, means
        if shape == "flat":
            g = A.geometry
            geometry = astra.create_proj_geom(
                "fanflat", g.detector_spacing_mm, g.detectors, g.angles_rad, source, detector - source
            )
            for name in ("line_fanflat", "strip_fanflat"):
                yield f"astra {name}", by_astra(name, geometry, x), truth, means


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
    chosen = parser.parse_args()
    print(f"{'projector':22} {'pixels':>6} {'views':>5} {'% of rays':>10} {'% of bins':>10}")
    for beam in (parallel, fan):
        for size in chosen.sizes:
            for views in chosen.views:
                for name, y, truth, means in beam(size, views):
                    errors = 100 * relative_error(y, truth), 100 * relative_error(y, means)
                    print(f"{name:22} {size:6d} {views:5d} {errors[0]:10.3f} {errors[1]:10.3f}", flush=True)


if __name__ == "__main__":
    main()
