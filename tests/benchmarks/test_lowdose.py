"""Units of the low-dose study, and that its pieces fit one another."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

import recon
from tests.benchmarks import lowdose


def test_hounsfield_units_there_and_back():
    hu = torch.tensor([-1000.0, -105.0, 0.0, 45.0, 2000.0], dtype=torch.float64)
    mu = lowdose.attenuation(hu)
    assert mu.tolist() == pytest.approx([0.0, 0.895 * 0.0193, 0.0193, 1.045 * 0.0193, 3 * 0.0193])
    torch.testing.assert_close(lowdose.hounsfield(mu), hu)
    assert lowdose.attenuation(torch.tensor(-1024.0)) == 0.0


@pytest.mark.parametrize(("grey", "hu"), [(38, -1024), (42, -1000), (196, -105), (220, 45)])
def test_the_priors_greys_are_the_tissues_hounsfield_units(grey, hu):
    """The modes of the two sets of images agree within 15 HU under the stated window."""
    prior = lowdose.in_attenuation(SimpleNamespace(units=recon.Units(0.5, 0.5, "[0,1]")))
    normalised = 2 * grey / 255 - 1
    mu = prior.units.scale * normalised + prior.units.shift
    assert float(lowdose.hounsfield(torch.tensor(mu, dtype=torch.float64))) == pytest.approx(hu, abs=15)


def test_counts_and_filtered_backprojection_of_a_disc():
    rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, 48)] * 2, indexing="ij")
    hu = torch.where(rows**2 + columns**2 < 0.6, 40.0, -1000.0)[None, None]
    m = lowdose.measure(hu, 2.0, 1e6, seed=0)
    assert m.y.shape[-2] == lowdose.VIEWS and float(m.y.max()) == pytest.approx(1e6, rel=0.01)
    assert float(m.chi_square(lowdose.attenuation(hu))) == pytest.approx(1.0, abs=0.1)
    found = lowdose.classical(m, "fbp", {"window": "hann"})
    assert abs(float(found[..., 20:28, 20:28].mean()) - 40) < 20
    assert lowdose.scores(hu, hu)["psnr"] > 100 and lowdose.scores(hu + 20, hu)["psnr"] == pytest.approx(40, abs=0.1)


def test_what_the_prior_does_not_know_is_told_apart():
    hu = torch.zeros(1, 1, 20, 20)
    hu[..., 4, 5] = 900.0
    unknown = ~lowdose.known(hu)
    assert unknown.sum() == 25 and unknown[0, 0, 2:7, 3:8].all()
    noise = torch.randn(8, 1, 1, 20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = hu + 30 * torch.randn(hu.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    samples = lowdose.attenuation(30 * noise)  # that never show what is beyond
    found = lowdose.apart(recon.Posterior(samples), truth)
    assert found["coverage_known"] == pytest.approx(0.9, abs=0.04)
    assert found["spread_over_error_known"] == pytest.approx(1.0, abs=0.1)
    squares = (samples.mean(0) - lowdose.attenuation(truth)).square()
    assert found["error_unknown"] == pytest.approx(float(squares[unknown].sum() / squares.sum()))
    assert found["pixels_unknown"] == pytest.approx(25 / 400) and found["error_unknown"] > 0.6
