"""The training images of `mri-brain-256`: two sets of T1 brain slices in one HDF5 file of 8-bit images.

    python data/priors/merge_mri.py mri_brain_t1c_8bit_256.h5 mri_brain_t1_16bit_256.h5 mri_brain_256.h5

The 8-bit slices stay as they are; the 16-bit ones are divided by `volume_p999`, their volume's 99.9th percentile, and
clipped to 1. `subset` (0 training, 1 validation) is kept.
"""

from __future__ import annotations

import sys

import h5py
import numpy as np


def eight_bits(file: h5py.File) -> np.ndarray:
    """The images (N, H, W) of a file as uint8."""
    images = file["images"][:]
    if images.dtype == np.uint8:
        return images
    scaled = images / file["volume_p999"][:][:, None, None]
    return np.round(255 * scaled.clip(0, 1)).astype(np.uint8)


def merge(sources: list[str], target: str) -> None:
    """Write the images of all sources, one after the other, with their subsets and attributions."""
    files = [h5py.File(source) for source in sources]
    with h5py.File(target, "w") as out:
        out["images"] = np.concatenate([eight_bits(file) for file in files])
        out["subset"] = np.concatenate([file["subset"][:] for file in files])
        for key in ("source", "licence", "description"):
            out.attrs[key] = " | ".join(str(file.attrs[key]) for file in files)


if __name__ == "__main__":
    merge(sys.argv[1:-1], sys.argv[-1])
