"""Tomography beside scikit-image: seconds and accuracy on ellipses, in one run.

python -m tests.benchmarks.operators [--size 256] [--views 180] [--batch 8] [--repeats 5]
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
from tests.operators.ellipses import SHEPP_LOGAN, image, relative_error, sinogram


def median_ms(call: Callable[[], object], repeats: int) -> float:
    """Median wall time of `call` in ms, after one call to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def speed(size: int, views: int, batch: int, repeats: int) -> list[str]:
    """Milliseconds for a batch; scikit-image takes one image at a time: its time is that of one x batch."""
    theta = np.arange(views) * 180.0 / views
    start = time.perf_counter()
    A = OPERATORS["ct"](**skimage_geometry(size, theta))
    setup = time.perf_counter() - start
    x = torch.rand(batch, 1, size, size)
    y = A(x)
    # scikit-image wants zeros outside the circle, and its backprojection is iradon without a filter.
    single = x[0, 0].double().numpy() * image(np.array([(1, 0.97, 0.97, 0, 0, 0)]), size)
    sinogram_of_one = y[0, 0].double().numpy().T
    ours = median_ms(lambda: A(x), repeats), median_ms(lambda: A.adjoint(y), repeats)
    theirs = (
        batch * median_ms(lambda: radon(single, theta, circle=True), 1),
        batch * median_ms(lambda: iradon(sinogram_of_one, theta, filter_name=None, circle=True), 1),
    )
    threads = torch.get_num_threads()
    return [
        f"{size} x {size} pixels, {views} views, batch {batch}, {threads} thread(s), float32",
        f"  set-up  {setup:8.2f} s, once; {A.forward_values.numel():.2e} entries",
        f"  forward {ours[0]:8.1f} ms; radon             {theirs[0]:8.1f} ms, x{theirs[0] / ours[0]:.0f}",
        f"  adjoint {ours[1]:8.1f} ms; iradon, no filter {theirs[1]:8.1f} ms, x{theirs[1] / ours[1]:.0f}",
    ]


def accuracy(size: int, subpixels: int, views: int = 60) -> str:
    """Relative errors against the line integrals of the Shepp-Logan ellipses, and of reconstructions."""
    theta = np.arange(views) * 180.0 / views
    geometry = skimage_geometry(size, theta)
    angles, phantom = geometry["angles"], image(SHEPP_LOGAN, size, subpixels)
    away = 0.5 if size % 2 == 0 else 0.0
    offsets = np.arange(size) - size // 2 + away * (np.cos(angles) - np.sin(angles))[:, None]
    truth = sinogram(SHEPP_LOGAN, size, angles, offsets)
    A = OPERATORS["ct"](**geometry)
    ours, theirs = A(torch.from_numpy(phantom)), radon(phantom, theta, circle=True)
    field = image(np.array([(1.0, 0.95, 0.95, 0.0, 0.0, 0.0)]), size) == 1
    backs = fbp(A, ours).numpy(), iradon(theirs, theta, circle=True)
    projections = relative_error(ours.numpy(), truth), relative_error(theirs.T, truth)
    images = [relative_error(back[field], phantom[field]) for back in backs]
    return (f"  {size:4d}  {'area means' if subpixels > 1 else 'points':10s} {100 * projections[0]:9.3f} "
            f"{100 * projections[1]:9.3f}   {100 * images[0]:9.3f} {100 * images[1]:9.3f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("size", 256), ("views", 180), ("batch", 8), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    chosen = parser.parse_args()
    print("\n".join(speed(chosen.size, chosen.views, chosen.batch, chosen.repeats)))
    print("\nShepp-Logan ellipses, 60 views; relative error in per cent")
    print("  size  pixels     ct        radon       fbp       iradon")
    for size in (64, 65, 128):
        for subpixels in (1, 16):
            print(accuracy(size, subpixels))


if __name__ == "__main__":
    main()
