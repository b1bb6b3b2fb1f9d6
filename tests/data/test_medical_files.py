"""DICOM series and NIfTI volumes: values in their unit, slices in their order, refusals that name tags only."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

import data

RNG = np.random.default_rng(0)
STORED = RNG.integers(0, 3000, (6, 10, 12)).astype(np.uint16)
SECRET = "Doe^Jane"


@pytest.fixture
def dicom():
    """Writes a slice: `dicom(path, pixels, z_mm, number, **other tags)`."""
    pytest.importorskip("pydicom", reason="the extra `medical` is not installed")
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    series = generate_uid(entropy_srcs=["series"])

    def write(path, pixels, z_mm=None, number=None, syntax=ExplicitVRLittleEndian, **tags):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = syntax
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, generate_uid()
        made = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
        made.PatientName = made.PatientID = SECRET
        made.Modality, made.SeriesInstanceUID = "CT", series
        made.Rows, made.Columns = pixels.shape[-2:]
        made.BitsAllocated = made.BitsStored = 16
        made.HighBit, made.SamplesPerPixel, made.PhotometricInterpretation = 15, 1, "MONOCHROME2"
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        made.RescaleSlope, made.RescaleIntercept, made.PixelSpacing = 1, -1024, [0.7, 0.7]
        if z_mm is not None:
            made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            made.ImagePositionPatient = [0, 0, z_mm]
        if number is not None:
            made.InstanceNumber = number
        if pixels.ndim == 3:
            made.NumberOfFrames = len(pixels)
        for name, value in tags.items():
            setattr(made, name, value)
        made.PixelData = pixels.tobytes() if syntax == ExplicitVRLittleEndian else encapsulate([b"not a picture"])
        made["PixelData"].is_undefined_length = syntax != ExplicitVRLittleEndian
        path.parent.mkdir(exist_ok=True, parents=True)
        made.save_as(path, enforce_file_format=True)

    return write


@pytest.fixture
def series(tmp_path, dicom):
    """Six slices, their files named against their order in space."""
    for k, pixels in enumerate(STORED):
        dicom(tmp_path / "scan" / f"IM{9 - k}", pixels, z_mm=2.5 * k, number=k + 1)
    return tmp_path / "scan"


def nifti(path, volume, affine, **header):
    nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")
    image = nibabel.Nifti1Image(volume, affine)
    for name, value in header.items():
        image.header[name] = value
    image.header["descrip"] = SECRET
    nibabel.save(image, path)
    return path


def test_a_series_lies_in_its_order_in_hounsfield_units(series):
    found = data.read_images(series)
    assert (found.unit, found.value_max, found.attrs) == ("HU", 1.0, {"spacing_mm": 0.7})
    assert found.values.dtype == np.int16 and np.array_equal(found.values[:, 0], STORED.astype(int) - 1024)
    held = data.read_images(series, subset="validation")
    assert np.array_equal(held.values[:, 0], STORED[5:].astype(int) - 1024) and "the last 1 of 6" in held.notes[0]
    assert set(data.image_sizes(series)) == {(10, 12)}


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -10.25), (2, 0), (1, 0.5)])
def test_slope_and_intercept_are_always_applied(tmp_path, dicom, slope, intercept):
    dicom(tmp_path / "a.dcm", STORED[0], RescaleSlope=slope, RescaleIntercept=intercept)
    image = data.read_image(tmp_path / "a.dcm")
    assert image.unit == "HU" and image.kind == "dicom"
    assert np.allclose(image.values[0], STORED[0] * slope + intercept, atol=1e-4)


def test_a_slope_of_each_slice_is_its_own(tmp_path, dicom):
    for k in range(3):
        dicom(tmp_path / f"{k}.dcm", STORED[k], k, RescaleSlope=k + 1, Modality="PT", RescaleIntercept=0)
    found = data.read_images(tmp_path)
    assert found.unit == "raw"
    assert np.allclose(found.values[:, 0], STORED[:3] * np.array([1, 2, 3])[:, None, None])


def test_signed_frames_of_one_file(tmp_path, dicom):
    frames = STORED[:3].astype(np.int16) - 700
    dicom(tmp_path / "a.dcm", frames)
    found = data.read_images(tmp_path / "a.dcm")
    assert np.array_equal(found.values[:, 0], frames - 1024)


def test_the_slice_that_comes_with_pydicom_is_in_hounsfield_units():
    examples = pytest.importorskip("pydicom.examples", reason="the extra `medical` is not installed")
    image = data.read_image(examples.get_path("ct"))
    assert image.values.shape == (1, 128, 128) and image.unit == "HU"
    assert -1100 < image.values.min() < -850 and 900 < image.values.max() < 3000  # air and bone


def test_whole_series_are_held_out(tmp_path, dicom):
    for patient in range(12):
        for k in range(2):
            dicom(tmp_path / f"p{patient:02}/{k}.dcm", STORED[k] + patient, k, SeriesInstanceUID=f"1.{patient}")
    train, held = (data.read_images(tmp_path, subset=name) for name in ("train", "validation"))
    assert len(train.values) == 22 and "the last 1 of 12 volumes" in train.notes[0]
    assert np.array_equal(held.values[:, 0], STORED[:2].astype(int) + 11 - 1024)


@pytest.mark.parametrize(
    ("tags", "name"),
    [({"SeriesInstanceUID": "1.2.3"}, "SeriesInstanceUID"), ({"Modality": "MR"}, "Modality"),
     ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, "ImageOrientationPatient"),
     ({"ImagePositionPatient": [0, 0, 2.5]}, "ImagePositionPatient")],
)  # fmt: skip
def test_19_mixed_series_are_refused_by_tag_name(series, dicom, refuses, tags, name):
    dicom(series / "other.dcm", STORED[0], 15.0, 7, **tags)
    with refuses("E-SERIES", 3, name, "subfolder"):
        data.read_images(series)


def test_19_missing_slices_are_refused(series, refuses):
    (series / "IM6").unlink()
    with refuses("E-SERIES", 3, "1 missing between 5", "ImagePositionPatient"):
        data.read_images(series)


def test_19_missing_numbers_are_refused_where_there_are_no_positions(tmp_path, dicom, refuses):
    for k in (1, 2, 3, 6):
        dicom(tmp_path / f"{k}.dcm", STORED[k % 3], None, k)
    with refuses("E-SERIES", 3, "2 missing", "InstanceNumber"):
        data.read_images(tmp_path)


def test_19_compressed_without_a_decoder(tmp_path, dicom, refuses):
    from pydicom.uid import JPEGLSLossless

    from data.dicom import decodable

    if decodable(JPEGLSLossless):
        pytest.skip("a decoder for JPEG-LS is installed")
    dicom(tmp_path / "a.dcm", STORED[0], syntax=JPEGLSLossless)
    with refuses("E-FORMAT", 3, "TransferSyntaxUID", "JPEG-LS"):
        data.read_image(tmp_path / "a.dcm")


def test_broken_dicom_never_tells_whose_it_is(tmp_path, dicom, refuses, caplog, recwarn):
    dicom(tmp_path / "a.dcm", STORED[0], ImageComments=SECRET)
    whole = (tmp_path / "a.dcm").read_bytes()
    (tmp_path / "a.dcm").write_bytes(whole[:-40])
    with pytest.raises(data.InputRefused) as caught:
        data.read_image(tmp_path / "a.dcm")
    (tmp_path / "a.dcm").write_bytes(whole.replace(b"0.7\\0.7", f"{SECRET[:7]}".encode()))
    try:
        data.read_image(tmp_path / "a.dcm")
    except data.InputRefused as refusal:
        assert "Doe" not in str(refusal)
    assert "Doe" not in str(caught.value) + caplog.text + "".join(str(w.message) for w in recwarn)


def test_dicom_without_a_picture_and_in_colour(tmp_path, dicom, refuses):
    dicom(tmp_path / "a.dcm", STORED[0], PhotometricInterpretation="RGB", SamplesPerPixel=3)
    with refuses("E-FORMAT", 3, "PhotometricInterpretation"):
        data.read_image(tmp_path / "a.dcm")
    with refuses("E-LIMIT", 7, "120 pixels"):
        dicom(tmp_path / "b.dcm", STORED[0])
        data.read_image(tmp_path / "b.dcm", max_pixels=100)


def test_volumes_beside_pictures_are_refused(series, refuses):
    data.write_image(series / "a.png", STORED[:1], 0, 3000)
    with refuses("E-LAYOUT", 3, "folder of their own"):
        data.read_images(series)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_slices_lie_as_dicom_shows_them(tmp_path, suffix):
    lps = RNG.integers(-1000, 2000, (4, 5, 6)).astype(np.int16)  # slice (to the head), row (to the back), column (left)
    ras = lps.transpose(2, 1, 0)[::-1, ::-1]  # x to the right, y to the front
    path = nifti(tmp_path / f"a{suffix}", ras, np.diag([0.8, 0.8, 3.0, 1]))
    found = data.read_images(path)
    assert np.array_equal(found.values[:, 0], lps) and found.values.dtype == np.int16 and found.unit == "raw"
    assert found.attrs["spacing_mm"] == pytest.approx(0.8)
    assert np.allclose(found.attrs["affine"], np.diag([0.8, 0.8, 3, 1]))
    assert data.sniff(path) == "nifti" and data.image_sizes(path) == [(5, 6)] * 4
    sagittal = np.zeros((4, 4))
    sagittal[2, 0], sagittal[0, 1], sagittal[1, 2], sagittal[3, 3] = 3.0, -0.8, -0.8, 1  # axes: up, left, back
    turned = nifti(tmp_path / f"b{suffix}", lps.transpose(0, 2, 1), sagittal)
    assert np.array_equal(data.read_images(turned).values[:, 0], lps)


def test_nifti_slope_is_applied_and_kinds_of_headers_are_read(tmp_path):
    nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")
    volume = RNG.integers(0, 100, (6, 5, 4)).astype(np.int16)
    image = nibabel.Nifti1Image(volume, np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(0.5, -3.0)
    image.to_filename(tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    stored = np.frombuffer(content, "<i2", volume.size, 352).reshape(volume.shape, order="F")
    found = data.read_images(tmp_path / "a.nii")
    assert np.allclose(found.values[:, 0], (0.5 * stored - 3).transpose(2, 1, 0), atol=1e-5)
    nibabel.save(nibabel.Nifti2Image(volume, np.diag([-1, -1, 1, 1])), tmp_path / "b.nii")
    assert np.array_equal(data.read_images(tmp_path / "b.nii").values[:, 0], volume.transpose(2, 1, 0))
    big = nibabel.Nifti1Header(endianness=">")
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1, -1, 1, 1]), big), tmp_path / "c.nii")
    assert np.array_equal(data.read_images(tmp_path / "c.nii").values[:, 0], volume.transpose(2, 1, 0))


def test_19_singular_affine_broken_and_large_nifti(tmp_path, refuses):
    volume = np.zeros((6, 5, 4), np.int16)
    path = nifti(tmp_path / "a.nii", volume, np.eye(4))
    content = bytearray(path.read_bytes())
    content[296:328] = np.array([0.5, 0.5, 0, 0] * 2, "<f4").tobytes()  # two rows of the sform
    path.write_bytes(content)
    with refuses("E-GEOMETRY", 3, "singular", "sform"):
        data.read_images(path)
    path = nifti(tmp_path / "b.nii.gz", volume, np.eye(4))
    with refuses("E-LIMIT", 7, "120 pixels"):
        data.read_images(path, max_pixels=11)
    content = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(content)[:-200] if len(content) > 2000 else gzip.compress(content[:400]))
    with refuses("E-FORMAT", 3, "broken NIfTI"):
        data.read_images(path)
    path = nifti(tmp_path / "c.nii", np.zeros((3, 3, 3, 2), np.int16), np.eye(4))
    with refuses("E-LAYOUT", 3, "(3, 3, 3, 2)"):
        data.read_images(path)


def test_a_folder_of_nifti_volumes_of_different_sizes(tmp_path, refuses):
    for k, side in enumerate((10, 12, 14)):
        nifti(tmp_path / f"{k}.nii", np.full((side, side, 2), k, np.int16), np.diag([1, 1, 2, 1]))
    with refuses("E-LAYOUT", 3, "to one size"):
        data.read_images(tmp_path)
    held = data.read_images(tmp_path, subset="validation", size=8)
    assert held.values.shape == (2, 1, 8, 8) and (held.values == 2).all()


def test_without_the_extra_the_error_names_it(tmp_path, dicom, refuses, monkeypatch):
    dicom(tmp_path / "a.dcm", STORED[0])
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    with refuses("E-EXTRA", 2, 'pip install "recon[medical]"'):
        data.read_image(tmp_path / "a.dcm")
