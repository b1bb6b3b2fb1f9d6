"""Volumes, DICOM series and NIfTI files, as pictures; of a folder of them whole volumes are held out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import InputRefused
from data.folders import has_subfolders, pictures_in
from data.image_set import ImageSet
from data.kinds import beginning, kind_of
from data.reading import SUFFIXES
from data.stacking import Shaping, stacked
from data.subsets import HELD_OUT, held_out_note, split

VOLUMES = ("dicom", "nifti")
TEXTS = {".txt", ".md", ".json", ".csv", ".tsv", ".toml", ".yaml", ".yml", ".xml", ".html", ".pdf", ".log", ".py"}
STACK = 10  # pictures of `max_pixels` that a volume may hold


@dataclass(frozen=True)
class Volume:
    """Slices that belong together: the DICOM files of one folder, or one NIfTI file."""

    kind: str
    files: tuple[Path, ...]

    @property
    def where(self) -> str:
        return str(self.files[0] if len(self.files) == 1 else self.files[0].parent)


def volumes_in(folder: Path) -> list[Volume]:
    """The volumes of a folder and of the folders in it, in the order of their names; links are not followed."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        files = [Path(place, name) for name in sorted(names) if name[0] != "." and name != "DICOMDIR"]
        kinds = {file: volume_kind(file) for file in files}
        slices = tuple(file for file in files if kinds[file] == "dicom")
        found += [Volume("dicom", slices)] if slices else []
        found += [Volume("nifti", (file,)) for file in files if kinds[file] == "nifti"]
    return found


def volume_kind(file: Path) -> str:
    """ "dicom" or "nifti" by the content of a file; "" for others and for those whose name says another kind."""
    suffix = file.suffix.lower()
    if SUFFIXES.get(suffix, "dicom") not in VOLUMES or suffix in TEXTS or not file.is_file():
        return ""
    try:
        kind = kind_of(beginning(file))
    except OSError:
        return ""
    return kind if kind in VOLUMES else ""


def read_volumes(
    folder: Path, volumes: list[Volume], subset: str | None, shaping: Shaping, max_pixels: int
) -> ImageSet:
    """All slices of the volumes of a folder; the last tenth of the volumes validates where no subsets are stated."""
    if pictures_in(folder):
        found = f"{len(volumes)} DICOM or NIfTI volumes beside pictures"
        raise InputRefused("E-LAYOUT", "volumes and pictures in one folder", str(folder), found, "one kind of data",
                           "put the pictures into a folder of their own")  # fmt: skip
    count, notes = len(volumes), (f"{len(volumes)} volumes, each one subject",)
    by_slice = subset if count == 1 and not has_subfolders(folder) else None
    if subset is not None and has_subfolders(folder):
        volumes = [v for v in volumes if v.files[0].relative_to(folder).parts[0] == subset]
        notes = (f"{len(volumes)} volumes",)
        if not volumes:
            raise InputRefused("E-LAYOUT", "no volumes in the subset", str(folder / subset), "nothing",
                               "DICOM or NIfTI files", f"put some volumes into {subset}")  # fmt: skip
    elif subset is not None and count > 1:
        volumes = [volumes[k] for k in split(count, subset, str(folder))]
        notes = (f"no subsets stated: the last {max(1, count // HELD_OUT)} of {count} volumes validate",)
    elif subset is not None:
        notes = ()
    read = [read_volume(volume, max_pixels) for volume in volumes]
    return joined(read, [v.where for v in volumes], str(folder), by_slice, shaping, notes)


def read_file(path: Path, kind: str, subset: str | None, shaping: Shaping, max_pixels: int) -> ImageSet:
    """The slices of one file."""
    volume = Volume(kind, (path,))
    return joined([read_volume(volume, max_pixels)], [str(path)], str(path), subset, shaping, ())


Read = tuple[list[np.ndarray], str, dict[str, Any], tuple[str, ...]]


def read_volume(volume: Volume, max_pixels: int) -> Read:
    """Slices (H, W), unit, attributes and notes of one volume."""
    if volume.kind == "dicom":
        from data.dicom import read_slices

        return read_slices(list(volume.files), volume.where, max_pixels)
    from data import nifti

    values, attrs, notes = nifti.read_volume(volume.files[0], STACK * max_pixels)
    return list(values), "raw", attrs, notes


def shapes_of(volume: Volume) -> list[tuple[int, int]]:
    """Height and width of each slice, from the headers."""
    if volume.kind == "dicom":
        from data import dicom

        return [dicom.shape_of(file) for file in volume.files]
    from data import nifti

    count, *shape = nifti.shape_of(volume.files[0])
    return [tuple(shape)] * count


def joined(
    volumes: list[Read], names: list[str], where: str, subset: str | None, shaping: Shaping, notes: tuple[str, ...]
) -> ImageSet:
    """The slices of volumes as one set; `subset` holds slices out where there is a single volume."""
    units = {unit for _, unit, _, _ in volumes}
    if len(units) > 1:
        raise InputRefused("E-SERIES", "volumes of different units", where, ", ".join(sorted(units)), "one unit",
                           "keep volumes of one kind (tags Modality, RescaleType) together")  # fmt: skip
    slices = [part[None] for parts, *_ in volumes for part in parts]
    owners = [name for name, (parts, *_) in zip(names, volumes, strict=True) for _ in parts]
    if len({part.dtype for part in slices}) > 1:
        slices = [part.astype(np.float32) for part in slices]
    index = split(len(slices), subset, where)
    values, origin, more = stacked([slices[k] for k in index], [owners[k] for k in index], where, shaping)
    told = dict.fromkeys(note for *_, noted in volumes for note in noted)
    attrs = volumes[0][2] if len(volumes) == 1 else common(volumes)
    notes = (*notes, *held_out_note(len(slices), subset), *told, *more)
    return ImageSet(values, 1.0, units.pop(), attrs, index[origin], notes)


def common(volumes: list[Read]) -> dict[str, Any]:
    """The spacing of the pixels where it is that of all volumes."""
    spacings = [attrs.get("spacing_mm", 0.0) for _, _, attrs, _ in volumes]
    return {"spacing_mm": spacings[0]} if spacings[0] and np.allclose(spacings, spacings[0], rtol=1e-3) else {}
