"""The board of efficiency: the time of a whole run over that of its network.

    python -m tests.benchmarks.efficiency -o efficiency.jsonl              # measure; a rerun does what is missing
    python -m tests.benchmarks.efficiency -o efficiency.jsonl --size 128   # images of another size
    python -m tests.benchmarks.efficiency -o efficiency.jsonl --table      # print it as Markdown

Each preset reconstructs slices drawn from a bundled prior: half of the pixels, a blur, Cartesian MRI of one coil, and
60 views of CT. Network time is that of the denoiser's calls and of the backpropagations through it, taken inside the
same run. The network of a bundled prior takes any size that its strides divide: what it makes of larger images is no
picture, but takes as long as one. All times are of the processor, one thread. A run of one call goes before each and is
thrown away, and with it what an operator sets up once (the eigenvectors of CT, which take seconds).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

import operators
import recon
from tests.benchmarks.field import mean
from tests.benchmarks.table import append_row, measure_or_print, read_rows

TASKS: dict[str, dict] = {
    "inpaint": {"keep": 0.5, "seed": 0},
    "blur": {"std": 2.0},
    "mri": {"acceleration": 4, "image": "real"},
    "ct": {"angles": 60},
}
NOISE = 0.01  # of the largest value


class Watch:
    """Processor time spent in a prior's denoiser, forwards and backwards."""

    def __init__(self) -> None:
        self.seconds, self.calls, self.started = 0.0, 0, 0.0

    def begin(self, *_: object) -> None:
        self.started = time.process_time()

    def end(self, *_: object) -> None:
        self.seconds += time.process_time() - self.started


@contextmanager
def watched(prior: recon.Prior) -> Iterator[Watch]:
    """Times every call of the prior's denoiser, and every backpropagation from its output to its input."""
    watch, inner = Watch(), prior.denoise

    def denoise(x: Tensor, *rest: object) -> Tensor:
        watch.begin()
        inside = x.view_as(x) if x.requires_grad else x
        x0 = inner(inside, *rest)
        watch.end()
        watch.calls += 1
        if x0.requires_grad:
            x0.register_hook(watch.begin)
            inside.register_hook(watch.end)
        return x0

    prior.denoise = denoise
    try:
        yield watch
    finally:
        del prior.denoise


def measured(task: str, prior: recon.Prior, items: int, size: int | None = None) -> recon.Measurement:
    """Data of smooth random images, which cost what any others do; of the prior's own size, or of another."""
    shape = prior.shape if size is None else (*prior.shape[:-2], size, size)
    A = operators.OPERATORS[task](shape=shape[-2:], **TASKS[task])
    x = recon.sample_prior(prior, items, steps=2, seed=1, shape=shape)
    clean = A(x)
    sigma = NOISE * float(clean.abs().max())
    noise = sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    return recon.Measurement(A, clean + noise, operators.Gaussian(sigma))


def timed(method: str, m: recon.Measurement, prior: recon.Prior, calls: int, samples: int) -> dict:
    """Seconds of a run, those of its network, and their ratio."""
    with watched(prior) as watch:
        started = time.process_time()
        recon.reconstruct(m, prior, method, calls, samples)
        total = time.process_time() - started
    return {"nfe": watch.calls, "total": total, "network": watch.seconds, "ratio": total / watch.seconds}


def run(options: argparse.Namespace) -> None:
    """Measure the rows that are missing, and append each as it is finished."""
    keys = ("method", "task", "prior", "size", "calls", "items", "samples")
    done = {tuple(row[key] for key in keys) for row in read_rows(options.output)}
    prior = recon.load_prior(options.prior)
    size = options.size or prior.shape[-1]
    for task in options.tasks.split(","):
        m = measured(task, prior, options.items, size)
        for method in options.methods.split(","):
            name = dict(zip(keys, (method, task, options.prior, size, options.calls, options.items, options.samples),
                            strict=True))  # fmt: skip
            if tuple(name.values()) in done:
                continue
            try:
                timed(method, m, prior, 1, options.samples)
                row = {**name, **timed(method, m, prior, options.calls, options.samples)}
            except ValueError:  # it does not take this operator
                continue
            except FloatingPointError:
                row = {**name, "failed": "diverged"}
            append_row(options.output, row)
            print(row, flush=True)


def table(rows: list[dict]) -> str:
    """Markdown: total over network time, a line a method, a column a task and size."""
    columns = list(dict.fromkeys((row["task"], row["size"]) for row in rows))
    titles = [f"{task}, {size} px" for task, size in columns]
    lines = ["| method | " + " | ".join(titles) + " |", "|---|" + "---:|" * len(titles)]
    for method in dict.fromkeys(row["method"] for row in rows):
        cells = []
        for column in columns:
            cell = (method, *column)
            found = [row for row in rows if (row["method"], row["task"], row["size"]) == cell]
            ratios = [row["ratio"] for row in found if "ratio" in row]
            cells.append(f"{mean(ratios):.2f}" if ratios else "")
        lines.append(f"| `{method}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is missing, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("efficiency.jsonl"))
    parser.add_argument("--prior", default="headct-64")
    parser.add_argument("--size", type=int, help="height and width of the images; the prior's own by default")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--methods", default=",".join(recon.METHODS))
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--items", type=int, default=2)
    parser.add_argument("--samples", type=int, default=4)
    measure_or_print(parser, run, table)


if __name__ == "__main__":
    main()
