"""HDF5 files opened safely: whole, self-contained, and of an agreed size, before any value is read.

A file may point outside itself in three ways: external links, external storage, virtual datasets. All are
refused unread, because following one reads whatever file of this machine it names.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from data.errors import InputRefused, first_line
from data.heaps import refuse_broken_heaps
from data.images import too_many
from data.kinds import expect
from data.outputs import atomic_file
from data.paths import nearest

if TYPE_CHECKING:
    import h5py

MAX_ELEMENTS = 1_000_000_000
RAW = ("fastMRI", "exchange", "raw projections")  # layouts that `recon reconstruct` reads
MOST_OBJECTS = 2_000
LAYOUTS = {
    "images": ("images",),
    "recon measurement": ("y", "operator", "noise"),
    "recon result": ("reconstruction", "mean"),
    "fastMRI": ("kspace", "reconstruction_rss", "ismrmrd_header"),
    "LoDoPaB": ("data",),
    "exchange": ("exchange",),
    "raw projections": ("projections", "flat", "dark", "angles_deg"),
    "deepinv": ("x_train", "y_train", "x_test", "y_test"),
}


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """The file, open for reading, after everything that points outside of it has been ruled out.

    Raises:
        InputRefused: E-FILE; E-FORMAT when it is not HDF5, truncated or broken; E-UNSAFE (exit 7).
    """
    import h5py

    path = Path(path)
    expect(path, "hdf5", as_what="an HDF5 file")
    refuse_broken_heaps(path)
    try:
        with h5py.File(path, "r", locking=False) as file:
            refuse_foreign(file, path)
            yield file
    except (InputRefused, MemoryError):
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, NotImplementedError) as problem:
        raise InputRefused(
            "E-FORMAT",
            "broken HDF5 file",
            str(path),
            first_line(problem),
            "a whole HDF5 file",
            "copy or download the file again (h5dump shows what can still be read)",
        ) from problem


@contextmanager
def created(path: str | os.PathLike[str]) -> Iterator[h5py.File]:
    """A new file, which takes the place of one that exists when it is whole.

    The file format is that of HDF5 1.10: there, and not before, all metadata carry checksums, so that a wrong
    byte is refused by the library and cannot crash it.
    """
    import h5py

    with atomic_file(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        yield file


def refuse_foreign(file: h5py.File, path: Path) -> None:
    """Walks all links, following none that leaves the file, and refuses what stores values elsewhere."""
    import h5py

    groups, seen, objects = [file], {h5py.h5o.get_info(file.id).addr}, 0
    while groups:
        group = groups.pop()
        for name in group:
            objects += 1
            if objects > MOST_OBJECTS:
                raise InputRefused(
                    "E-LIMIT",
                    "too many objects in the file",
                    str(path),
                    f"more than {MOST_OBJECTS}",
                    "a file of images or of one measurement",
                    "split the file",
                    exit_code=7,
                )
            where = f"{path}:{group.name.rstrip('/')}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise foreign(where, f"an external link to {link.filename}:{link.path}")
            if isinstance(link, h5py.SoftLink):
                continue  # leads to another name in this file, met there
            item = group[name]
            if isinstance(item, h5py.Dataset):
                if item.is_virtual:
                    raise foreign(where, f"a virtual dataset over {len(item.virtual_sources())} sources")
                if item.external:
                    raise foreign(where, f"values stored outside, in {item.external[0][0]}")
            elif isinstance(item, h5py.Group) and h5py.h5o.get_info(item.id).addr not in seen:
                seen.add(h5py.h5o.get_info(item.id).addr)
                groups.append(item)


def foreign(where: str, found: str) -> InputRefused:
    return InputRefused(
        "E-UNSAFE",
        "the file points outside itself",
        where,
        f"{found} (not followed, nothing read)",
        "a file that holds all its values",
        "copy the values into one file (h5repack, or h5py)",
        exit_code=7,
    )


def dataset(file: h5py.File, name: str, max_elements: int = MAX_ELEMENTS) -> h5py.Dataset:
    """A numeric dataset whose claimed size, and that of its chunks, is within the limit; nothing is read.

    Raises:
        InputRefused: E-LIMIT (exit 7) for too many elements; E-FORMAT for a group or non-numbers.
    """
    import h5py

    where = f"{file.filename}:/{name}"
    found = file[name]
    if not isinstance(found, h5py.Dataset) or found.shape is None or found.dtype.kind not in "biufc":
        kind = f"values of type {found.dtype}" if isinstance(found, h5py.Dataset) else "a group"
        raise InputRefused(
            "E-FORMAT", "not a numeric dataset", where, kind, "an array of numbers", "store the values there"
        )
    claimed = max(int(np.prod(shape, dtype=object)) for shape in (found.shape, found.chunks or ()))
    if claimed > max_elements:
        raise too_many(where, claimed, found.shape, max_elements)
    return found


def wrong_layout(file: h5py.File, wanted: str) -> InputRefused:
    """The error for another layout: the keys there are, the layouts that are known, the closest one."""
    keys = sorted(file)
    shown = ", ".join(keys[:20]) + (f" and {len(keys) - 20} more" if len(keys) > 20 else "")
    score = {name: len(set(needed) & set(keys)) / len(needed) for name, needed in LAYOUTS.items()}
    best = max(score, key=score.__getitem__)
    guess = f"; closest: {best}" if score[best] else ""
    return InputRefused(
        "E-LAYOUT",
        f"no {wanted} in the file",
        file.filename,
        f"keys {shown or 'none'}{guess}",
        f"keys {', '.join(LAYOUTS[wanted])} (layouts known by name: {', '.join(LAYOUTS)})",
        remedy(keys, wanted, best, score),
    )


def remedy(keys: list[str], wanted: str, best: str, score: dict[str, float]) -> str:
    """What to do with a file of another layout."""
    if best == wanted and score[best]:
        return "the file is not complete: write it anew (recon simulate, recon reconstruct)"
    if score[best] and best in {"images", "recon measurement", "recon result"}:
        return f"this is a file of layout '{best}': use it where one is expected"
    if score[best] and best in RAW:
        return f"raw data of layout '{best}' are read by recon reconstruct, without --operator"
    if score[best]:
        return f"layout '{best}' is not read: copy the pictures into a dataset 'images' (N, H, W[, 3])"
    close = [(key, n[0]) for key in LAYOUTS[wanted] if (n := nearest(key, keys))]
    if close:
        return f"rename '{close[0][1]}' to '{close[0][0]}'"
    if wanted == "images":
        return "write the pictures into a dataset 'images' (N, H, W[, 3])"
    return "such files are written by recon simulate and recon reconstruct"
