"""Does a training survive being killed, and is an altered file refused?

    python -m tests.benchmarks.kills --kills 100 --flips 1000

A tiny `recon train` is killed (SIGKILL) at random times, in its start, in its steps and while it saves, which with a
save interval of a few hundredths of a second is where it spends most of its time; each time `--resume` goes on. Its
final weights must be those of a run that nobody disturbed, bit for bit, and so must the optimiser's state, and nothing
else may be left in its folder. Then single
bits of its two files are flipped at random, and every altered file must be refused.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import data
import recon
from recon.checkpoint import read_tensors

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
widths = [8]
attention = []
unshuffle = 2
dropout = 0.1
batch_size = 4
warmup = 10
"""
START, WRITING = 0.2, 0.4  # shares of the kills before the first save of a start, and in the midst of writing a file
LONGEST = 2.0  # seconds of training before a kill


def command(folder: Path, name: str, steps: int, minutes: float, more: list[str]) -> list[str]:
    """The command line of a training in `folder`, saving every so many minutes."""
    config = folder / f"{name}.toml"
    config.write_text(f"{SETTINGS}steps = {steps}\nsave_minutes = {minutes}\n")
    words = ["train", str(folder / "set.h5"), "-o", str(folder / name), "--config", str(config), *more]
    return [sys.executable, "-m", "cli", *words]


def launch(words: list[str]) -> subprocess.Popen:
    return subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def stamp(path: Path) -> int:
    """When a file was written last, 0 where there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def unfinished(state: Path) -> bool:
    """Whether a file is being written beside the state, or was when its writer died."""
    return any(state.parent.glob(".*.safetensors.*"))


def disturbed(folder: Path, name: str, steps: int, minutes: float, kills: int, rng: random.Random) -> Counter:
    """A run to its end, killed up to so many times; returns how often it was killed, and in what state."""
    state, counted = folder / name / "state.safetensors", Counter()
    while True:
        going = ["--resume"] if state.exists() else ["--overwrite"]
        often = minutes if counted["kills"] < kills else 1e9
        process = launch(command(folder, name, steps, often, going))
        before, begun = stamp(state), time.monotonic()
        kind = rng.random()
        early, writing = kind < START, kind > 1 - WRITING
        wait = rng.uniform(0, 5) if early else rng.uniform(0, LONGEST)
        while process.poll() is None:
            started = begun if early else begun if stamp(state) != before else None
            if started is None:
                begun = time.monotonic()
            elif counted["kills"] < kills and time.monotonic() - started > wait and (unfinished(state) or not writing):
                process.send_signal(signal.SIGKILL)
                process.wait()
                break
            time.sleep(0.0005)
        error = process.stderr.read()
        if process.returncode == 0:
            return counted
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"a run ended by itself with {process.returncode}:\n{error}")
        counted["kills"] += 1
        counted["while saving"] += unfinished(state)


def same(one: Path, other: Path) -> bool:
    """Whether two trainings ended with the same weights, averages and optimiser, bit for bit."""
    for name in ("state.safetensors", "prior.safetensors"):
        (first, _), (second, _) = read_tensors(one / name), read_tensors(other / name)
        if set(first) != set(second) or any(first[k].numpy().tobytes() != second[k].numpy().tobytes() for k in first):
            return False
    return True


def refused(path: Path, position: int, bit: int, scratch: Path) -> bool:
    """Whether the file with one bit flipped is refused, as what it is: a prior, or the state of a training."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    altered = scratch / path.name
    altered.write_bytes(content)
    try:
        recon.load_prior(altered) if path.stem == "prior" else read_tensors(altered)
    except ValueError:
        return True
    return False


def flips(folder: Path, count: int, rng: random.Random) -> Counter:
    """Flips bits one at a time, half of them in each file, a quarter of these in its header."""
    counted = Counter()
    with tempfile.TemporaryDirectory() as scratch:
        for k in range(count):
            path = folder / ("prior.safetensors", "state.safetensors")[k % 2]
            size = path.stat().st_size
            header = 8 + int.from_bytes(path.read_bytes()[:8], "little")
            position = rng.randrange(header if k % 8 < 2 else size)
            counted["refused" if refused(path, position, rng.randrange(8), Path(scratch)) else "taken"] += 1
    return counted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=1500, help="of one run")
    parser.add_argument("--save-minutes", type=float, default=0.0005)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng, total, equal, runs = random.Random(asked.seed), Counter(), 0, 0
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images = np.random.default_rng(0).integers(0, 256, (24, 1, 8, 8), dtype=np.uint8)
        data.write_images(folder / "set.h5", images, "[0,1]")
        subprocess.run(command(folder, "whole", asked.steps, 1e9, []), cwd=ROOT, check=True, capture_output=True)
        while total["kills"] < asked.kills:
            name = f"killed-{runs}"
            total += disturbed(folder, name, asked.steps, asked.save_minutes, asked.kills - total["kills"], rng)
            tidy = not [left for left in (folder / name).iterdir() if left.name[0] == "."]
            runs, equal = runs + 1, equal + (tidy and same(folder / "whole", folder / name))
            print(f"run {runs}: {total['kills']} kills so far, {equal} of {runs} runs bit-identical", file=sys.stderr)
        counted = flips(folder / "whole", asked.flips, rng)
    result = {"kills": total["kills"], "while_saving": total["while saving"], "runs": runs, "bit_identical": equal,
              "flips": asked.flips, "refused": counted["refused"]}  # fmt: skip
    print(json.dumps(result))
    sys.exit(0 if equal == runs and counted["refused"] == asked.flips else 1)


if __name__ == "__main__":
    main()
