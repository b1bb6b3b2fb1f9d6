"""The board of real images: every method on four tasks over held-out head CT slices, beside classical baselines.

    python -m tests.benchmarks.images --data headct_64.h5 -o board.jsonl    # measure; a rerun does what is missing
    python -m tests.benchmarks.images --table board.jsonl                   # print it as Markdown, every score
    python -m tests.benchmarks.images --summary board.jsonl                 # one table, the main scores

One row a (task, method, network calls). Images are in [0, 1] (data range 1); slices are spread evenly over the
validation subset. The baselines get their best: TV is solved to a relative duality gap of 1e-3 (a smaller one changes
its PSNR by less than 0.01 dB), and its weight and the window of the filtered backprojection are those of highest PSNR
on 16 TRAINING slices. Coverage is that of the 90 % predictive interval; spread/error is 1 if the posterior is right;
chi-square is that of the posterior mean. Seconds are for all slices and samples together.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import h5py
import torch
from torch import Tensor

import operators
import recon
from recon.classical import CLASSICAL
from recon.metrics import psnr, ssim
from tests.benchmarks.table import append_row, read_rows, summary, table

SIZE = (64, 64)
TUNED_ON = 16  # training slices
GRIDS = {  # what is tuned of each baseline
    "tv": [{"weight": w} for w in (0.5, 1.0, 2.0, 3.0, 4.5, 7.0, 10.0, 15.0, 25.0)],
    "fbp": [{"window": w} for w in ("ramp", "shepp-logan", "cosine", "hann")],
    "pinv": [{}],
}


def tasks() -> dict[str, tuple[operators.LinearOperator, float, bool]]:
    """Name -> operator, noise level, and whether that is a share of the largest |A x| (else in units of y)."""
    make = operators.OPERATORS
    return {
        "ct": (make["ct"](shape=SIZE, angles=23), 0.01, True),
        "inpaint": (make["inpaint"](shape=SIZE, keep=0.4, seed=0), 0.01, False),
        "blur": (make["blur"](shape=SIZE, std=2.0), 0.02, False),
        "downsample": (make["downsample"](shape=SIZE, factor=4), 0.01, False),
    }


def applies(method: str, task: str) -> bool:
    """Filtered backprojection is for CT, repaint for masks, all else for every task."""
    return {"fbp": "ct", "repaint": "inpaint"}.get(method, task) == task


def slices(path: str, subset: int, count: int) -> Tensor:
    """`count` slices (count, 1, 64, 64) in [0, 1], evenly spread over a subset (0 training, 1 validation)."""
    with h5py.File(path) as file:
        images = file["images"][:][file["subset"][:] == subset]
    chosen = torch.linspace(0, len(images) - 1, count).round().long()
    return torch.from_numpy(images)[chosen][:, None].float() / 255


def measure(task: str, x: Tensor, seed: int) -> recon.Measurement:
    """Simulated data of a task for images x."""
    operator, level, relative = tasks()[task]
    clean = operator(x)
    sigma = level * float(clean.abs().max()) if relative else level
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    return recon.Measurement(operator, clean + sigma * noise, operators.Gaussian(sigma))


def tuned(task: str, method: str, path: str) -> dict:
    """The options of a baseline with the highest mean PSNR on training slices."""
    if len(GRIDS[method]) == 1:
        return GRIDS[method][0]
    x = slices(path, 0, TUNED_ON)
    m = measure(task, x, seed=1)
    return max(GRIDS[method], key=lambda options: float(psnr(CLASSICAL[method](m, **options), x, 1.0).mean()))


def image_scores(estimate: Tensor, x: Tensor, suffix: str = "") -> dict[str, float]:
    return {
        "psnr" + suffix: round(float(psnr(estimate, x, 1.0).mean()), 3),
        "ssim" + suffix: round(float(ssim(estimate, x, 1.0).mean()), 4),
    }


def classical_row(task: str, method: str, x: Tensor, path: str) -> dict:
    """One row of a baseline; its seconds leave out the tuning."""
    m, options = measure(task, x, seed=0), tuned(task, method, path)
    started = time.monotonic()
    estimate = CLASSICAL[method](m, **options)
    seconds = round(time.monotonic() - started, 1)
    chi_square = round(float(m.chi_square(estimate).mean()), 3)
    return {"calls": 0, "samples": 0, **options, **image_scores(estimate, x), "chi_square": chi_square,
            "seconds": seconds}


def posterior_row(task: str, method: str, x: Tensor, prior: recon.Prior, steps: int, samples: int) -> dict:
    """One row of a preset, or of `PRESET+STEP`."""
    m, (base, _, step) = measure(task, x, seed=0), method.partition("+")
    options = {"step": step} if step else None
    try:
        post = recon.reconstruct(m, prior, method=base, steps=steps, samples=samples, seed=0, options=options)
    except FloatingPointError as error:
        return {"samples": samples, "failed": "diverged", "message": str(error)}
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
    prior, x = recon.load_prior(arguments.prior), slices(arguments.data, 1, arguments.items)
    cells = ((steps, method, task) for steps in map(int, arguments.steps.split(","))
             for method in arguments.methods.split(",") for task in arguments.tasks.split(","))
    for steps, method, task in cells:
        baseline = method in CLASSICAL
        row = {"task": task, "method": method, "steps": 0 if baseline else steps, "items": len(x),
               "samples": 0 if baseline else arguments.samples, "prior": arguments.prior,
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
    parser.add_argument("--data", help="headct_64.h5: images (N, 64, 64) uint8 and subset")
    parser.add_argument("--prior", default="headct-64")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", default="50,20,100")
    parser.add_argument("--methods", default=",".join([*CLASSICAL, *recon.METHODS]), help="NAME, or NAME+STEP")
    parser.add_argument("--tasks", default=",".join(tasks()))
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
