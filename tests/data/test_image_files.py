"""PNG, JPEG and TIFF files of every mode a picture comes in: scaled right, or refused with the remedy."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image, PngImagePlugin

import data

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
DEEP = (np.arange(256, dtype=np.uint16) * 257 - 3).reshape(16, 16)
DEEP[0, 0] = 65535
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP.T], -1)


def read(path, **options):
    image = data.read_image(path, **options)
    assert image.values.dtype == np.float32 and image.values.flags["C_CONTIGUOUS"]
    assert image.sha256 == data.sha256(path)
    return image


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_8_bit_grey_is_value_over_255(tmp_path, suffix):
    Image.fromarray(RAMP).save(tmp_path / f"a.{suffix}")
    image = read(tmp_path / f"a.{suffix}", channels=1)
    assert np.array_equal(image.values[0], (RAMP / 255).astype(np.float32)) and image.unit == "[0,1]"
    assert image.notes == ()


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_value_over_65535(tmp_path, suffix):
    Image.fromarray(DEEP).save(tmp_path / f"a.{suffix}")
    image = read(tmp_path / f"a.{suffix}", channels=1)
    assert np.array_equal(image.values[0], (DEEP / 65535).astype(np.float32)) and image.values.max() == 1


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_16_bit_tiff_of_either_byte_order(tmp_path, byteorder):
    tifffile.imwrite(tmp_path / "a.tif", DEEP, byteorder=byteorder)
    assert np.array_equal(read(tmp_path / "a.tif").values[0], (DEEP / 65535).astype(np.float32))


def test_12_bit_values_in_16_bits_are_not_rescaled_but_noted(tmp_path):
    Image.fromarray(DEEP // 16).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert image.values.max() < 1 / 15 and any("4095" in note for note in image.notes)


def test_1_bit_is_0_and_1(tmp_path):
    Image.fromarray(RAMP > 99).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", channels=1)
    assert np.array_equal(image.values[0], (RAMP > 99).astype(np.float32)) and image.unit == "[0,1]"


@pytest.mark.parametrize("bits", [2, 4])
def test_few_bits_reach_white(tmp_path, bits):
    levels = (RAMP % 2**bits).astype(np.uint8)
    rows = b"".join(b"\0" + pack(row, bits) for row in levels)
    (tmp_path / "a.png").write_bytes(png_bytes(16, 16, bits, 0, rows))
    assert np.allclose(read(tmp_path / "a.png").values[0], levels / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("alpha", [255, 128])
def test_grey_with_a_constant_alpha_is_grey(tmp_path, alpha):
    Image.fromarray(np.stack([RAMP, np.full_like(RAMP, alpha)], -1), "LA").save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", channels=1)
    assert np.array_equal(image.values[0], (RAMP / 255).astype(np.float32)) and "alpha" in image.notes[0]


def test_grey_with_transparency_is_refused_unless_to_gray(tmp_path, refuses):
    Image.fromarray(np.stack([RAMP, RAMP.T], -1), "LA").save(tmp_path / "a.png")
    with refuses("E-CHANNELS", 3, "--to-gray", "transparent"):
        data.read_image(tmp_path / "a.png", channels=1)
    assert np.array_equal(read(tmp_path / "a.png", to_gray=True).values[0], (RAMP / 255).astype(np.float32))


def test_palette_of_greys_is_grey(tmp_path):
    Image.fromarray(RAMP).convert("P").save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    image = read(tmp_path / "a.png", channels=1)
    assert np.array_equal(image.values[0], (RAMP / 255).astype(np.float32)) and "palette" in image.notes[0]


def test_palette_indices_are_never_taken_for_grey_values(tmp_path):
    picture = Image.fromarray(RAMP)
    picture.putpalette([v for i in range(256) for v in [255 - i] * 3])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read(tmp_path / "a.png").values[0], ((255 - RAMP) / 255).astype(np.float32))


def test_palette_of_colours_is_colour(tmp_path, refuses):
    Image.fromarray(COLOUR).quantize(64).save(tmp_path / "a.png")
    expected = np.moveaxis(np.asarray(Image.open(tmp_path / "a.png").convert("RGB")), -1, 0) / 255
    assert np.allclose(read(tmp_path / "a.png").values, expected, atol=1e-6)
    with refuses("E-CHANNELS", 3, "--to-gray"):
        data.read_image(tmp_path / "a.png", channels=1)


def test_palette_tiff_and_gif_like_transparency(tmp_path, refuses):
    Image.fromarray(RAMP).convert("P").save(tmp_path / "a.tif")
    assert np.array_equal(read(tmp_path / "a.tif").values[0], (RAMP / 255).astype(np.float32))
    Image.fromarray(RAMP).convert("P").save(tmp_path / "b.png", transparency=7)
    with refuses("E-CHANNELS", 3, "--to-gray"):
        data.read_image(tmp_path / "b.png")


@pytest.mark.parametrize("channels", [None, 3])
def test_rgb_is_channels_first(tmp_path, channels):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", channels=channels)
    assert np.array_equal(image.values, np.moveaxis(COLOUR, -1, 0).astype(np.float32) / np.float32(255))


def test_colour_for_a_grey_prior_is_refused_with_the_remedy(tmp_path, refuses):
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    with refuses("E-CHANNELS", 3, "--to-gray", "colour", "16 x 16"):
        data.read_image(tmp_path / "a.png", channels=1)
    Image.fromarray(np.stack([RAMP] * 3, -1)).save(tmp_path / "b.png")
    with refuses("E-CHANNELS", 3, "--to-gray", "nothing is lost"):
        data.read_image(tmp_path / "b.png", channels=1)


def test_to_gray_is_the_luminance_of_scikit_image(tmp_path):
    from skimage.color import rgb2gray

    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    image = read(tmp_path / "a.png", to_gray=True, channels=1)
    assert np.allclose(image.values[0], rgb2gray(COLOUR), atol=1e-7) and image.notes


def test_grey_for_a_colour_prior_is_refused(tmp_path, refuses):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    with refuses("E-CHANNELS", 3, "three channels"):
        data.read_image(tmp_path / "a.png", channels=3)


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("alpha", [RAMP, np.full_like(RAMP, 255)])
def test_rgba_for_a_grey_prior_is_refused_with_the_remedy(tmp_path, refuses, suffix, alpha):
    Image.fromarray(np.dstack([COLOUR, alpha]), "RGBA").save(tmp_path / f"a.{suffix}")
    with refuses("E-CHANNELS", 3, "--to-gray", "alpha"):
        data.read_image(tmp_path / f"a.{suffix}", channels=1)
    assert read(tmp_path / f"a.{suffix}", to_gray=True, channels=1).values.shape == (1, 16, 16)


def test_rgba_for_a_colour_prior_needs_a_constant_alpha(tmp_path, refuses):
    Image.fromarray(np.dstack([COLOUR, np.full_like(RAMP, 255)]), "RGBA").save(tmp_path / "a.png")
    assert read(tmp_path / "a.png", channels=3).values.shape == (3, 16, 16)
    Image.fromarray(np.dstack([COLOUR, RAMP]), "RGBA").save(tmp_path / "b.png")
    with refuses("E-CHANNELS", 3, "transparent"):
        data.read_image(tmp_path / "b.png", channels=3)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
def test_cmyk_is_colour(tmp_path, refuses, suffix):
    Image.fromarray(COLOUR).convert("CMYK").save(tmp_path / f"a.{suffix}")
    with refuses("E-CHANNELS", 3, "--to-gray"):
        data.read_image(tmp_path / f"a.{suffix}", channels=1)
    image = read(tmp_path / f"a.{suffix}")
    assert np.allclose(image.values, np.moveaxis(COLOUR, -1, 0) / 255, atol=0.2) and "CMYK" in image.notes[0]


def test_jpeg_grey_and_colour(tmp_path):
    smooth = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(read(tmp_path / "a.jpg", channels=1).values[0] - smooth / 255).max() < 0.02
    Image.fromarray(np.stack([smooth] * 3, -1)).save(tmp_path / "b.jpg", quality=95)
    assert read(tmp_path / "b.jpg").values.shape == (3, 48, 64)


def test_exif_orientation_turns_the_picture_upright(tmp_path):
    wide = np.zeros((16, 32), np.uint8)
    wide[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    Image.fromarray(wide).save(tmp_path / "a.png", exif=exif)
    image = read(tmp_path / "a.png")
    assert np.array_equal(image.values[0], np.rot90(wide, -1) / 255) and "EXIF" in image.notes[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_float_tiff_is_kept_as_it_is(tmp_path, dtype):
    values = np.linspace(-1000, 3000, 256).reshape(16, 16).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read(tmp_path / "a.tif")
    assert np.array_equal(image.values[0], values.astype(np.float32)) and image.unit == "raw"


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint32, np.int8])
def test_signed_and_wide_integers_are_raw(tmp_path, dtype):
    values = (np.arange(256).reshape(16, 16) % 100).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", values)
    image = read(tmp_path / "a.tif")
    assert np.array_equal(image.values[0], values.astype(np.float32)) and image.unit == "raw"
    assert any("kept as they are" in note for note in image.notes)


def test_integers_that_single_precision_cannot_hold_are_refused(tmp_path, refuses):
    tifffile.imwrite(tmp_path / "a.tif", np.full((4, 4), 2**24 + 1, np.uint32))
    with refuses("E-VALUES", 3, "16777217", "16777216"):
        data.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_16_bit_colour_tiff_keeps_its_bits(tmp_path, planar):
    deep = np.stack([DEEP, DEEP[::-1], DEEP.T])
    stored = np.moveaxis(deep, 0, -1) if planar == "contig" else deep
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planar)
    assert np.array_equal(read(tmp_path / "a.tif").values, (deep / 65535).astype(np.float32))


def test_16_bit_colour_png_is_noted_as_halved(tmp_path):
    deep = np.stack([DEEP, DEEP[::-1], DEEP.T], -1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    (tmp_path / "a.png").write_bytes(png_bytes(16, 16, 16, 2, rows))
    image = read(tmp_path / "a.png")
    assert np.abs(image.values - np.moveaxis(deep, -1, 0) / 65535).max() < 1 / 255
    assert any("8 bits per channel" in note for note in image.notes)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_white_is_zero_tiff_is_turned_over(tmp_path, dtype):
    values = np.arange(256, dtype=dtype).reshape(16, 16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    top = np.iinfo(dtype).max
    assert np.array_equal(read(tmp_path / "a.tif").values[0], ((top - values) / top).astype(np.float32))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "tiff_jpeg"])
def test_compressed_tiff(tmp_path, compression):
    Image.fromarray(RAMP).save(tmp_path / "a.tif", compression=compression)
    tolerance = 0.2 if compression == "tiff_jpeg" else 1e-7
    assert np.allclose(read(tmp_path / "a.tif").values[0], RAMP / 255, atol=tolerance)


def test_several_pages_are_refused(tmp_path, refuses):
    tifffile.imwrite(tmp_path / "a.tif", np.stack([RAMP] * 3), photometric="minisblack")
    with refuses("E-FORMAT", 3, "3 pictures", "NPY"):
        data.read_image(tmp_path / "a.tif")
    frames = [Image.fromarray(RAMP), Image.fromarray(RAMP.T)]
    frames[0].save(tmp_path / "b.png", save_all=True, append_images=frames[1:])
    with refuses("E-FORMAT", 3, "2 pictures"):
        data.read_image(tmp_path / "b.png")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_with_count_and_first_index(tmp_path, refuses, value):
    values = np.ones((8, 8), np.float32)
    values[2, 5] = values[7, 0] = value
    tifffile.imwrite(tmp_path / "a.tif", values)
    with refuses(
        "E-VALUES",
        3,
        "2 NaN and 0 infinite" if np.isnan(value) else "0 NaN and 2 infinite",
        "(0, 2, 5)",
        "64 values",
    ):
        data.read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_500_megapixels_are_refused_unread(tmp_path, refuses, kind):
    path = tmp_path / f"a.{kind}"
    if kind == "png":
        path.write_bytes(png_bytes(25_000, 20_000, 8, 0, b""))
    else:
        tifffile.imwrite(path, RAMP)
        with tifffile.TiffFile(path, mode="r+b") as file:
            file.pages[0].tags["ImageWidth"].overwrite(25_000, dtype="I")
            file.pages[0].tags["ImageLength"].overwrite(20_000, dtype="I")
    with refuses("E-LIMIT", 7, "500000000", "--max-pixels"):
        data.read_image(path)
    assert path.stat().st_size < 2_000_000


def test_max_pixels_can_be_raised_and_lowered(tmp_path, refuses):
    limit = Image.MAX_IMAGE_PIXELS
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    with refuses("E-LIMIT", 7, "256 pixels", "at most 255", "--max-pixels 256"):
        data.read_image(tmp_path / "a.png", max_pixels=255)
    assert read(tmp_path / "a.png", max_pixels=256).values.size == 256
    assert limit == Image.MAX_IMAGE_PIXELS


def test_text_bomb_in_a_png_is_refused(tmp_path, refuses):
    info = PngImagePlugin.PngInfo()
    info.add_text("x", "0" * 80_000_000, zip=True)
    Image.fromarray(RAMP).save(tmp_path / "a.png", pnginfo=info)
    with refuses("E-FORMAT", 3, "broken PNG"):
        data.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff"])
def test_truncated_pictures_are_refused(tmp_path, refuses, kind):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).save(stream, kind)
    content = stream.getvalue()
    for share in (0.1, 0.5, 0.9):
        (tmp_path / "a.img").write_bytes(content[: int(share * len(content))])
        with refuses("E-FORMAT", 3, "broken", f"{int(share * len(content))} bytes"):
            data.read_image(tmp_path / "a.img")


def test_content_decides_and_a_wrong_name_is_noted(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.jpg", format="PNG")
    image = read(tmp_path / "a.jpg")
    assert image.kind == "png" and "named .jpg but is a PNG" in image.notes[0]


def test_write_image_round_trip_states_its_scale(tmp_path):
    values = np.linspace(-2, 3, 256, dtype=np.float32).reshape(1, 16, 16)
    data.write_image(tmp_path / "a.png", values, -2, 3)
    back = read(tmp_path / "a.png").values * 5 - 2
    assert np.abs(back - values).max() <= 0.5 * 5 / 255 * 1.0001
    assert Image.open(tmp_path / "a.png").text["scale"] == "0 = -2, 255 = 3"
    colour = np.random.default_rng(0).random((3, 7, 9))
    data.write_image(tmp_path / "a.png", colour, 0, 1)
    assert np.abs(read(tmp_path / "a.png").values - colour).max() <= 0.5001 / 255
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    "values, vmin, vmax, name",
    [
        (np.zeros((2, 4, 4)), 0, 1, "a.png"),
        (np.zeros((4, 4)), 0, 1, "a.png"),
        (np.full((1, 4, 4), np.nan), 0, 1, "a.png"),
        (np.zeros((1, 4, 4)), 1, 0, "a.png"),
        (np.zeros((1, 4, 4)), 0, np.nan, "a.png"),
        (np.zeros((1, 4, 4)), 0, 1, "a.jpg"),
    ],
)
def test_write_image_refuses_what_it_cannot_show(tmp_path, values, vmin, vmax, name):
    with pytest.raises(ValueError, match="got .*; expected .*"):
        data.write_image(tmp_path / name, values, vmin, vmax)
    assert not list(tmp_path.iterdir())


def pack(row: np.ndarray, bits: int) -> bytes:
    """Values of a few bits, packed into bytes, first value highest."""
    wide = ((row[:, None] >> np.arange(bits - 1, -1, -1)) & 1).astype(np.uint8)
    return np.packbits(wide.reshape(-1)).tobytes()


def png_bytes(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG file of modes that Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body
