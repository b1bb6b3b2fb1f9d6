"""The board of real images: every method on tasks over held-out slices, beside classical baselines.

    python -m tests.benchmarks.images --data headct_64.h5 -o board.jsonl    # measure; a rerun does what is missing
    python -m tests.benchmarks.images --data mri_brain_t1_16bit_256.h5 --items 4 --samples 2 -o mri.jsonl
    python -m tests.benchmarks.images --table board.jsonl                   # print it as Markdown, every score
    python -m tests.benchmarks.images --summary board.jsonl                 # one table, the main scores

One row a (task, method, network calls). The prior and the tasks follow from the size of the images: head CT of 64 px
has CT, inpainting, blur and down-sampling; brain MRI of 256 px has k-space of one coil (lines of a fourth, 8 % of them
in the middle; noise 0.01 on real and imaginary part, as on the pixels of the others, the transform being orthonormal)
and inpainting. Images are in [0, 1] (data range 1); slices are spread evenly over the validation subset. The baselines
get their best: TV is solved to a relative duality gap of 1e-3 (a smaller one changes its PSNR by less than 0.01 dB),
and its weight and the window of the filtered backprojection are those of highest PSNR on up to 16 TRAINING slices, no
more than are scored. With deepinv installed its samplers are methods too, `deepinv DPS` and so on, see
`tests.benchmarks.deepinv_samplers`; its DDRM is for masks and blur, whose singular vectors it has. Coverage is that of
the 90 % predictive interval; spread/error is 1 if the posterior is right; chi-square is that of the posterior mean.
Seconds are for all slices and samples together.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache
from pathlib import Path

import h5py
import numpy as np
import torch
from torch import Tensor

import operators
import recon
from recon.classical import CLASSICAL
from recon.metrics import psnr, ssim
from tests.benchmarks.table import append_row, read_rows, summary, table

TUNED_ON = 16  # training slices
TASKS = {  # name of the operator -> its options, noise level, whether that is a share of the largest |A x|
    "ct": ({"angles": 23, "projector": "strip"}, 0.01, True),
    "inpaint": ({"keep": 0.4, "seed": 0}, 0.01, False),
    "blur": ({"std": 2.0}, 0.02, False),
    "downsample": ({"factor": 4}, 0.01, False),
    "mri": ({"acceleration": 4, "center_fraction": 0.08, "image": "real"}, 0.01, False),
}
BOARDS = {  # side of the images in px -> prior, tasks
    64: ("headct-64", "ct,inpaint,blur,downsample"),
    256: ("mri-brain-256", "mri,inpaint"),
}
PEER = "deepinv "  # what the names of its methods begin with
GRIDS = {  # what is tuned of each baseline
    "tv": [{"weight": w} for w in (0.5, 1.0, 2.0, 3.0, 4.5, 7.0, 10.0, 15.0, 25.0, 40.0, 60.0, 100.0)],
    "fbp": [{"window": w} for w in ("ramp", "shepp-logan", "cosine", "hann")],
    "pinv": [{}],
}


@lru_cache
def operator_of(task: str, size: tuple[int, int]) -> operators.LinearOperator:
    """The operator of a task on images of a size."""
    return operators.OPERATORS[task](shape=size, **TASKS[task][0])


def applies(method: str, task: str) -> bool:
    """Filtered backprojection is for CT, repaint for masks, deepinv's DDRM for its own physics, all else for all."""
    only = {"fbp": ("ct",), "repaint": ("inpaint",), PEER + "DDRM": ("inpaint", "blur")}
    return task in only.get(method, (task,))


def slices(path: str, subset: int, count: int | None = None) -> Tensor:
    """`count` slices (count, 1, H, W) in [0, 1], evenly spread over a subset (0 training, 1 validation), or all of it.

    Bytes are divided by 255; other values by their volume's 99.9th percentile, and what is above 1 then is cut off.
    """
    with h5py.File(path) as file:
        kept = np.flatnonzero(file["subset"][:] == subset)
        chosen = kept[np.linspace(0, len(kept) - 1, len(kept) if count is None else count).round().astype(int)]
        images = file["images"][:][chosen].astype(np.float32)
        largest = file["volume_p999"][:][chosen, None, None] if "volume_p999" in file else 255
    return torch.from_numpy((images / largest).clip(max=1).astype(np.float32))[:, None]


def measure(task: str, x: Tensor, seed: int) -> recon.Measurement:
    """Simulated data of a task for images x."""
    operator, (_, level, relative) = operator_of(task, tuple(x.shape[-2:])), TASKS[task]
    clean = operator(x)
    sigma = level * float(clean.abs().max()) if relative else level
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return recon.Measurement(operator, clean + sigma * noise, operators.Gaussian(sigma))


def tuned(task: str, method: str, path: str, count: int = TUNED_ON) -> dict:
    """The options of a baseline with the highest mean PSNR on `count` training slices."""
    if len(GRIDS[method]) == 1:
        return GRIDS[method][0]
    x = slices(path, 0, count)
    m = measure(task, x, seed=1)
    return max(GRIDS[method], key=lambda options: float(psnr(CLASSICAL[method](m, **options), x, 1.0).mean()))


def image_scores(estimate: Tensor, x: Tensor, suffix: str = "") -> dict[str, float]:
    return {
        "psnr" + suffix: round(float(psnr(estimate, x, 1.0).mean()), 3),
        "ssim" + suffix: round(float(ssim(estimate, x, 1.0).mean()), 4),
    }


def classical_row(task: str, method: str, x: Tensor, path: str) -> dict:
    """One row of a baseline; its seconds leave out the tuning."""
    m, options = measure(task, x, seed=0), tuned(task, method, path, min(TUNED_ON, len(x)))
    started = time.monotonic()
    estimate = CLASSICAL[method](m, **options)
    seconds = round(time.monotonic() - started, 1)
    chi_square = round(float(m.chi_square(estimate).mean()), 3)
    return {"calls": 0, "samples": 0, **options, **image_scores(estimate, x), "chi_square": chi_square,
            "seconds": seconds}


def sampled(
    method: str, task: str, m: recon.Measurement, prior: recon.Prior, steps: int, samples: int
) -> recon.Posterior:
    """Samples of a preset, of `PRESET+STEP`, or of a sampler of deepinv."""
    if method.startswith(PEER):
        from tests.benchmarks.deepinv_samplers import drawn  # optional

        started = time.monotonic()
        x, cost = drawn(method.removeprefix(PEER), task, m, prior, steps, samples, seed=0)
        return recon.Posterior(x.to(m.y), **cost, seconds=time.monotonic() - started)
    base, _, step = method.partition("+")
    options = {"step": step} if step else None
    return recon.reconstruct(m, prior, method=base, steps=steps, samples=samples, seed=0, options=options)


def posterior_row(task: str, method: str, x: Tensor, prior: recon.Prior, steps: int, samples: int) -> dict:
    """One row of a sampler."""
    m = measure(task, x, seed=0)
    try:
        post = sampled(method, task, m, prior, steps, samples)
    except FloatingPointError as error:
        return {"samples": samples, "failed": "diverged", "message": str(error)}
    if not bool(post.samples.isfinite().all()):
        return {"samples": samples, "failed": "diverged", "message": "values that are not finite"}
    return {
        "calls": post.nfe,
        "backpropagations": post.backpropagations,
        "samples": samples,
        **image_scores(post.mean, x),
        **image_scores(post.samples[0], x, "_one"),
        "coverage": round(float(post.coverage(x).mean()), 4),
        "spread_over_error": round(float(post.spread_over_error(x).mean()), 3),
        "chi_square": round(float(m.chi_square(post.mean).mean()), 3),
        "seconds": round(post.seconds, 1),
    }


def identity(row: dict) -> tuple:
    """What makes a row another row; baselines know no prior, steps and samples."""
    from_prior = (row["steps"], row["samples"], row["prior"]) if row["samples"] else ()
    return row["task"], row["method"], row["items"], *from_prior


def run(arguments: argparse.Namespace) -> None:
    """Measure the rows that the output does not hold yet, and append each as it is finished."""
    output = Path(arguments.output)
    finished = {identity(row) for row in read_rows(output)}
    x = slices(arguments.data, 1, arguments.items)
    prior_name, names = BOARDS.get(x.shape[-1], ("headct-64", ",".join(TASKS)))
    prior_name, names = arguments.prior or prior_name, arguments.tasks or names
    prior = recon.load_prior(prior_name)
    cells = ((steps, method, task) for steps in map(int, arguments.steps.split(","))
             for method in arguments.methods.split(",") for task in names.split(","))
    for steps, method, task in cells:
        baseline = method in CLASSICAL
        row = {"task": task, "method": method, "steps": 0 if baseline else steps, "items": len(x),
               "samples": 0 if baseline else arguments.samples, "prior": prior_name,
               "threads": arguments.threads}
        if identity(row) in finished or not applies(method.partition("+")[0], task):
            continue
        row |= (classical_row(task, method, x, arguments.data) if baseline
                else posterior_row(task, method, x, prior, steps, arguments.samples))
        finished.add(identity(row))
        append_row(output, row)
        print(row, flush=True)


def main() -> None:
    """Measure, or print the table of what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="HDF5 with images (N, H, W) and subset (0 training, 1 validation)")
    parser.add_argument("--prior", help="default: that of the images' size")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", default="50,20,100")
    parser.add_argument("--methods", default=",".join([*CLASSICAL, *recon.METHODS]), help="NAME, or NAME+STEP")
    parser.add_argument("--tasks", help="default: those of the images' size")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", default="board.jsonl")
    parser.add_argument("--table", type=Path, help="print the tables of a board and stop")
    parser.add_argument("--summary", type=Path, help="print one table of a board's main scores and stop")
    arguments = parser.parse_args()
    if arguments.table or arguments.summary:
        print(table(read_rows(arguments.table)) if arguments.table else summary(read_rows(arguments.summary)))
        return
    if not arguments.data:
        parser.error("--data is missing: the HDF5 file with the images")
    torch.set_num_threads(arguments.threads)
    run(arguments)


if __name__ == "__main__":
    main()
