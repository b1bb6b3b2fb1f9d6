"""What a file is, by its content; the name of a file says little and is never trusted.

Nothing is decoded and nothing is executed: pickles are recognised by their opcodes, archives by their lists
of names.
"""

from __future__ import annotations

import os
import pickletools
import zipfile
import zlib
from pathlib import Path

from data.errors import InputRefused
from data.paths import existing_file
from data.superblock import refuse_truncated, superblock_offset

SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg", b"\x93NUMPY": "npy",
    b"II*\0": "tiff", b"MM\0*": "tiff", b"II+\0": "tiff", b"MM\0+": "tiff",
    b"GIF8": "gif", b"BM": "bmp", b"8BPS": "photoshop", b"\0\0\0\x0cjP  ": "jpeg2000", b"%PDF": "pdf",
    b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz",
}  # fmt: skip
GZIP = b"\x1f\x8b"
DANGEROUS = {"pickle", "torch", "torchscript", "pt2"}  # loading such a file may run code that it carries
DESCRIPTIONS = {
    "png": "a PNG image",
    "jpeg": "a JPEG image",
    "tiff": "a TIFF image",
    "npy": "a NumPy array (.npy)",
    "npz": "a NumPy archive (.npz)",
    "hdf5": "an HDF5 file",
    "safetensors": "a safetensors file",
    "webpage": "a web page (HTML), as when a link to a page was downloaded instead of the file itself",
    "lfs": "a Git LFS pointer: a note that stands for a file which was never fetched",
    "annex": "a git-annex pointer: a note that stands for a file which was never fetched",
    "pickle": "a Python pickle, which can run any code when it is loaded",
    "torch": "a PyTorch file with a pickle inside, which can run any code when it is loaded",
    "torchscript": "a TorchScript archive, which carries code",
    "pt2": "a torch.export archive (.pt2), which carries code",
    "zip": "a zip archive",
    "gzip": "a gzip-compressed file",
    "text": "a text file",
    "empty": "an empty file",
    "dicom": "a DICOM file",
    "nifti": "a NIfTI file",
    "unknown": "of no known format",
}
REMEDIES = {
    "webpage": "download the file itself (on GitHub: the 'raw' link)",
    "lfs": "git lfs pull",
    "annex": "git annex get",
    "gzip": "unpack it first (gunzip)",
    "zip": "unpack it first",
    "empty": "copy or download the file again",
    "gif": "save the picture as PNG",
    "bmp": "save the picture as PNG",
    "webp": "save the picture as PNG",
    "dicom": "convert the slice to 16-bit PNG or NPY",
    "nifti": "convert the slice to NPY (nibabel, numpy.save)",
}
MOST_NAMES = 10_000  # in a zip archive; a longer list is not looked at


def sniff(path: str | os.PathLike[str]) -> str:
    """The kind of a file by its content: "png", "hdf5", "safetensors" or another key of DESCRIPTIONS.

    Raises:
        InputRefused: E-FILE when there is no readable file; E-FORMAT for an HDF5 file whose end is missing.
    """
    path = existing_file(path)
    head = beginning(path)
    if not head:
        return "empty"
    if kind := kind_of(head):
        return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return zip_kind(path)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    for signature, kind in SIGNATURES.items():
        if head.startswith(signature):
            return kind
    if 2 <= int.from_bytes(head[:8], "little") < 2**27 and head[8:9] == b"{":
        return "safetensors"
    if superblock_offset(path) is not None:
        refuse_truncated(path)
        return "hdf5"
    return "pickle" if is_pickle(path, head) else text_kind(head)


def beginning(path: Path) -> bytes:
    """The first bytes of a file; of a compressed NIfTI file (.nii.gz) those that it unpacks to."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head.startswith(GZIP):
        return head
    try:
        unpacked = zlib.decompressobj(wbits=31).decompress(head, 4096)
    except zlib.error:
        return head
    return unpacked if kind_of(unpacked) == "nifti" else head


def kind_of(head: bytes) -> str:
    """ "dicom" or "nifti" if the first bytes are those of such a file, else ""."""
    if head[128:132] == b"DICM":
        return "dicom"
    sizes = {int.from_bytes(head[:4], order) for order in ("little", "big")}
    return "nifti" if (348 in sizes and head[344:347] == b"n+1") or (540 in sizes and head[4:7] == b"n+2") else ""


def expect(path: str | os.PathLike[str], *kinds: str, as_what: str) -> str:
    """The kind of a file, which must be one of `kinds`; `as_what` says for what it was offered ("an image").

    Raises:
        InputRefused: E-FORMAT, or E-UNSAFE (exit 7) for a file that can carry code; they say what it is.
    """
    kind = sniff(path)
    if kind in kinds:
        return kind
    listed = " or ".join(dict.fromkeys(DESCRIPTIONS[k] for k in kinds))
    expected = listed if listed == as_what else f"{as_what}: {listed}"
    found = describe(kind, Path(path))
    if kind in DANGEROUS:
        raise InputRefused(
            "E-UNSAFE",
            "this file can carry code and was not opened",
            str(path),
            found,
            expected,
            "convert it where it was made, and hand over the numbers only",
            exit_code=7,
        )
    raise InputRefused(
        "E-FORMAT",
        f"not {as_what}",
        str(path),
        found,
        expected,
        REMEDIES.get(kind, "check that this is the file you meant"),
    )


def describe(kind: str, path: Path) -> str:
    """What a file of this kind is, for people, with its size and, for text, its first words."""
    text = DESCRIPTIONS.get(kind, f"a {kind} file") + f" ({path.stat().st_size} bytes)"
    if kind == "text":
        with path.open(errors="replace") as stream:
            text += f', starting "{stream.read(60).partition(chr(10))[0].strip()}"'
    return text


def text_kind(head: bytes) -> str:
    """The kind of a file that may be text: web page, pointer of a version control, other text, or unknown."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:512].lower()
    if start.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or b"<html" in start:
        return "webpage"
    if start.startswith(b"version https://git-lfs"):
        return "lfs"
    if b"annex/objects/" in start:
        return "annex"
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as problem:
        if problem.start < len(head) - 4:  # not just a character cut in two by the end of `head`
            return "unknown"
        text = head[: problem.start].decode("utf-8")
    return "text" if all(c.isprintable() or c.isspace() for c in text) else "unknown"


def is_pickle(path: Path, head: bytes) -> bool:
    """Whether the content is a pickle, by reading its opcodes as a listing; nothing is built or called."""
    if head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}:
        return True
    if path.stat().st_size > 2**20:
        return (
            False  # the older protocols have no mark: only what reads as one to its end is taken for a pickle
        )
    try:
        content = path.read_bytes()
        position = [at for _, _, at in pickletools.genops(content)][-1]
    except Exception:  # whatever the parser meets in bytes that are no pickle
        return False
    return position > 1 and not content[position + 1 :].strip()


def zip_kind(path: Path) -> str:
    """The kind of a zip archive by the names in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()[:MOST_NAMES]
    except Exception:  # a broken archive fails in many ways; as a zip it is refused in any case
        return "zip"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    inner = {name.partition("/")[2] for name in names} | set(names)
    if "constants.pkl" in inner or any(name.startswith("code/") for name in inner):
        return "torchscript"
    if "archive_format" in inner or any("serialized_exported_program" in name for name in inner):
        return "pt2"
    return "torch" if any(name.endswith(".pkl") for name in inner) else "zip"
