"""Training by several processes that `torchrun` started: each computes a share of every batch.

All processes draw the same global batch from the same generator, so the loss curve is that of one process, whatever
their number. torch's DistributedDataParallel averages the gradients.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Team:
    """The process `rank` of `size`, and the device that it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    def model(self, loss: nn.Module) -> nn.Module:
        """The module with its gradients averaged over the team."""
        return loss if self.size == 1 else DistributedDataParallel(loss)

    def share(self, batch: Tensor) -> Tensor:
        """This process's rows of a global batch."""
        return batch[self.rank :: self.size].to(self.device)

    def mean(self, value: Tensor) -> Tensor:
        """The mean of a number over the team."""
        if self.size > 1:
            distributed.all_reduce(value)
        return value / self.size

    def agreed(self, number: float) -> float:
        """The leader's number, for decisions that all have to take alike."""
        if self.size == 1:
            return number
        told = torch.tensor([number], dtype=torch.float64, device=self.device)
        distributed.broadcast(told, 0)
        return float(told)


def _own_device(wanted: torch.device | str | None) -> torch.device:
    if wanted is not None:
        return torch.device(wanted)
    own = int(os.environ.get("LOCAL_RANK", 0))
    return torch.device("cuda", own) if torch.cuda.is_available() else torch.device("cpu")


@contextmanager
def team(device: torch.device | str | None = None) -> Iterator[Team]:
    """The team that torchrun's environment variables describe; a team of one without them.

    `device` is where to compute; default: the process's own GPU where there is one, else the CPU.
    """
    chosen = _own_device(device)
    size = int(os.environ.get("WORLD_SIZE", 1))
    if size == 1:
        yield Team(0, 1, chosen)
        return
    # Its functions take the world's group as a default when they are first imported: after the group is made they would
    # keep it, and its threads, past `destroy_process_group`, and a thread at work when Python ends aborts the process.
    importlib.import_module("torch.distributed.nn")
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Team(distributed.get_rank(), size, chosen)
    finally:
        distributed.destroy_process_group()
