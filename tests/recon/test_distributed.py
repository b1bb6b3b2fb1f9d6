"""Two processes under torchrun train as one does: the same losses, the same weights, one set of files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

import recon
from recon.checkpoint import read_tensors

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {"widths": (8,), "attention": (), "unshuffle": 2, "batch_size": 8, "warmup": 0, "steps": 12,
            "learning_rate": 1e-3}
SCRIPT = """
import sys, torch, recon
from pathlib import Path
images = torch.load(sys.argv[1], weights_only=True)
config = recon.TrainConfig(**eval(sys.argv[3]))
losses = []
recon.train(images, images[:4], config, sys.argv[2], device="cpu", progress=lambda r: losses.append(r["loss"]))
print("losses", losses)
left = [name for task in Path("/proc/self/task").glob("*/comm") if "gloo" in (name := task.read_text().strip())]
assert not left, f"threads of the process group outlive it: {left}"
"""


def test_two_processes_have_the_loss_curve_of_one(tmp_path):
    images = torch.randint(0, 256, (24, 1, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    torch.save(images, tmp_path / "images.pt")
    (tmp_path / "script.py").write_text(SCRIPT)
    alone = []
    config = recon.TrainConfig(**SETTINGS)
    recon.train(images, images[:4], config, tmp_path / "one", progress=lambda record: alone.append(record["loss"]))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
               str(tmp_path / "script.py"), str(tmp_path / "images.pt"), str(tmp_path / "two"), repr(SETTINGS)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    curves = [json.loads(line[7:]) for line in done.stdout.splitlines() if line.startswith("losses ")]
    assert len(curves) == 2 and curves[0] == curves[1]
    assert torch.allclose(torch.tensor(curves[0]), torch.tensor(alone), rtol=1e-4)
    assert len((tmp_path / "two" / "log.jsonl").read_text().splitlines()) == 1
    one, two = (read_tensors(tmp_path / name / "state.safetensors")[0] for name in ("one", "two"))
    one, two = (torch.cat([v.flatten() for k, v in s.items() if k.startswith("network")]) for s in (one, two))
    assert float((one - two).norm() / one.norm()) < 1e-3  # single weights of no gradient may step either way
