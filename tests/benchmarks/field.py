"""The board of the stationary Gaussian field: mean and variance of samples against the exact posterior.

    python -m tests.benchmarks.field -o field.jsonl            # measure; a rerun does what is missing
    python -m tests.benchmarks.field -o field.jsonl --table    # print it as Markdown

A field of 32x32 pixels with a red spectrum, mean 0.5 and standard deviation 0.15, seen through a mask of half of the
pixels, a circular Gaussian blur of 2 px, and 20 views of CT scaled to norm 1, with noise 0.05. Every method has the
exact denoiser, in single precision, and as many network calls. The posterior is N(m, P) by dense algebra in double
precision. Error is the root mean square of (mean of the samples - m) / std, which for S exact samples is S^(-1/2);
variance is that of the samples over that of P, summed over the pixels, 1 if right. Seconds are of the processor, one
thread. With deepinv installed its samplers run beside ours, see `tests.benchmarks.deepinv_samplers`; else they are
left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

import operators
import recon
from recon.prior import Units
from tests.benchmarks.table import append_row, measure_or_print, read_rows
from tests.recon.law import condition, dense_stationary, spectrum

SIZE, STD, SIGMA = (32, 32), 0.15, 0.05
TASKS = ("inpaint", "blur", "ct")
OURS = ("spectral", "spectral ancestral", "spectral_draw", "moment", "pigdm", "diffpir", "dps", "ddrm", "ddnm",
        "ddnm_plus", "dds", "daps")  # fmt: skip
OPTIONS = {"moment": {"iterations": 10}, "spectral ancestral": {"step": "ancestral"}}  # 10 as for the peer
PEERS = ("DPS", "DiffPIR", "DDRM", "PiGDM", "moment matching")
DECOMPOSED = ("ddrm", "ddnm_plus", "DDRM")  # need singular vectors, which CT has none of


class Truth(NamedTuple):
    """The posterior of one task: means (B, n) and the variances (n,) of the pixels, float64."""

    mean: Tensor
    variance: Tensor


def prior_of(size: tuple[int, int] = SIZE) -> recon.GaussianPrior:
    """The field in float32; normalised from -1 to 1 as the published methods want it."""
    values = spectrum(*size).float() * (2 * STD) ** 2
    return recon.GaussianPrior(torch.zeros(1, *size), values, units=Units(0.5, 0.5, "[0,1]"))


@lru_cache
def operator_of(task: str, size: tuple[int, int] = SIZE) -> operators.LinearOperator:
    """The operator of a task."""
    make = operators.OPERATORS
    if task == "inpaint":
        return make["inpaint"](shape=size, keep=0.5, seed=0)
    if task == "blur":
        return make["blur"](shape=size, std=2.0)
    views = make["ct"](shape=size, angles=20, projector="strip")
    return (1 / operators.operator_norm(views)) * views


def measured(task: str, items: int, size: tuple[int, int] = SIZE) -> recon.Measurement:
    """Noisy data of `items` draws of the field."""
    A, prior, generator = operator_of(task, size), prior_of(size), torch.Generator().manual_seed(1)
    x = prior.to_value(prior.sample(torch.randn(items, 1, *size, generator=generator)))
    clean = A(x)
    noise = SIGMA * torch.randn(clean.shape, generator=generator)
    return recon.Measurement(A, clean + noise, operators.Gaussian(SIGMA))


def posterior(measurement: recon.Measurement, size: tuple[int, int] = SIZE) -> Truth:
    """The exact posterior of a measurement of the field."""
    A, C = operators.dense_matrix(measurement.operator).double(), STD**2 * dense_stationary(spectrum(*size))
    mean, covariance = condition(torch.full((len(C), 1), 0.5, dtype=torch.float64), C, A,
                                 measurement.y.double().flatten(1).T, SIGMA**2)  # fmt: skip
    return Truth(mean.T, covariance.diagonal())


def scores(samples: Tensor, truth: Truth) -> dict[str, float]:
    """Error of the mean and ratio of the variances of samples (S, B, ...)."""
    flat = samples.double().flatten(2)
    error = (flat.mean(0) - truth.mean).square() / truth.variance
    ratio = flat.var(0, correction=1).mean(0).sum() / truth.variance.sum()
    return {"error": float(error.mean().sqrt()), "variance": float(ratio)}


def ours(
    method: str, task: str, m: recon.Measurement, options: argparse.Namespace, seed: int
) -> tuple[Tensor, dict]:
    """Samples (S, B, 1, H, W) of a preset, and its cost."""
    together = options.samples * len(m.y)
    post = recon.reconstruct(m, prior_of(), method.split()[0], options.calls, options.samples, seed, together,
                             options=OPTIONS.get(method))  # fmt: skip
    return post.samples, {"nfe": post.nfe, "backpropagations": post.backpropagations}


def samplers() -> dict[tuple[str, str], Callable[..., tuple[Tensor, dict]]]:
    """(library, method) -> (method, task, measurement, options, seed) -> samples, costs; with deepinv if installed."""
    found = {("recon", method): ours for method in OURS}
    if importlib.util.find_spec("deepinv") is not None:
        from tests.benchmarks.deepinv_samplers import theirs

        found |= {("deepinv", method): theirs for method in PEERS}
    return found


def run(options: argparse.Namespace) -> None:
    """Measure the rows that are missing, and append each as it is finished."""
    keys = ("library", "method", "task", "calls", "samples", "items", "seed")
    done = {tuple(row[key] for key in keys) for row in read_rows(options.output)}
    for task in options.tasks.split(","):
        m = measured(task, options.items)
        truth = posterior(m)
        for seed in range(options.seeds):
            for (library, method), draw in samplers().items():
                name = dict(zip(keys, (library, method, task, options.calls, options.samples, options.items, seed),
                                strict=True))  # fmt: skip
                chosen = not options.methods or method in options.methods.split(",")
                if not chosen or tuple(name.values()) in done or (task == "ct" and method in DECOMPOSED):
                    continue
                torch.fft.rfft2(torch.zeros(1, *SIZE))  # what the first transform sets up is nobody's
                started = time.process_time()
                samples, cost = draw(method, task, m, options, seed)
                row = {**name, **scores(samples, truth), **cost, "seconds": time.process_time() - started}
                append_row(options.output, row)
                print(row, flush=True)


def table(rows: list[dict]) -> str:
    """Markdown, a line a method: error / variance ratio, mean over the seeds, and seconds over those of the default."""
    tasks = list(dict.fromkeys(row["task"] for row in rows))
    lines = ["| library | method | calls | backprops | " + " | ".join(tasks) + " | time |",
             "|---|---|---:|---:|" + "---:|" * (len(tasks) + 1)]  # fmt: skip
    groups = {key: [row for row in rows if (row["library"], row["method"], row["calls"]) == key]
              for key in dict.fromkeys((row["library"], row["method"], row["calls"]) for row in rows)}  # fmt: skip
    for (library, method, calls), of_method in groups.items():
        cells, ratios = [], []
        for task in tasks:
            found = [row for row in of_method if row["task"] == task]
            error, variance = (mean([row[name] for row in found]) for name in ("error", "variance"))
            cells.append(f"{error:.3f} / {variance:.2f}" if found else "")
            default = [row for row in groups.get(("recon", "spectral", calls), []) if row["task"] == task]
            if found and default:
                ratios.append(mean([row["seconds"] for row in found]) / mean([row["seconds"] for row in default]))
        costs = f"{of_method[0]['nfe']} | {max(row['backpropagations'] for row in of_method)}"
        lines.append(f"| {library} | {method} | {costs} | " + " | ".join(cells)
                     + (f" | {mean(ratios):.2f} |" if ratios else " | |"))  # fmt: skip
    return "\n".join(lines)


def mean(values: list[float]) -> float:
    """Their average; not a number of none."""
    return sum(values) / len(values) if values else float("nan")


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("field.jsonl"))
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--methods", default="", help="by name, comma between; default: all")
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--items", type=int, default=4, help="measurements")
    parser.add_argument("--seeds", type=int, default=2)
    measure_or_print(parser, run, table)


if __name__ == "__main__":
    main()
