"""Unit noise from a counter: the draws of (run seed, item, sample) are the same whatever else is in the batch.

A sampler is handed a callable `noise(like)` that returns unit normal values of the shape of `like`, one stream a row.
The values are drawn on the CPU in float32 by the Philox counter generator (Salmon et al., 2011), so they do not
depend on the batch size, on the order of the items, on the shard or on the device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

Noise = Callable[[Tensor], Tensor]


class CounterNoise:
    """The k-th call returns draw k of every row; row r belongs to (items[r], samples[r]).

    Args:
        seed: seed of the run, 0 to 2^64 - 1.
        items, samples: for each row of the batch, which item of the measurement and which sample it is.
    """

    def __init__(self, seed: int, items: Sequence[int], samples: Sequence[int]) -> None:
        self.seed, self.rows, self.draw = int(seed), list(zip(items, samples, strict=True)), 0

    def __call__(self, like: Tensor) -> Tensor:
        if like.shape[0] != len(self.rows):
            raise ValueError(
                f"got a batch of {like.shape[0]}; expected the {len(self.rows)} rows that this noise was made for"
            )
        values = np.empty(like.shape, dtype=np.float32)
        stream = np.random.Philox(key=0)
        normal, state = np.random.Generator(stream).standard_normal, stream.state
        key, counter = state["state"]["key"], state["state"]["counter"]
        key[0], counter[3] = self.seed, self.draw
        for row, (item, sample) in enumerate(self.rows):
            key[1] = (item << 32) + sample
            stream.state = state  # six times quicker than a generator a row, and the same numbers
            normal(dtype=np.float32, out=values[row])
        self.draw += 1
        return torch.from_numpy(values).to(like)
