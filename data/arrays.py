"""NPY and NPZ files: the header is read and judged first, pickled objects are never loaded."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy

from data.errors import InputRefused, first_line
from data.images import too_many

IMAGE_KEYS = ("images", "image", "x", "arr_0")


def read_array(path: Path, kind: str, max_elements: int) -> np.ndarray:
    """The array of an NPY file, or the one array of an NPZ file (of several, the one named as in IMAGE_KEYS).

    Raises:
        InputRefused: E-UNSAFE (exit 7) for pickled objects; E-LIMIT (exit 7) for more elements than the
            limit; E-FORMAT when the file is broken or cut off; E-LAYOUT when an NPZ file holds several arrays
            and none has a name that says it is the image.
    """
    try:
        if kind == "npy":
            with path.open("rb") as stream:
                return checked_array(stream, str(path), path.stat().st_size, max_elements)
        with zipfile.ZipFile(path) as archive:
            name = choose(archive, path)
            with archive.open(name) as stream:
                return checked_array(stream, f"{path}:{name}", archive.getinfo(name).file_size, max_elements)
    except (InputRefused, MemoryError):
        raise
    except Exception as problem:  # header parser, zip reader and decompressor each have their own errors
        raise InputRefused(
            "E-FORMAT",
            f"broken {kind.upper()} file",
            str(path),
            first_line(problem),
            "a whole file of numpy.save",
            "copy the file again, or save the array anew with numpy.save",
        ) from problem


def checked_array(stream: BinaryIO, where: str, size: int, max_elements: int) -> np.ndarray:
    """The array in a stream of `size` bytes, read only after its header has been found harmless."""
    version = npy.read_magic(stream)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"NPY format {version}")
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise InputRefused(
            "E-UNSAFE",
            "pickled objects in the file",
            where,
            f"type {dtype}: a pickle can run any code",
            "numbers",
            "save a numeric array: numpy.save(file, array.astype('float32'))",
            exit_code=7,
        )
    count = int(np.prod(shape, dtype=object))
    if count > max_elements:
        raise too_many(where, count, shape, max_elements)
    if count * dtype.itemsize > size:
        raise InputRefused(
            "E-FORMAT",
            "truncated array",
            where,
            f"{size} bytes",
            f"{count * dtype.itemsize} bytes for {shape} of {dtype}, and the header",
            "copy or download the file again; it was cut off",
        )
    array = np.frombuffer(bytearray(stream.read(count * dtype.itemsize)), dtype, count)
    return array.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="), copy=False)


def choose(archive: zipfile.ZipFile, path: Path) -> str:
    """The member of an NPZ file that holds the image."""
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    known = [key for key in IMAGE_KEYS if key in names]
    if len(names) == 1 or known:
        return (known or names)[0] + ".npy"
    raise InputRefused(
        "E-LAYOUT",
        "no image in the archive",
        str(path),
        "arrays " + ", ".join(names[:20]),
        "one array, or one named " + " or ".join(IMAGE_KEYS),
        "save the image alone: numpy.save(file, image)",
    )
