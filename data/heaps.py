"""The global heaps of an HDF5 file, which hold its texts: a torn one makes the library loop forever.

The library steps through the objects of a heap by their sizes. An object that states the size 0 (one wrong
byte in the one before it is enough) is never left again, and no time limit can be set on that from Python.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from data.errors import InputRefused

SIGNATURE = b"GCOL\x01\0\0\0"  # with the version and the reserved bytes
HEADER = 16  # bytes, of a heap and of each object in it


def refuse_broken_heaps(path: Path) -> None:
    """Walks every global heap as the library would, and refuses one that does not end where it should."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        at = content.find(SIGNATURE)
        while at >= 0:
            if not whole(content, at):
                raise InputRefused(
                    "E-FORMAT",
                    "broken HDF5 file",
                    str(path),
                    f"a torn heap of texts at byte {at}",
                    "a whole HDF5 file",
                    "copy or download the file again",
                )
            at = content.find(SIGNATURE, at + HEADER)


def whole(content: mmap.mmap, start: int) -> bool:
    """Whether the objects of the heap at `start` fill it, one after the other."""
    end = start + number(content, start + 8, 8)
    at = start + HEADER
    if not at <= end <= len(content):
        return False
    while end - at >= HEADER:
        size = number(content, at + 8, 8)
        free = number(content, at, 2) == 0
        step = (
            size if free else HEADER + -(-size // 8) * 8
        )  # free space counts its header; objects are padded
        if step < HEADER:
            return False
        at += step
    return at <= end


def number(content: mmap.mmap, at: int, width: int) -> int:
    return int.from_bytes(content[at : at + width], "little")
