"""Noise from a counter: a function of (seed, item, sample, draw) alone; unit normal; streams apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from recon.noise import CounterNoise


def draws(noise: CounterNoise, count: int, *event: int) -> torch.Tensor:
    """(count, rows, *event) float64."""
    like = torch.empty(len(noise.rows), *event, dtype=torch.float64)
    return torch.stack([noise(like) for _ in range(count)])


def test_rows_do_not_depend_on_their_batch():
    items, samples = [0, 1, 2, 0, 7], [0, 0, 3, 1, 2]
    whole = draws(CounterNoise(11, items, samples), 3, 2, 5)
    order = [4, 2, 0]
    part = draws(CounterNoise(11, [items[i] for i in order], [samples[i] for i in order]), 3, 2, 5)
    assert torch.equal(part, whole[:, order])


def test_draws_are_a_function_of_the_counter():
    assert torch.equal(draws(CounterNoise(3, [4], [5]), 2, 6), draws(CounterNoise(3, [4], [5]), 2, 6))


def test_streams_are_those_of_philox_generators_of_their_own():
    """So that a seed gives the same samples with every version."""
    found = draws(CounterNoise(2**63 + 5, [3, 2**20], [4, 2**31]), 2, 3, 5)
    for row, (item, sample) in enumerate(((3, 4), (2**20, 2**31))):
        key = np.array([2**63 + 5, (item << 32) + sample], dtype=np.uint64)
        for draw in range(2):
            stream = np.random.Philox(key=key, counter=np.array([0, 0, 0, draw], dtype=np.uint64))
            expected = np.random.Generator(stream).standard_normal((3, 5), dtype=np.float32)
            assert torch.equal(found[draw, row], torch.from_numpy(expected).double())


def test_streams_differ():
    """In seed, item, sample and draw, and item is not mistaken for sample."""
    base = draws(CounterNoise(0, [1], [2]), 2, 1000)[:, 0]
    others = [
        draws(CounterNoise(seed, [item], [sample]), 2, 1000)[:, 0]
        for seed, item, sample in (
            (1, 1, 2), (0, 2, 2), (0, 1, 3), (0, 2, 1), (2**63, 1, 2), (2**63 + 1, 1, 2), (0, 1 + 2**20, 2)
        )
    ]
    streams = torch.cat([base, *others])
    correlation = torch.corrcoef(streams)
    correlation.fill_diagonal_(0)
    assert float(correlation.abs().max()) < 5 / math.sqrt(1000)


def test_values_are_unit_normal():
    values = draws(CounterNoise(5, range(8), [0] * 8), 4, 4000)
    n = values.numel()
    assert abs(float(values.mean())) < 4 / math.sqrt(n)
    assert abs(float(values.var()) - 1) < 4 * math.sqrt(2 / n)  # 0.016: a factor 2 is far outside
    assert abs(float(values.pow(4).mean()) - 3) < 4 * math.sqrt(96 / n)
    assert kstest(values.flatten().numpy(), "norm").pvalue > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_follows_and_the_values_are_the_same(dtype):
    values = CounterNoise(1, [0], [0])(torch.empty(1, 7, dtype=dtype))
    assert values.dtype == dtype
    assert torch.equal(values.double(), draws(CounterNoise(1, [0], [0]), 1, 7)[0])


def test_another_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="batch of 3; expected the 2 rows"):
        CounterNoise(0, [0, 1], [0, 0])(torch.empty(3, 4))
    with pytest.raises(ValueError):
        CounterNoise(0, [0, 1], [0])
