"""Images, measurements and results as files: readers that refuse what is wrong, with the remedy, and writers.

Numpy in, numpy out. Importing the package loads nothing; each name loads its module when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

MODULES = {
    "checks": ("check_range",),
    "datasets": ("has_subsets", "image_sizes", "read_images"),
    "errors": ("InputRefused",),
    "foreign": ("is_model_folder",),
    "image_set": ("ImageSet", "fingerprint", "percentiles"),
    "images": ("MAX_PIXELS",),
    "kinds": ("sniff",),
    "measurement": ("MeasurementFile", "is_measurement", "read_measurement", "write_measurement"),
    "outputs": ("atomic_file", "output_file", "output_folder"),
    "paths": ("existing_file", "nearest", "sha256"),
    "priors": ("bundled_priors", "prior_header", "prior_path"),
    "reading": ("Image", "read_image", "read_mask"),
    "rescaling": ("Rescaling",),
    "result": ("ResultFile", "read_result", "result_files", "write_result"),
    "samples": ("bundled_samples", "sample_info", "sample_path"),
    "writing": ("write_image", "write_images"),
}
HOME = {name: module for module, names in MODULES.items() for name in names}
__all__ = sorted(HOME)


def __getattr__(name: str) -> Any:
    if name not in HOME:
        raise AttributeError(f"module 'data' has no attribute {name!r}")
    return getattr(import_module(f"data.{HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
