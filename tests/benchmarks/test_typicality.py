"""The board of unlike images runs, and its numbers are what they say."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from tests.benchmarks import typicality


def test_auroc_of_known_pairs():
    inside = torch.tensor([0.0, 1.0, 2.0])
    assert typicality.auroc(inside, torch.tensor([3.0, 4.0])) == 1
    assert typicality.auroc(inside, torch.tensor([-1.0])) == 0
    assert typicality.auroc(inside, torch.tensor([1.0, 1.5])) == pytest.approx((1.5 + 2) / 6)


def test_padding_and_windows():
    images = np.arange(2 * 6 * 6, dtype=np.float32).reshape(2, 1, 6, 6) + 1
    wide = typicality.padded(images, 9)
    assert wide.shape == (2, 1, 9, 9) and wide.sum() == images.sum() and np.array_equal(wide[:, :, 1:7, 1:7], images)
    found = typicality.cropped(images, 4, 5)
    assert found.shape == (5, 1, 4, 4)
    assert all(np.diff(window, axis=-1).ravel().tolist() == [1.0] * 12 for window in found)  # neighbours stay so
    assert [window.min() > 36 for window in found] == [False, True, False, True, False]  # from each in turn


def test_the_board_runs(tmp_path, monkeypatch, capsys):
    from tests.cli.conftest import tiny

    path = tiny.__wrapped__(type("Factory", (), {"mktemp": lambda self, name: tmp_path})())
    rng = np.random.default_rng(0)
    inside, other = tmp_path / "inside.npy", tmp_path / "other.npy"
    np.save(inside, np.rint(100 + 20 * rng.random((24, 1, 1)) * np.ones((24, 16, 16))).astype(np.uint8))
    np.save(other, rng.integers(0, 255, (6, 20, 20)).astype(np.uint8))
    words = ["--prior", path, "--inside", inside, "--halves", "--outside", f"{other}@crop", "--count", 6]
    monkeypatch.setattr(sys, "argv", ["typicality", *map(str, words)])
    typicality.main()
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines() if ".npy" in line]
    assert [row[1].strip() for row in rows] == ["inside.npy", "other.npy@crop"]
    assert float(rows[0][5]) == 0.5 and float(rows[1][5]) == 1.0 and float(rows[1][4]) == 1.0
