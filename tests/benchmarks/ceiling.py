"""What one task alone can give: the prior's own network trained for it by squared error, on the board's own slices.

    python -m tests.benchmarks.ceiling --data headct_64.h5 -o ceiling.jsonl         # CT, then inpainting; resumes
    python -m tests.benchmarks.ceiling --table ceiling.jsonl --board board.jsonl    # Markdown, a sampler beside

The least squared error belongs to the posterior mean, so such a network's PSNR is what the mean of a sampler's draws
can be held against. The network starts from the prior's weights, as the denoiser of one noise level, that of its
input's error; so its training, on the task alone, comes on top of the prior's. Its input is the best linear estimate
for stationary images of the training slices' spectrum (Wiener), closer to the truth than A^+ y and as full of data,
and beside it what shows the network where that errs: the filtered backprojection, or the mask. Data are those of the
board, `tests.benchmarks.images`: same operator, same mask, same noise level, new noise for every training image.

Minutes are of the processor and of training steps alone, one thread. PSNR is that of the board's 64 validation slices
and their data there; they choose nothing: the last row of a task is its result. It bounds a sampler from above only
once more minutes no longer raise it: a rate that falls to nothing flattens every curve at its end.

The squared error of the mean of n exact posterior draws is on average 1 + 1/n times that of the posterior mean, so
10 log10(1 + 1/n) dB are what infinitely many would gain: with --board that number stands beside, an extrapolation.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

import operators
import recon
from recon.batches import draw_batch
from recon.metrics import psnr
from recon.parametrisation import estimate
from recon.prior import ScorePrior, Units
from recon.training import average, learning_rate
from recon.training_state import restore, save
from tests.benchmarks import images
from tests.benchmarks.table import append_row, read_rows

TASKS = ("ct", "inpaint")
POINTS = 12  # rows of a curve beside that of the start
CONFIG = recon.TrainConfig(batch_size=16, learning_rate=5e-4, warmup=100, ema=5000, initial="headct-64")


def of_more_draws(decibels: float, draws: int) -> float:
    """PSNR of the mean of infinitely many exact posterior draws, from that of the mean of `draws` of them."""
    return decibels + 10 * math.log10(1 + 1 / draws)


def stationary_covariance(x: Tensor) -> Tensor:
    """Covariance (n, n) of images (N, 1, H, W), float64, as if periodic and stationary: that of their mean spectrum."""
    height, width = x.shape[-2:]
    power = torch.fft.fft2(x.double() - x.double().mean()).abs().square().mean((0, 1))
    first = torch.fft.ifft2(power / (height * width)).real  # covariance with the pixel (0, 0)
    rows, columns = (torch.arange(n) for n in (height, width))
    apart = (rows[:, None] - rows) % height, (columns[:, None] - columns) % width
    return first[apart[0][:, None, :, None], apart[1][None, :, None, :]].reshape(height * width, -1)


def wiener(operator: operators.LinearOperator, sigma: float, x: Tensor) -> Callable[[Tensor], Tensor]:
    """y -> the best linear estimate (B, 1, H, W) for stationary images of the mean and the spectrum of x."""
    A, C, mean = operators.dense_matrix(operator), stationary_covariance(x), x.double().mean()
    seen = A.abs().sum(1) > 0
    across = A[seen] @ C
    gain = torch.linalg.solve(across @ A[seen].T + sigma**2 * torch.eye(int(seen.sum()), dtype=A.dtype), across).T
    offset = mean - gain @ (A[seen] @ mean.expand(A.shape[1]))
    gain, offset = gain.float(), offset.float()
    return lambda y: (y.flatten(1)[:, seen] @ gain.T + offset).reshape(-1, *x.shape[1:])


class Supervised(nn.Module):
    """start (B, 1, H, W), beside (B, 1, H, W), values -> the estimate: the prior's denoiser with one channel more.

    Args:
        prior: whose network and weights it begins with; the new channel's weights are zero.
        level: noise level, in the prior's units, that the denoiser is told.
    """

    def __init__(self, prior: ScorePrior, level: float) -> None:
        super().__init__()
        self.prior, self.level = copy.deepcopy(prior).requires_grad_(True), level
        old = self.prior.network.stem
        new = nn.Conv2d(2 * old.in_channels, old.out_channels, old.kernel_size, padding=old.padding)
        with torch.no_grad():
            new.weight.zero_()[:, : old.in_channels] = old.weight
            new.bias.copy_(old.bias)
        self.prior.network.stem = new
        self.to(memory_format=torch.channels_last)

    def forward(self, start: Tensor, beside: Tensor) -> Tensor:
        prior, x = self.prior, self.prior.from_value(start)
        level = torch.full((len(x),), self.level)
        inputs = torch.cat([x / (self.level**2 + prior.input_std**2) ** 0.5, beside], 1)
        output = prior.network(inputs, level.log() / 4)
        return prior.to_value(estimate(prior.predicts, output, x, level[:, None, None, None], prior.data_std))


class Task:
    """A task of the board as pairs of network inputs and truth.

    Args:
        name: of the board.
        held: its validation slices (N, 1, H, W), in [0, 1].
        x: training slices, likewise.
    """

    def __init__(self, name: str, held: Tensor, x: Tensor) -> None:
        self.name, self.held, self.x = name, held, x
        m = images.measure(name, held, seed=0)
        self.operator, self.sigma = m.operator, float(m.noise.sigma)
        self.wiener = wiener(self.operator, self.sigma, x)
        self.data = self.inputs(m.y)
        some = x[torch.linspace(0, len(x) - 1, 64).long()]
        error = self.simulated(some, torch.Generator().manual_seed(1))[0] - some
        self.error = float(error.square().mean().sqrt())

    def inputs(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """The linear estimate, and the filtered backprojection or the mask, (B, 1, H, W) each."""
        start = self.wiener(y)
        if self.name == "ct":
            return start, operators.fbp(self.operator, y)
        return start, self.operator.measured.to(start).expand_as(start)

    def simulated(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The inputs for new data of images x."""
        clean = self.operator(x)
        return self.inputs(clean + self.sigma * torch.randn(clean.shape, generator=generator))


def train(task: Task, prior: ScorePrior, minutes: float, out: Path) -> None:
    """Trains the network of one task, or what is left of its training, and appends the rows of its curve."""
    model = Supervised(prior, task.error / prior.scale)
    averaged = copy.deepcopy(model).eval()
    optimiser = torch.optim.AdamW(model.parameters(), lr=CONFIG.learning_rate, betas=(0.9, 0.99),
                                  weight_decay=CONFIG.weight_decay)  # fmt: skip
    parts, settings = {"network": model, "average": averaged}, {**CONFIG.model_dump(), "hours": minutes / 60}
    state = out.with_name(f"{out.stem}-{task.name}.safetensors")
    before = restore(state, parts, optimiser, settings, settings) if state.exists() else {}
    spent, step, shown = (before.get(key, 0) for key in ("spent", "step", "shown"))

    def row() -> None:
        with torch.no_grad():
            found = torch.cat([averaged(*pair) for pair in zip(*(part.split(16) for part in task.data), strict=True)])
        scores = {"psnr": round(float(psnr(found, task.held, 1.0).mean()), 3),
                  "psnr_start": round(float(psnr(task.data[0], task.held, 1.0).mean()), 3)}  # fmt: skip
        told = {"task": task.name, "minutes": minutes, "seconds": round(spent, 1), "items": len(task.held),
                "images": step * CONFIG.batch_size, "threads": torch.get_num_threads()}  # fmt: skip
        append_row(out, {**told, **scores})
        print({**told, **scores}, flush=True)

    if shown == 0:
        row()
        shown = 1
    while spent < 60 * minutes:
        began = time.process_time()
        generator = torch.Generator().manual_seed(step)
        x, _ = draw_batch(task.x, Units(1.0, 0.0), CONFIG, generator)
        optimiser.param_groups[0]["lr"] = learning_rate(CONFIG, step, spent / (60 * minutes))
        optimiser.zero_grad(set_to_none=True)
        (model.train()(*task.simulated(x, generator)) - x).square().mean().backward()
        nn.utils.clip_grad_norm_(model.parameters(), CONFIG.clip)
        optimiser.step()
        step += 1
        seen = step * CONFIG.batch_size
        average(averaged, model, 0.5 ** (CONFIG.batch_size / min(CONFIG.ema, 0.1 * seen + 1)))
        spent += time.process_time() - began
        if spent >= 60 * minutes * shown / POINTS:
            row()
            shown = int(POINTS * spent / (60 * minutes)) + 1
            save(state, parts, optimiser, settings, {"spent": spent, "step": step, "shown": shown})


def table(rows: list[dict]) -> str:
    """A line a task: the PSNR of the linear estimate, then that of the network after each time."""
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        curve = {row["seconds"]: row for row in rows if row["task"] == task}  # what was done again counts as last done
        scores = [next(iter(curve.values()))["psnr_start"], *(curve[seconds]["psnr"] for seconds in sorted(curve))]
        lines += [
            "| " + " | ".join(["task", "linear estimate", *(f"{seconds:.0f} s" for seconds in sorted(curve))]) + " |",
            "|---|" + "---:|" * len(scores),
            "| " + " | ".join([task, *(f"{score:.2f}" for score in scores)]) + " |",
        ]
    return "\n".join(lines)


def beside(rows: list[dict], board: list[dict], method: str) -> str:
    """A line a row of the board: PSNR of the network, of the mean of the samples, of more samples (extrapolated)."""
    lines = ["| task | network | calls | samples | mean | extrapolated | below the network |", "|---|" + "---:|" * 6]
    for row in board:
        last = max((r for r in rows if r["task"] == row["task"]), key=lambda r: r["seconds"], default=None)
        if last is None or row["method"] != method or "psnr" not in row:
            continue
        more = of_more_draws(row["psnr"], row["samples"])
        cells = row["task"], f"{last['psnr']:.2f}", row["calls"], row["samples"], f"{row['psnr']:.2f}", f"{more:.2f}"
        lines.append("| " + " | ".join(map(str, cells)) + f" | {last['psnr'] - row['psnr']:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Train what is not finished yet, or print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="headct_64.h5: images (N, 64, 64) uint8 and subset")
    parser.add_argument("--minutes", type=float, default=25.0, help="of the processor, a task")
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("-o", "--output", type=Path, default=Path("ceiling.jsonl"))
    parser.add_argument("--table", type=Path, help="print the curves of a file and stop")
    parser.add_argument("--board", type=Path, help="with --table: rows of tests.benchmarks.images to print beside")
    parser.add_argument("--method", default="spectral", help="whose rows of the board")
    arguments = parser.parse_args()
    if arguments.table:
        rows = read_rows(arguments.table)
        print(table(rows))
        if arguments.board:
            print("\n" + beside(rows, read_rows(arguments.board), arguments.method))
        return
    if not arguments.data:
        parser.error("--data is missing: the HDF5 file with the images")
    torch.set_num_threads(1)
    prior, held = recon.load_prior(CONFIG.initial), images.slices(arguments.data, 1, 64)
    x = images.slices(arguments.data, 0)
    for name in arguments.tasks.split(","):
        train(Task(name, held, x), prior, arguments.minutes, arguments.output)


if __name__ == "__main__":
    main()
