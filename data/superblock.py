"""The first block of an HDF5 file: where it is, and whether the file is as long as it states."""

from __future__ import annotations

from pathlib import Path

from data.errors import InputRefused

SIGNATURE = b"\x89HDF\r\n\x1a\n"


def superblock_offset(path: Path) -> int | None:
    """Where the HDF5 superblock starts (0, 512, 1024, 2048, ...), or None if this is no HDF5 file."""
    size, offset = path.stat().st_size, 0
    with path.open("rb") as stream:
        while offset < size:
            stream.seek(offset)
            if stream.read(8) == SIGNATURE:
                return offset
            offset = max(512, 2 * offset)
    return None


def refuse_truncated(path: Path) -> None:
    """Compares the size of an HDF5 file with the end that its superblock (version 0 to 3) states."""
    with path.open("rb") as stream:
        stream.seek(superblock_offset(path) or 0)
        block = stream.read(96)
    size, end = path.stat().st_size, stored_end(block)
    if end is None:
        raise InputRefused(
            "E-FORMAT",
            "broken HDF5 file",
            str(path),
            f"{size} bytes, a superblock that cannot be read",
            "a whole HDF5 file",
            "copy or download the file again",
        )
    if size < end:
        raise InputRefused(
            "E-FORMAT",
            "truncated HDF5 file",
            str(path),
            f"{size} bytes",
            f"{end} bytes (the end of the file that its superblock states)",
            "copy or download the file again; it was cut off",
        )


def stored_end(block: bytes) -> int | None:
    """The end-of-file address in an HDF5 superblock, or None if the block is broken."""
    if len(block) < 28 or block[8] > 3:
        return None
    old = block[8] < 2
    width = block[13] if old else block[9]
    start = (24 if block[8] == 0 else 28) if old else 12
    start += 2 * width  # after the base address and one more
    field = block[start : start + width]
    return int.from_bytes(field, "little") if width in {2, 4, 8} and len(field) == width else None
