"""Inpainting: which pixels are kept, and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from operators import OPERATORS

FACTORIES = OPERATORS
inpaint = OPERATORS["inpaint"]
SHAPE = (8, 6)


def test_data_are_the_image_where_observed_and_zero_elsewhere():
    mask = np.zeros(SHAPE, dtype=bool)
    mask[2, 3] = mask[5, 0] = True
    x = torch.randn(2, 3, *SHAPE)
    y = inpaint(shape=SHAPE, mask=mask)(x)
    assert torch.equal(y[..., 2, 3], x[..., 2, 3]) and torch.equal(y[..., 5, 0], x[..., 5, 0])
    assert int((y != 0).sum()) == 2 * 3 * 2


@pytest.mark.parametrize("keep", [0.05, 0.4, 0.55, 1.0])
def test_keep_is_met_to_the_pixel(keep):
    kept = inpaint(shape=(20, 13), keep=keep).mask
    assert int(kept.sum()) == round(keep * 20 * 13)


def test_the_random_mask_depends_on_the_seed_alone():
    first, again, other = (inpaint(shape=SHAPE, keep=0.5, seed=seed).mask for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    rows = inpaint(shape=(400, 400), keep=0.5).mask.double()
    assert abs(float((rows[:, 1:] * rows[:, :-1]).mean()) - 0.25) < 0.01, "neighbours are independent"


def test_the_box_is_what_is_missing():
    mask = inpaint(shape=SHAPE, box=(1, 2, 3, 4)).mask
    assert not mask[1:4, 2:6].any() and int(mask.sum()) == 48 - 12


def test_a_mask_for_each_channel_fixes_the_channels():
    masks = np.random.default_rng(0).random((3, *SHAPE)) < 0.5
    A = inpaint(shape=SHAPE, mask=torch.from_numpy(masks))
    assert A.in_shape == (3, *SHAPE)
    x = torch.randn(2, 3, *SHAPE)
    assert torch.equal(A(x), x * torch.from_numpy(masks))


@pytest.mark.parametrize("mask", [np.eye(8, 6), np.eye(8, 6, dtype=np.uint8), torch.eye(8, 6)])
def test_zero_and_one_are_a_mask(mask):
    assert torch.equal(inpaint(shape=SHAPE, mask=mask).mask, torch.eye(8, 6, dtype=torch.bool))


@pytest.mark.parametrize("arguments, message", [
    ({}, "got none of keep, mask and box; expected exactly one"),
    (dict(keep=0.5, box=(0, 0, 1, 1)), "got keep and box; expected exactly one"),
    (dict(keep=0.0), "keep: got 0.0; expected one finite number above 0"),
    (dict(keep=-0.1), "keep: got -0.1"),
    (dict(keep=40), "keep: got 40; expected a share in .0, 1.; divide a percentage by 100: keep=0.4"),
    (dict(keep=float("nan")), "keep: got nan"),
    (dict(keep="0.4"), "keep: got '0.4'"),
    (dict(keep=0.001), "at least one observed pixel"),
    (dict(mask=np.ones((6, 8))), r"mask: got shape \(6, 8\); expected \(8, 6\).*transpose the mask"),
    (dict(mask=np.ones((4, 4))), r"mask: got shape \(4, 4\).*resize the mask"),
    (dict(mask=255 * np.ones(SHAPE)), r"values from 255 to 255; expected True/False, or 0 and 1; .*mask > 0"),
    (dict(mask=np.full(SHAPE, np.nan)), r"48 entries that are NaN .*first at index \(0, 0\)"),
    (dict(mask=np.zeros(SHAPE)), "at least one observed pixel.*invert the mask"),
    (dict(mask=np.ones(SHAPE, dtype=complex)), "mask: got dtype complex128"),
    (dict(box=(0, 0, 8, 6)), "at least one observed pixel"),
    (dict(box=(6, 0, 3, 2)), r"box: got \(6, 0, 3, 2\); expected \(top, left, height, width\)"),
    (dict(box=(-1, 0, 3, 2)), "box"),
    (dict(box=(0, 0, 0, 2)), "box"),
    (dict(box=(0.5, 0, 1, 2)), "whole pixels"),
    (dict(box=(0, 0, 3)), "box"),
])
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        inpaint(shape=SHAPE, **arguments)


@pytest.mark.parametrize("shape", [(8,), (8, 6, 1), (0, 6), (8.5, 6), 8, "ab"])
@pytest.mark.parametrize("name", FACTORIES)
def test_every_factory_wants_height_and_width(name, shape):
    fan = dict(angles=3, source_mm=20.0, detector_mm=35.0)
    rest = {"inpaint": dict(keep=0.5), "blur": dict(std=1.0), "ct": dict(angles=3), "ct_fan": fan}.get(name, {})
    with pytest.raises(ValueError, match="shape: got"):
        FACTORIES[name](shape=shape, **rest)
