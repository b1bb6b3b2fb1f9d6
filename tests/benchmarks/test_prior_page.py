"""The committed page of the bundled priors says what their headers say, and has a picture of each."""

from __future__ import annotations

from pathlib import Path

import data
from recon.checkpoint import bundled_priors
from tests.benchmarks.prior_page import PAGE, page, picture

DOCS = Path(__file__).parents[2] / "data" / "docs" / "priors"


def test_the_page_is_that_of_the_bundled_priors():
    names = bundled_priors()
    assert (DOCS / PAGE).read_text(encoding="utf-8") == page({k: data.prior_header(v) for k, v in names.items()})
    for name in names:
        assert data.read_image(DOCS / picture(name)).values.std() > 0.05
