"""Tomography beside ASTRA, deepinv and scikit-image, as far as they are installed, in one run.

python -m tests.benchmarks.operators [--cases 256x180x8,512x180x8,256x180x1] [--repeats 7] [--threads 2] [--clock cpu]

The candidates take turns within each repeat, so that a load on the machine meets them all; ratios are medians of those
within a repeat. How exact they are: `tests.benchmarks.tomography`. `--fft 256x1,256x8` is another table, SIZExBATCH of
operators that transform: their time over that of the `torch.fft` calls that they stand for on as many numbers, and over
that of the transforms among these calls; for k-space whole ones, of complex numbers also where the image is real.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from skimage.transform import iradon, radon
from torch import Tensor

import operators
from operators import OPERATORS, LinearOperator
from tests.benchmarks.peers import astra_projector, deepinv_projector
from tests.operators.ellipses import SHEPP_LOGAN, image

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
OURS = {"ct": ("ray", "strip", "fourier-ray"), "ct_fan": ("ray", "strip")}
THEIRS = {"ct": ("linear", "strip"), "ct_fan": ("line_fanflat", "strip_fanflat")}  # the first is what ratios are to
HEAD = "| case | projector | forward | adjoint | forward: times faster | adjoint |\n|" + 6 * " --- |"
Pair = tuple[Callable[[], object], Callable[[], object]]


def ms(call: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time of one call in ms."""
    start = clock()
    call()
    return 1000 * (clock() - start)


def ours(operator: str, parameters: dict, batch: int) -> tuple[dict[str, Pair], list[str]]:
    """Forward and adjoint of each projector, and what their set-up took."""
    pairs, notes = {}, []
    chosen = OPERATORS[operator](**parameters).spec["parameters"]["projector"]
    for name in OURS[operator]:
        start = time.process_time()
        A = OPERATORS[operator](**parameters, projector=name)
        notes.append(f"{name} {time.process_time() - start:.1f} s")
        x = torch.rand(batch, 1, *parameters["shape"])
        y = A(x)
        label = f"recon {name}{' (auto)' if name == chosen else ''}"
        pairs[label] = (lambda A=A, x=x: A(x)), (lambda A=A, y=y: A.adjoint(y))
    return pairs, notes


def speed(
    case: str, operator: str, parameters: dict, batch: int, repeats: int, clock: Callable[[], float]
) -> tuple[list[str], str]:
    """Rows of the median ms of all candidates; ASTRA takes one image at a time, which is counted `batch` times.

    The second value says what the set-up of ours took, in seconds of one thread.
    """
    torch.manual_seed(0)
    pairs, notes = ours(operator, parameters, batch)
    single = {f"ASTRA {name}": made for name in THEIRS[operator]
              if (made := astra_projector(name, operator, parameters)) is not None}
    whole = {}
    square = operator == "ct" and parameters["shape"][0] <= 256
    if square and batch > 1 and (made := deepinv_projector(parameters, batch)) is not None:
        whole["deepinv"] = made
    candidates = {**pairs, **single, **whole}
    times: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in candidates}
    for pair in candidates.values():
        for call in pair:
            call()
    for _ in range(repeats):
        for name, pair in candidates.items():
            count = batch if name in single else 1
            for direction in (0, 1):
                times[name][direction].append(count * ms(pair[direction], clock))
    reference = times.get(f"ASTRA {THEIRS[operator][0]}")
    rows = []
    for name, both in times.items():
        cells = [case, name, *(f"{statistics.median(values):.1f}" for values in both)]
        if reference is not None:
            cells += [f"{statistics.median(r / v for r, v in zip(slow, values, strict=True)):.1f}"
                      for slow, values in zip(reference, both, strict=True)]
        rows.append(f"| {' | '.join(cells)} |")
    return rows, f"set-up of {case}: {', '.join(notes)}"


def transforms(size: int, batch: int) -> dict[str, tuple[LinearOperator, Pair, Pair]]:
    """Operators, the calls of torch.fft that their forward and adjoint stand for, and the transforms among them. The
    centred transforms of MRI are ifftshift, fft2, fftshift, and likewise back.
    """
    shape, coils = (size, size), 8
    maps = np.random.default_rng(0).standard_normal((2, coils, *shape))
    maps = maps[0] + 1j * maps[1]

    def waves(count: int) -> tuple[Pair, Pair]:
        z, axes = torch.randn(count, *shape, dtype=torch.complex64), (-2, -1)

        def centred(transform: Callable) -> Tensor:
            return torch.fft.fftshift(transform(torch.fft.ifftshift(z, dim=axes), norm="ortho"), dim=axes)

        both = torch.fft.fft2, torch.fft.ifft2
        return tuple(partial(centred, one) for one in both), tuple(partial(one, z, norm="ortho") for one in both)

    def filtered(padded: tuple[int, int]) -> tuple[Pair, Pair]:
        x = torch.randn(batch, *shape)
        return ((lambda: torch.fft.irfft2(torch.fft.rfft2(x, s=padded), s=padded),) * 2,) * 2

    round_blur, dark_blur = (operators.blur(shape, std=2.0, boundary=name) for name in ("circular", "zero"))
    pairs = {"blur, circular": (round_blur, *filtered(shape)), "blur, zero": (dark_blur, *filtered(dark_blur.padded))}
    for kind, named in (("random", "lines"), ("poisson", "points")):
        for numbers in ("complex", "real"):
            single, several = (operators.mri(shape, kind=kind, image=numbers, coils=some) for some in (None, maps))
            pairs[f"mri, {named}, {numbers}"] = single, *waves(batch)
            pairs[f"mri, {named}, {numbers}, {coils} coils"] = several, *waves(batch * coils)
    return pairs


@torch.no_grad()
def over_bare(size: int, batch: int, repeats: int, clock: Callable[[], float]) -> list[str]:
    """Rows of the median ms of operators that transform, and of their ratios to the bare calls and to the transforms
    alone; without gradients, as samplers call them. A^H A is beside those of both directions.
    """
    torch.ones(7 * 2**20)  # let go at once: the C library keeps its pages from now on, as after any network
    rows = []
    for name, (A, calls, alone) in transforms(size, batch).items():
        x = torch.randn(batch, *([1] if len(A.in_shape) == 2 else []), *A.in_shape)
        y, cells = A(x), []
        for ours, used in ((partial(A, x), [0]), (partial(A.adjoint, y), [1]), (partial(A.normal, x), [0, 1])):
            times = []
            for _ in range(repeats + 1):
                own, *others = ms(ours, clock), *(sum(ms(pair[i], clock) for i in used) for pair in (calls, alone))
                times.append((own, *(own / other for other in others)))
            cells += [f"{statistics.median(some):.2f}" for some in zip(*times[1:], strict=True)]
        rows.append(f"| {size}x{batch} | {name} | {' | '.join(cells)} |")
    return rows


def scikit_image(size: int, views: int, batch: int, clock: Callable[[], float]) -> str:
    """Milliseconds of scikit-image, once, for one image and counted `batch` times."""
    theta = np.arange(views) * 180.0 / views
    x = image(SHEPP_LOGAN, size)
    y = radon(x, theta, circle=True)
    forward = batch * ms(lambda: radon(x, theta, circle=True), clock)
    adjoint = batch * ms(lambda: iradon(y, theta, filter_name=None, circle=True), clock)
    return f"| {size}x{views}x{batch} even | scikit-image, once | {forward:.1f} | {adjoint:.1f} | | |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default="256x180x8,256x180x1,512x180x8", help="SIZExVIEWSxBATCH, with commas")
    parser.add_argument("--uneven", default="256x180x8,256x180x1", help="the same, with uneven angles and offsets")
    parser.add_argument("--fan", default="256x180x8,256x180x1", help="the same, fan beam with a flat detector")
    parser.add_argument("--fft", help="SIZExBATCH, with commas: only operators that transform, beside bare torch.fft")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: of all threads, for a busy machine")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if chosen.fft:
        print(f"{chosen.clock} ms, {torch.get_num_threads()} thread(s), float32, median of {chosen.repeats}\n")
        head = "".join(f" {name} | over torch.fft | over transforms |" for name in ("A x", "A^H y", "A^H A x"))
        print(f"| case | operator |{head}\n|" + 11 * " --- |")
        for size, batch in (map(int, case.split("x")) for case in chosen.fft.split(",")):
            print("\n".join(over_bare(size, batch, chosen.repeats, CLOCKS[chosen.clock])), flush=True)
        return
    print(f"{chosen.clock} ms, {torch.get_num_threads()} thread(s), float32, median of {chosen.repeats}; ratios to the "
          f"first of ASTRA's\n\n{HEAD}")
    notes = []
    for cases, kind in ((chosen.cases, "even"), (chosen.uneven, "uneven"), (chosen.fan, "fan")):
        for case in filter(None, cases.split(",")):
            size, views, batch = map(int, case.split("x"))
            operator, parameters = scan(kind, size, views)
            rows, note = speed(f"{case} {kind}", operator, parameters, batch, chosen.repeats, CLOCKS[chosen.clock])
            notes.append(note)
            print("\n".join(rows), flush=True)
            if kind == "even" and size <= 256:
                print(scikit_image(size, views, batch, CLOCKS[chosen.clock]), flush=True)
    print("\n" + "\n".join(notes))


def scan(kind: str, size: int, views: int) -> tuple[str, dict]:
    """The operator and the parameters of a kind of scan."""
    parameters = {"shape": (size, size), "angles": views}
    if kind == "fan":
        return "ct_fan", {**parameters, "source_mm": 2.2 * size, "detector_mm": 4.0 * size}
    if kind == "uneven":
        angles = np.sort(np.random.default_rng(0).uniform(0, np.pi, views))
        return "ct", {**parameters, "angles": angles, "detector_centre": 0.7 * size}
    return "ct", parameters


if __name__ == "__main__":
    main()
