"""The board of real images: every method on four tasks over held-out head CT slices, beside classical baselines.

    python -m tests.benchmarks.images --data headct_64.h5 -o board.jsonl              # measure; a rerun does what is
    missing
    python -m tests.benchmarks.images --table board.jsonl                            # print it as Markdown

One row a (task, method, network calls). Images are in [0, 1] (data range 1); slices are spread evenly over the
validation
subset. TV is solved to a relative duality gap of 1e-3 and its weight is the best of nine on 16 TRAINING slices.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import h5py
import torch
from torch import Tensor

import operators
import recon
from recon.classical import CLASSICAL, tv
from recon.metrics import psnr, ssim

SIZE = (64, 64)
WEIGHTS = (0.5, 1.0, 2.0, 3.0, 4.5, 7.0, 10.0, 15.0, 25.0)


def tasks() -> dict[str, tuple[operators.LinearOperator, float, bool]]:
    """Name -> operator, noise level, and whether that is a share of the largest |A x| (else it is in units of y)."""
    make = operators.OPERATORS
    return {
        "ct": (make["ct"](shape=SIZE, angles=23), 0.01, True),
        "inpaint": (make["inpaint"](shape=SIZE, keep=0.4, seed=0), 0.01, False),
        "blur": (make["blur"](shape=SIZE, std=2.0), 0.02, False),
        "downsample": (make["downsample"](shape=SIZE, factor=4), 0.01, False),
    }


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


def tuned_weight(task: str, path: str) -> float:
    """The TV weight of highest mean PSNR on 16 training slices."""
    x = slices(path, 0, 16)
    m = measure(task, x, seed=1)
    return max(WEIGHTS, key=lambda w: float(psnr(tv(m, weight=w), x, 1.0).mean()))


def image_scores(estimate: Tensor, x: Tensor) -> dict[str, float]:
    return {
        "psnr": round(float(psnr(estimate, x, 1.0).mean()), 3),
        "ssim": round(float(ssim(estimate, x, 1.0).mean()), 4),
    }


def classical_row(task: str, method: str, m: recon.Measurement, x: Tensor, path: str) -> dict:
    options = {"weight": tuned_weight(task, path)} if method == "tv" else {}
    started = time.monotonic()
    estimate = CLASSICAL[method](m, **options)
    return {
        "calls": 0,
        "samples": 0,
        **options,
        **image_scores(estimate, x),
        "seconds": round(time.monotonic() - started, 1),
        "chi_square": round(float(m.chi_square(estimate).mean()), 3),
    }


def posterior_row(method: str, m: recon.Measurement, x: Tensor, prior: recon.Prior, steps: int, samples: int) -> dict:
    post = recon.reconstruct(m, prior, method=method, steps=steps, samples=samples, seed=0)
    one = image_scores(post.samples[0], x)
    return {
        "calls": post.nfe,
        "samples": samples,
        **image_scores(post.mean, x),
        "psnr_one": one["psnr"],
        "ssim_one": one["ssim"],
        "coverage": round(float(torch.as_tensor(post.coverage(x)).mean()), 4),
        "spread_over_error": round(float(torch.as_tensor(post.spread_over_error(x)).mean()), 3),
        "chi_square": round(float(post.chi_square.mean()), 3),
        "seconds": round(post.seconds, 1),
    }


def table(rows: list[dict]) -> str:
    """Markdown, best mean PSNR of each task first."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        lines += [
            f"\n**{task}** ({rows[0]['items']} slices)\n",
            "| method | calls | samples | PSNR mean | SSIM mean | PSNR one | coverage 0.9 | spread/error | s |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        for row in sorted((r for r in rows if r["task"] == task), key=lambda r: -r.get("psnr", -99)):
            name = f"{row['method']} (weight {row['weight']:g})" if "weight" in row else row["method"]
            if "failed" in row:
                lines.append(f"| {name} | {row['steps']} | | {row['failed']} | | | | | |")
                continue
            cells = [
                f"{row[key]:.{digits}f}" if key in row else ""
                for key, digits in (
                    ("psnr", 2),
                    ("ssim", 3),
                    ("psnr_one", 2),
                    ("coverage", 3),
                    ("spread_over_error", 2),
                    ("seconds", 0),
                )
            ]
            lines.append(f"| {name} | {row['calls'] or ''} | {row['samples'] or ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="headct_64.h5: images (N, 64, 64) uint8 and subset")
    parser.add_argument("--prior", default="headct-64")
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--steps", default="50,20,100")
    parser.add_argument("--methods", default=",".join([*CLASSICAL, *recon.METHODS]))
    parser.add_argument("--tasks", default="ct,inpaint,blur,downsample")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("-o", "--output", default="board.jsonl")
    parser.add_argument("--table", help="print the table of a finished board and stop")
    arguments = parser.parse_args()
    if arguments.table:
        print(table([json.loads(line) for line in Path(arguments.table).read_text().splitlines()]))
        return
    torch.set_num_threads(arguments.threads)
    output = Path(arguments.output)
    done = [json.loads(line) for line in output.read_text().splitlines()] if output.exists() else []
    finished = {(r["task"], r["method"], r["steps"], r["samples"] or 0, r["items"]) for r in done}
    prior, x = recon.load_prior(arguments.prior), slices(arguments.data, 1, arguments.items)
    for steps in map(int, arguments.steps.split(",")):
        for method in arguments.methods.split(","):
            for task in arguments.tasks.split(","):
                classical = method in CLASSICAL
                key = (task, method, 0 if classical else steps, 0 if classical else arguments.samples, len(x))
                if key in finished or (method == "fbp" and task != "ct") or (method == "repaint" and task != "inpaint"):
                    continue
                finished.add(key)
                m = measure(task, x, seed=0)
                try:
                    scores = (
                        classical_row(task, method, m, x, arguments.data)
                        if classical
                        else posterior_row(method, m, x, prior, steps, arguments.samples)
                    )
                except FloatingPointError as error:
                    scores = {"failed": "diverged", "samples": arguments.samples, "message": str(error)}
                row = {
                    "task": task,
                    "method": method,
                    "steps": key[2],
                    "items": len(x),
                    "prior": arguments.prior,
                    "threads": arguments.threads,
                    **scores,
                }
                with output.open("a") as stream:
                    stream.write(json.dumps(row) + "\n")
                print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
