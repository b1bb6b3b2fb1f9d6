"""DICOM files: slices of one series in their order, in the unit that they state. Parsing and decoding are pydicom's.

Errors and notes name tags and never say a value of theirs: a file may hold the name of a patient anywhere.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import InputRefused
from data.extras import needed
from data.images import refuse_claim
from data.rescaling import Rescaling, checked
from data.series import Slice, in_order

if TYPE_CHECKING:
    from pydicom import Dataset

GREY = ("MONOCHROME1", "MONOCHROME2")


@dataclass(frozen=True)
class Header:
    """What is asked of a header: the place of the slice, its unit, spacing, and whether low values are bright."""

    place: Slice
    unit: str
    spacing_mm: float | None
    inverted: bool


def read_slices(
    files: list[Path], where: str, max_pixels: int
) -> tuple[list[np.ndarray], str, dict[str, Any], tuple[str, ...]]:
    """The pictures (H, W) of the files of one series from its one end to the other, rescaled, int16 or float32.

    Args:
        files: of one series; a multi-frame file is one by itself.
        where: for messages.

    Returns:
        pictures, unit ("HU" of a CT, else "raw"), attributes (`spacing_mm` where pixels are square), notes.

    Raises:
        InputRefused: E-FORMAT (broken, compressed without a decoder, no grey picture), E-SERIES (mixed series, missing
            slices), E-LIMIT (exit 7), E-EXTRA (exit 2).
    """
    headers = [examined(path, max_pixels) for path in files]
    order, notes = in_order([found.place for found in headers], where) if len(files) > 1 else ([0], ())
    units = {found.unit for found in headers}
    unit = units.pop() if len(units) == 1 else "raw"
    pictures = [picture for k in order for picture in pixels(files[k], unit)]
    spacing = headers[0].spacing_mm
    if any(found.inverted for found in headers):
        notes += ("PhotometricInterpretation says that low values are bright; values are kept as they are",)
    return pictures, unit, {} if spacing is None else {"spacing_mm": spacing}, notes


def shape_of(path: Path) -> tuple[int, int]:
    """Rows and columns, from the header."""
    with quietly(path):
        from pydicom import dcmread

        found = dcmread(path, stop_before_pixels=True, specific_tags=["Rows", "Columns"])
        return int(found.get("Rows", 0)), int(found.get("Columns", 0))


@contextmanager
def quietly(path: Path) -> Iterator[None]:
    """Inside, pydicom says nothing, since its warnings quote values; what it stumbles on becomes one error of ours."""
    needed("pydicom", "medical", str(path))
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (InputRefused, MemoryError):
        raise
    except Exception as problem:  # the parser and the decoders raise what they stumble on
        fix = "copy or export the file again"
        raise InputRefused("E-FORMAT", "broken DICOM file", str(path),
                           f"{path.stat().st_size} bytes; the reader stops with {type(problem).__name__}",
                           "a whole DICOM file", fix) from None  # fmt: skip
    finally:
        log.setLevel(level)


def examined(path: Path, max_pixels: int) -> Header:
    """What the header of a file says, all of it asked for here: pydicom complains as late as a tag is looked at."""
    with quietly(path):
        from pydicom import dcmread

        found = dcmread(path, stop_before_pixels=True)
        refuse_unreadable(path, found, max_pixels)
        inverted = found.get("PhotometricInterpretation") == "MONOCHROME1"
        return Header(place(found), unit_of(found), spacing_mm(found), inverted)


def refuse_unreadable(path: Path, found: Dataset, max_pixels: int) -> None:
    """Refuses by the header what holds no grey picture, claims too much, or cannot be decoded here."""
    if not found.get("Rows") or not found.get("Columns"):
        raise refused(path, "no picture in the DICOM file", "no Rows and Columns", "a DICOM image",
                      "leave this file out")  # fmt: skip
    if found.get("SamplesPerPixel", 1) != 1 or found.get("PhotometricInterpretation", GREY[1]) not in GREY:
        raise refused(path, "not a grey DICOM picture", "SamplesPerPixel and PhotometricInterpretation of colours",
                      " or ".join(GREY), "export it as PNG if its colours are meant")  # fmt: skip
    size = int(found.Rows), int(found.Columns)
    refuse_claim(path, (*size, int(found.get("NumberOfFrames") or 1)), 1, max_pixels)
    syntax = found.file_meta.TransferSyntaxUID
    if syntax.is_compressed and not decodable(syntax):
        fix = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg, or export it uncompressed"
        raise refused(path, "compressed, and no decoder is installed", f"TransferSyntaxUID: {syntax.name}",
                      "pixels that an installed decoder reads", fix)  # fmt: skip


def decodable(syntax: Any) -> bool:
    """Whether a decoder for a transfer syntax is installed."""
    from pydicom.pixels import get_decoder

    if syntax.is_deflated:
        return True
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def place(found: Dataset) -> Slice:
    """Where a slice lies and to what it belongs."""
    position, orientation = found.get("ImagePositionPatient"), found.get("ImageOrientationPatient")
    alike = {
        "SeriesInstanceUID": str(found.get("SeriesInstanceUID")),
        "Modality": str(found.get("Modality")),
        "Rows": int(found.Rows),
        "Columns": int(found.Columns),
        "ImageOrientationPatient": tuple(round(float(v), 2) + 0.0 for v in orientation or ()),
    }
    along = None
    if position and orientation and len(position) == 3 and len(orientation) == 6:
        across = np.array(orientation, float)
        along = float(np.dot(np.array(position, float), np.cross(across[:3], across[3:])))
    number = found.get("InstanceNumber")
    return Slice(alike, along, None if number is None else int(number))


def unit_of(found: Dataset) -> str:
    """The unit of the rescaled values: "HU" of a CT that does not say otherwise."""
    kind = str(found.get("RescaleType") or "HU")
    return "HU" if found.get("Modality") == "CT" and kind in {"HU", "US"} else "raw"


def pixels(path: Path, unit: str) -> list[np.ndarray]:
    """The pictures (H, W) of a file, each with the rescaling that is stated for it."""
    with quietly(path):
        from pydicom import dcmread
        from pydicom.pixels import apply_modality_lut

        found = dcmread(path)
        stored = found.pixel_array
        frames = stored[None] if stored.ndim == 2 else stored
        if "ModalityLUTSequence" in found:
            return [Rescaling(unit)(apply_modality_lut(frame, found)) for frame in frames]
        return [rescaling(found, k, unit, path)(frame) for k, frame in enumerate(frames)]


def rescaling(found: Dataset, frame: int, unit: str, path: Path) -> Rescaling:
    """RescaleSlope and RescaleIntercept of a frame: of the file, or of its functional groups."""
    groups = (
        *found.get("PerFrameFunctionalGroupsSequence", [])[frame : frame + 1],
        *found.get("SharedFunctionalGroupsSequence", [])[:1],
    )
    stated = [group.PixelValueTransformationSequence[0] for group in groups
              if "PixelValueTransformationSequence" in group]  # fmt: skip
    source = (*stated, found)[0]
    slope, intercept = source.get("RescaleSlope", 1), source.get("RescaleIntercept", 0)
    return checked(unit, float(slope), float(intercept), f"{path} (RescaleSlope, RescaleIntercept)")


def spacing_mm(found: Dataset) -> float | None:
    """The edge of a pixel where PixelSpacing says that they are square."""
    spacing = [float(v) for v in found.get("PixelSpacing") or ()]
    return spacing[0] if len(spacing) == 2 and spacing[0] > 0 and np.isclose(*spacing, rtol=1e-3) else None


def refused(path: Path, title: str, found: str, expected: str, fix: str) -> InputRefused:
    return InputRefused("E-FORMAT", title, str(path), found, expected, fix)
