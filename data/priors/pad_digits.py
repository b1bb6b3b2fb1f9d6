"""The training images of `digits-32`: MNIST with a border of 2 black pixels, labels and subsets kept.

    python data/priors/pad_digits.py mnist_28.h5 digits_32.h5
"""

from __future__ import annotations

import sys

import h5py
import numpy as np


def pad(source: str, target: str) -> None:
    """Write the images (N, 28, 28) of `source` as (N, 32, 32)."""
    with h5py.File(source) as file, h5py.File(target, "w") as out:
        out["images"] = np.pad(file["images"][:], ((0, 0), (2, 2), (2, 2)))
        for key in ("labels", "subset"):
            out[key] = file[key][:]
        for key in ("source", "licence", "description"):
            out.attrs[key] = file.attrs[key]


if __name__ == "__main__":
    pad(*sys.argv[1:])
