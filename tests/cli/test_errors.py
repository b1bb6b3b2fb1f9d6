"""Each kind of failure has its exit code, the one form on stderr, and never a traceback."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import data
import recon
from cli.errors import in_flags, split
from data.priors import stored_header


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (FloatingPointError("got NaN at step 3, sigma 0.5, item 0"), 4),
        (MemoryError(), 5),
        (
            RuntimeError(
                "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
            ),
            5,
        ),
        (OSError(errno.ENOSPC, "No space left on device"), 5),
        (ValueError("got steps=3; expected more; give more"), 2),
        (ZeroDivisionError("unforeseen"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes_and_nothing_left_behind(error, code, recon_command, scan, tiny, tmp_path, monkeypatch):
    def fail(*arguments, **keywords):
        raise error

    monkeypatch.setattr(recon, "reconstruct", fail)
    done = recon_command("reconstruct", scan, "--prior", tiny, "-o", "new/out")
    assert done.code == code and done.out == "" and "Traceback" not in done.err
    assert not (tmp_path / "new").exists()
    if code == 1:
        log = Path(next(line for line in done.err.splitlines() if "where" in line)[12:])
        assert "ZeroDivisionError: unforeseen" in log.read_text() and "Traceback" in log.read_text()
        log.unlink()


def test_a_failing_run_leaves_the_old_result(recon_command, scan, tiny, tmp_path, monkeypatch):
    assert recon_command("reconstruct", scan, "--prior", tiny, "--steps", 2, "-o", "out").code == 0
    old = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    monkeypatch.setattr(recon, "reconstruct", lambda *arguments, **keywords: 1 / 0)
    assert recon_command("reconstruct", scan, "--prior", tiny, "-o", "out", "--overwrite").code == 1
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == old


def test_the_parts_of_a_library_error():
    assert split("mask: got shape (3, 4); expected (4, 3); transpose the mask") == (
        "mask: shape (3, 4)",
        "(4, 3)",
        "transpose the mask",
    )
    assert split("got X; expected Y; do Z; or W") == ("X", "Y", "do Z; or W")
    assert split("something else") == ("something else", "", "")


def test_python_words_of_the_library_become_flags():
    assert in_flags("got 40; expected a share; divide by 100: keep=0.4") == (
        "got 40; expected a share; divide by 100: --keep 0.4"
    )
    assert in_flags("correct `batch_size`, or steps=3") == "correct --batch-size, or --steps 3"
    assert in_flags("correct `motion length`; use A.pinv(y)") == "correct --motion; use --method pinv"
    assert in_flags("sigma == 0 and weight=3 stay") == "sigma == 0 and weight=3 stay"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_stops_training_with_its_code(number, code, tmp_path):
    rng = np.random.default_rng(0)
    data.write_images(tmp_path / "set.h5", rng.random((20, 1, 16, 16), np.float32), "[0,1]")
    (tmp_path / "t.toml").write_text("widths = [8, 8]\nattention = []\nbatch-size = 2\n")
    words = [
        sys.executable,
        "-m",
        "cli",
        "train",
        "set.h5",
        "--config",
        "t.toml",
        "--steps",
        "1000000",
        "-o",
        "prior",
    ]
    with subprocess.Popen(
        words, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 300  # a busy machine takes a minute to import torch
        log = tmp_path / "prior/log.jsonl"
        while not (log.exists() and log.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code, err
    assert "Traceback" not in err and not (tmp_path / "prior/.recon.lock").exists()
    assert "stopped after a checkpoint; the same command with --resume goes on from there" in err
    assert stored_header(tmp_path / "prior/state.safetensors")["step"] > 0


def test_a_closed_pipe_is_no_error(tmp_path):
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "cli", "info"], stdout=write, stderr=subprocess.PIPE, timeout=60
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
