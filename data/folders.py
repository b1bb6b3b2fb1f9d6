"""A folder of pictures as one array; subfolders named train and validation are its subsets."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np

from data.errors import InputRefused
from data.image_set import ImageSet
from data.kinds import expect
from data.paths import listing, names_in
from data.pixels import Pixels
from data.reading import ARRAYS, PICTURES, SUFFIXES, read_pixels
from data.resizing import square
from data.subsets import SUBSETS, held_out_note, split

PICTURE_SUFFIXES = tuple(suffix for suffix, kind in SUFFIXES.items() if kind != "hdf5")


def read_folder(
    folder: Path, subset: str | None, to_gray: bool, channels: int | None, size: int | None, max_pixels: int
) -> ImageSet:
    """The pictures of a folder, sorted by name with numbers in their order (2 before 10)."""
    if subset is not None and has_subfolders(folder):
        return read_folder(folder / subset, None, to_gray, channels, size, max_pixels)
    files = sorted(
        (
            p
            for p in folder.iterdir()
            if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file() and p.name[0] != "."
        ),
        key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"([0-9]+)", p.name)],
    )
    if not files:
        raise InputRefused(
            "E-LAYOUT",
            "no pictures in the folder",
            str(folder),
            listing(folder),
            "files ending in " + ", ".join(PICTURE_SUFFIXES),
            "name the folder that holds the pictures themselves",
        )
    chosen = split(len(files), subset, str(folder))
    notes = held_out_note(len(files), subset)
    pictures = []
    for number in chosen:
        file = files[number]
        kind = expect(file, *PICTURES, *ARRAYS, as_what="an image")
        pixels = read_pixels(file, kind, to_gray, channels, max_pixels)
        pictures.append(
            pixels if size is None else replace(pixels, array=square(pixels.array, size, str(file)))
        )
    refuse_mixed(folder, [files[number] for number in chosen], pictures)
    notes += tuple(f"{count} pictures: {note}" for note, count in Counter(
        note for picture in pictures for note in picture.notes).items())  # fmt: skip
    if passed_over := len([n for n in names_in(folder) if Path(n).suffix.lower() not in PICTURE_SUFFIXES]):
        notes += (f"{passed_over} other files and folders in {folder} passed over",)
    values = np.stack([p.array for p in pictures])
    return ImageSet(values, pictures[0].value_max, pictures[0].unit, {}, chosen, notes)


def refuse_mixed(folder: Path, files: list[Path], pictures: list[Pixels]) -> None:
    """Refuses pictures of different sizes, channels or types."""
    kinds = [(p.array.shape, p.array.dtype) for p in pictures]
    counts = Counter(kinds).most_common()
    if len(counts) == 1:
        return
    names = [
        f"{count} of {shape[1]} x {shape[2]}, {shape[0]} channels, {dtype} ({files[kinds.index(kind)].name})"
        for kind, count in counts[:5]
        for shape, dtype in [kind]
    ]
    sizes = {shape[1:] for shape, _ in kinds}
    fix = "--size N cuts and scales all to N x N" if len(sizes) > 1 else "--to-gray, or keep one kind only"
    raise InputRefused(
        "E-LAYOUT",
        "the pictures are not alike",
        str(folder),
        "\n".join(names),
        "one size, one type, equal channels",
        fix,
    )


def has_subfolders(folder: Path) -> bool:
    """Whether a folder is divided into training and validation pictures."""
    return all((folder / name).is_dir() for name in SUBSETS)
