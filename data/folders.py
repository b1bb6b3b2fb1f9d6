"""A folder of pictures: subfolders named train and validation are its subsets, other ones the classes of pictures."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.errors import InputRefused
from data.image_set import ImageSet
from data.kinds import expect
from data.paths import listing, names_in
from data.reading import ARRAYS, PICTURES, SUFFIXES, read_pixels
from data.stacking import Shaping, stacked
from data.subsets import SUBSETS, held_out_note, split

PICTURE_SUFFIXES = tuple(suffix for suffix, kind in SUFFIXES.items() if kind in (*PICTURES, *ARRAYS))


@dataclass(frozen=True)
class Listing:
    """The pictures of a folder or of one of its subsets.

    Args:
        files: sorted by name with numbers in their order (2 before 10).
        index: the place of each among all of the folder.
        labels, class_names: which subfolder each is in, where only subfolders hold pictures; None, () otherwise.
        notes: what was chosen.
    """

    files: list[Path]
    index: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_folder(
    folder: Path, subset: str | None, to_gray: bool, channels: int | None, shaping: Shaping, max_pixels: int
) -> ImageSet:
    """The pictures of a folder, all in one type and, as `shaping` says, in one size."""
    found = listed(folder, subset)
    pictures = []
    for file in found.files:
        kind = expect(file, *PICTURES, *ARRAYS, as_what="an image")
        pictures.append(read_pixels(file, kind, to_gray, channels, max_pixels))
    values, origin, notes = stacked([p.array for p in pictures], [str(f) for f in found.files], str(folder), shaping)
    changes = Counter(note for picture in pictures for note in picture.notes)
    notes = (*found.notes, *(f"{count} pictures: {note}" for note, count in changes.items()), *notes)
    labels = None if found.labels is None else found.labels[origin]
    first = pictures[0]
    return ImageSet(values, first.value_max, first.unit, {}, found.index[origin], notes, labels, found.class_names)


def listed(folder: Path, subset: str | None) -> Listing:
    """Which pictures there are, and which of them are of the subset.

    Raises:
        InputRefused: E-LAYOUT when there are none, or too few for two subsets.
    """
    if has_subfolders(folder):
        return of_subset(folder, subset)
    files = pictures_in(folder)
    if files:
        chosen = split(len(files), subset, str(folder))
        notes = (*held_out_note(len(files), subset), *passed_over(folder))
        return Listing([files[number] for number in chosen], chosen, notes=notes)
    names = class_names(folder)
    if len(names) < 2:
        raise InputRefused(
            "E-LAYOUT",
            "no pictures in the folder",
            str(folder),
            listing(folder),
            "files ending in " + ", ".join(PICTURE_SUFFIXES) + ", or a subfolder of them for each class",
            "name the folder that holds the pictures themselves",
        )
    return of_classes(folder, names, subset)


def of_subset(folder: Path, subset: str | None) -> Listing:
    """The pictures of the subfolder `train` or `validation`, or of both; classes are counted over both."""
    if subset is None:
        files = [file for name in SUBSETS for file in listed(folder / name, None).files]
        return Listing(files, np.arange(len(files)))
    if pictures_in(folder / subset):
        return listed(folder / subset, None)
    names = sorted({name for part in SUBSETS for name in class_names(folder / part)})
    return of_classes(folder / subset, names, None) if len(names) > 1 else listed(folder / subset, None)


def of_classes(folder: Path, names: list[str], subset: str | None) -> Listing:
    """The pictures of the subfolders, each one class; a tenth of each is held out where no subsets are stated."""
    files, index, labels, first = [], [], [], 0
    for label, name in enumerate(names):
        inside = pictures_in(folder / name)
        chosen = split(len(inside), subset, str(folder / name))
        files += [inside[number] for number in chosen]
        index.append(first + chosen)
        labels += [label] * len(chosen)
        first += len(inside)
    notes = ("no subsets stated: the last tenth of each class validates",) if subset else ()
    notes += passed_over(folder)
    return Listing(files, np.concatenate(index), np.array(labels, np.int64), tuple(names), notes)


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder itself, numbers in their order."""
    if not folder.is_dir():
        return []
    return sorted(
        (p for p in folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file() and p.name[0] != "."),
        key=lambda p: [int(t) if t.isdigit() else t for t in re.split(r"([0-9]+)", p.name)],
    )


def class_names(folder: Path) -> list[str]:
    """The subfolders that hold pictures, sorted."""
    return [name for name in names_in(folder) if pictures_in(folder / name)]


def passed_over(folder: Path) -> tuple[str, ...]:
    """A note on what else is in a folder."""
    others = [
        name for name in names_in(folder)
        if Path(name).suffix.lower() not in PICTURE_SUFFIXES and not pictures_in(folder / name)
    ]  # fmt: skip
    return (f"{len(others)} other files and folders in {folder} passed over",) if others else ()


def has_subfolders(folder: Path) -> bool:
    """Whether a folder is divided into training and validation pictures."""
    return all((folder / name).is_dir() for name in SUBSETS)
