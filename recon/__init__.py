"""Posterior sampling for inverse problems with learned diffusion priors. See the README for a first walk."""

from recon import metrics
from recon.analytic import GaussianPrior, MixturePrior
from recon.checkpoint import bundled_priors, load_prior, save_prior
from recon.classical import CLASSICAL
from recon.classifier import (
    Classifier,
    bundled_classifiers,
    load_classifier,
    save_classifier,
    train_classifier,
)
from recon.density import Density, decode, dequantised, encode, log_density, log_density_bound
from recon.export import export_diffusers
from recon.foreign import load_diffusers
from recon.likelihood import Measurement
from recon.nullspace import null_space
from recon.posterior import Posterior
from recon.presets import METHODS
from recon.prior import Prior, ScorePrior, Units
from recon.reconstruct import reconstruct, sample_prior
from recon.sampling import Method, sample
from recon.sde import SDE, SDES, VE, VP, Discrete, SubVP
from recon.steps import STEPS
from recon.train_config import TrainConfig
from recon.training import train
from recon.typicality import Band, Typicality, add_band, judge, measure_band

__all__ = [
    "CLASSICAL",
    "METHODS",
    "SDE",
    "SDES",
    "STEPS",
    "VE",
    "VP",
    "Band",
    "Classifier",
    "Density",
    "Discrete",
    "GaussianPrior",
    "Measurement",
    "Method",
    "MixturePrior",
    "Posterior",
    "Prior",
    "ScorePrior",
    "SubVP",
    "TrainConfig",
    "Typicality",
    "Units",
    "add_band",
    "bundled_classifiers",
    "bundled_priors",
    "decode",
    "dequantised",
    "encode",
    "export_diffusers",
    "judge",
    "load_classifier",
    "load_diffusers",
    "load_prior",
    "log_density",
    "log_density_bound",
    "measure_band",
    "metrics",
    "null_space",
    "reconstruct",
    "sample",
    "sample_prior",
    "save_classifier",
    "save_prior",
    "train",
    "train_classifier",
]
