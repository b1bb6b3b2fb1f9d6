"""Forward models: how an image becomes data.

`OPERATORS` holds the factories, each called with keywords: OPERATORS["blur"](shape=(64, 64), std=2.0). Each
operator it builds carries `spec`, from which OPERATORS[spec["name"]](**spec["parameters"]) builds it again.
"""

from operators.adapters import from_skimage, to_skimage
from operators.astra_geometry import astra_geometry
from operators.basic import Dense, Identity, identity
from operators.blur import blur
from operators.channels import RealToComplex, to_channels, to_complex
from operators.coils import estimate_coils, low_resolution_coils
from operators.colour import ChannelSum, grey, mosaic
from operators.compressed import hadamard, random_projection
from operators.correlated import CorrelatedGaussian
from operators.counts import Poisson, TransmissionCT
from operators.crop import Crop
from operators.ct import ct
from operators.diagnosis import Diagnosis, check
from operators.diagonal import Diagonal
from operators.each import Each
from operators.fan import ct_fan
from operators.fbp import fbp
from operators.foreign import from_functions, from_scipy, to_scipy
from operators.geometry import field_of_view
from operators.hounsfield import from_hounsfield, to_hounsfield
from operators.inpaint import inpaint
from operators.linear import Adjoint, Chain, Compose, FromFunctions, LinearOperator, Operator, Scaled, Sum
from operators.magnitude import Rician
from operators.masks import sampling_mask
from operators.mri import mri
from operators.noise import Gaussian, Laplace
from operators.nonlinear import Clip, Magnitude, Quantise, clip, quantise
from operators.phase import Pad, phase_retrieval
from operators.physics import from_deepinv, noise_from_deepinv, to_deepinv
from operators.probes import dense_matrix, dot_test, operator_norm
from operators.resample import downsample
from operators.solve import cg, conjugate_residuals, least_squares
from operators.sparse import SparseMatrix
from operators.stack import Stack
from operators.trajectories import radial_trajectory, spiral_trajectory

OPERATORS = {
    "identity": identity,
    "inpaint": inpaint,
    "blur": blur,
    "downsample": downsample,
    "ct": ct,
    "ct_fan": ct_fan,
    "mri": mri,
    "mosaic": mosaic,
    "grey": grey,
    "hadamard": hadamard,
    "random_projection": random_projection,
    "clip": clip,
    "quantise": quantise,
    "phase_retrieval": phase_retrieval,
}
NOISES = {
    "gaussian": Gaussian,
    "laplace": Laplace,
    "poisson": Poisson,
    "transmission": TransmissionCT,
    "rician": Rician,
    "correlated": CorrelatedGaussian,
}

__all__ = [
    "NOISES", "OPERATORS", "Adjoint", "Chain", "ChannelSum", "Clip", "Compose", "CorrelatedGaussian", "Crop",
    "Dense", "Diagnosis", "Diagonal", "Each", "FromFunctions", "Gaussian", "Identity", "Laplace",
    "LinearOperator", "Magnitude", "Operator", "Pad", "Poisson", "Quantise", "RealToComplex", "Rician",
    "Scaled", "SparseMatrix", "Stack", "Sum", "TransmissionCT", "astra_geometry", "cg", "check", "clip",
    "conjugate_residuals", "dense_matrix", "dot_test", "estimate_coils", "fbp", "field_of_view", "from_deepinv",
    "from_functions", "from_hounsfield", "from_scipy", "from_skimage", "grey", "hadamard", "least_squares",
    "low_resolution_coils", "mosaic", "mri", "noise_from_deepinv", "operator_norm", "phase_retrieval",
    "quantise", "radial_trajectory", "random_projection", "sampling_mask", "spiral_trajectory", "to_channels",
    "to_complex", "to_deepinv", "to_hounsfield", "to_scipy", "to_skimage",
]
