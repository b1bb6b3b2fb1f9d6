"""Tomography beside ASTRA, deepinv and scikit-image, as far as they are installed, in one run.

python -m tests.benchmarks.operators [--cases 256x180x8,512x180x8,256x180x1] [--repeats 7] [--threads 2]

Seconds: the candidates take turns within each repeat, so that a load on the machine meets them all; ratios are medians
of those within a repeat. Accuracy: against the exact sinograms of the Shepp-Logan ellipses.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from skimage.transform import iradon, radon

from operators import OPERATORS, fbp
from operators.adapters import skimage_geometry
from tests.benchmarks.peers import astra_projector, deepinv_projector
from tests.operators.ellipses import SHEPP_LOGAN, image, relative_error, sinogram

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
PROJECTORS = ("strip", "fourier", "cubic")
Pair = tuple[Callable[[], object], Callable[[], object]]


def ms(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call in ms."""
    start = clock()
    call()
    return 1000 * (clock() - start)


def ours(parameters: dict, batch: int) -> tuple[dict[str, Pair], list[str]]:
    """Forward and adjoint of each projector, and what their set-up took."""
    pairs, notes = {}, []
    shape = parameters["shape"]
    for name in PROJECTORS[:2]:
        start = time.perf_counter()
        A = OPERATORS["ct"](**parameters, projector=name)
        notes.append(f"set-up of {name}: {time.perf_counter() - start:.1f} s, "
                     f"{A.matrix.forward_values.numel():.1e} entries")
        x = torch.rand(batch, 1, *shape)
        y = A(x)
        pairs[f"recon {name}"] = (lambda A=A, x=x: A(x)), (lambda A=A, y=y: A.adjoint(y))
    return pairs, notes


def speed(title: str, parameters: dict, batch: int, repeats: int, clock: Callable[[], float]) -> list[str]:
    """Median ms of all candidates; what takes one image at a time is timed for one and counted `batch` times."""
    torch.manual_seed(0)
    pairs, notes = ours(parameters, batch)
    single = {name: made for name in ("linear", "strip")
              if (made := astra_projector(name, parameters)) is not None}
    whole = {}
    if parameters["shape"][0] <= 256 and batch > 1 and (made := deepinv_projector(parameters, batch)) is not None:
        whole["deepinv"] = made
    candidates = {**pairs, **{f"ASTRA {name}": pair for name, pair in single.items()}, **whole}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in candidates}
    for pair in candidates.values():
        for call in pair:
            call()
    for _ in range(repeats):
        for name, pair in candidates.items():
            count = batch if name.startswith("ASTRA") else 1
            for direction in (0, 1):
                times[name][direction].append(count * ms(pair[direction], clock))
    reference = times.get("ASTRA linear")
    lines = [f"{title}, batch {batch}, {torch.get_num_threads()} thread(s), float32; {'; '.join(notes)}"]
    for name, both in times.items():
        line = f"  {name:14s}" + "".join(f"{statistics.median(values):10.1f}" for values in both)
        if reference is not None:
            ratios = [statistics.median(r / v for r, v in zip(slow, values, strict=True))
                      for slow, values in zip(reference, both, strict=True)]
            line += "   " + " ".join(f"x{ratio:6.1f}" for ratio in ratios)
        lines.append(line)
    return lines


def scikit_image(size: int, views: int, batch: int) -> str:
    """Milliseconds of scikit-image, once, for one image and counted `batch` times."""
    theta = np.arange(views) * 180.0 / views
    x = image(SHEPP_LOGAN, size)
    y = radon(x, theta, circle=True)
    forward = batch * ms(lambda: radon(x, theta, circle=True))
    adjoint = batch * ms(lambda: iradon(y, theta, filter_name=None, circle=True))
    return f"  {'scikit-image':14s}{forward:10.1f}{adjoint:10.1f}   (once)"


def accuracy(size: int, views: int, subpixels: int) -> str:
    """Per cent of error against line integrals, and against means over the bins; and the least value."""
    parameters = {"shape": (size, size), "angles": views, "detectors": size}
    x = image(SHEPP_LOGAN, size, subpixels)
    found = {}
    for name in PROJECTORS:
        A = OPERATORS["ct"](**parameters, projector=name)
        found[name] = A(torch.from_numpy(x).float()).double().numpy()
    angles, offsets = A.geometry.angles_rad, A.geometry.offsets_mm
    for kind in ("linear", "strip"):
        pair = astra_projector(kind, parameters, x)
        if pair is not None:
            found[f"ASTRA {kind}"] = pair[0]()
    lines = sinogram(SHEPP_LOGAN, size, angles, offsets)
    fractions = (np.arange(16) + 0.5) / 16 - 0.5
    bins = np.mean([sinogram(SHEPP_LOGAN, size, angles, offsets + f) for f in fractions], axis=0)
    parts = [f"{name} {100 * relative_error(y, lines):.3f} {100 * relative_error(y, bins):.3f} "
             f"({y.min() / y.max():+.1e})" for name, y in found.items()]
    parts.append(against_radon(size, views, x))
    return f"  {size:4d} {views:4d} {'means ' if subpixels > 1 else 'points'}  " + "; ".join(parts)


def against_radon(size: int, views: int, x: np.ndarray) -> str:
    """The same for scikit-image's radon, whose rotation centre is another; and of reconstructions, ours and theirs."""
    theta = np.arange(views) * 180.0 / views
    geometry = skimage_geometry(size, theta)
    angles = geometry["angles"]
    away = 0.5 if size % 2 == 0 else 0.0
    offsets = np.arange(size) - size // 2 + away * (np.cos(angles) - np.sin(angles))[:, None]
    y = radon(x, theta, circle=True)
    fractions = (np.arange(16) + 0.5) / 16 - 0.5
    lines = sinogram(SHEPP_LOGAN, size, angles, offsets)
    bins = np.mean([sinogram(SHEPP_LOGAN, size, angles, offsets + f) for f in fractions], axis=0)
    errors = relative_error(y.T, lines), relative_error(y.T, bins)
    A = OPERATORS["ct"](**geometry)
    field = image(np.array([(1.0, 0.95, 0.95, 0.0, 0.0, 0.0)]), size) == 1
    backs = fbp(A, A(torch.from_numpy(x))).numpy(), iradon(y, theta, circle=True)
    images = [100 * relative_error(back[field], x[field]) for back in backs]
    return f"radon {100 * errors[0]:.3f} {100 * errors[1]:.3f}; fbp {images[0]:.2f}, iradon {images[1]:.2f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="256x180x8,256x180x1,512x180x8", help="SIZExVIEWSxBATCH, with commas")
    parser.add_argument("--uneven", default="256x180x8,256x180x1", help="the same, with uneven angles and offsets")
    parser.add_argument("--accuracy", default="128,256", help="sizes, or nothing")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of all threads, for a busy machine")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    print("ms forward and adjoint, and how many times faster than ASTRA linear")
    for cases, spread in ((chosen.cases, "even"), (chosen.uneven, "uneven")):
        for case in filter(None, cases.split(",")):
            size, views, batch = map(int, case.split("x"))
            parameters = {"shape": (size, size), "angles": views}
            if spread == "uneven":
                parameters |= {"angles": np.sort(np.random.default_rng(0).uniform(0, np.pi, views)),
                               "detector_centre": 0.7 * size}
            title = f"{size} x {size} pixels, {views} {spread} views"
            print("\n".join(speed(title, parameters, batch, chosen.repeats, CLOCKS[chosen.clock])), flush=True)
            if spread == "even" and size <= 256:
                print(scikit_image(size, views, batch), flush=True)
    print("\nShepp-Logan ellipses: % of error against line integrals and means over bins (least / largest value)")
    for size in filter(None, chosen.accuracy.split(",")):
        for views in (60, 180):
            for subpixels in (1, 8):
                print(accuracy(int(size), views, subpixels), flush=True)


if __name__ == "__main__":
    main()
