"""What the commands can name, in words: help and `recon info` need no torch. A test holds it to the code."""

from __future__ import annotations

STEPS = 50

OPERATORS = {
    "identity": "y = x: denoising",
    "inpaint": "some pixels: --keep SHARE, --mask FILE (white = kept), --box TOP,LEFT,HEIGHT,WIDTH (hidden)",
    "blur": "convolution: --std PIXELS, --kernel FILE, --motion LENGTH,ANGLE_DEG; --boundary circular|zero",
    "downsample": "lower resolution: --factor N; --kernel average|bicubic",
    "ct": "parallel-beam projections: --angles COUNT or START:STOP:COUNT in degrees; --detectors N",
    "ct_fan": "fan-beam projections: --angles COUNT (over a full turn) or START:STOP:COUNT; --set source_mm=570 --set "
    "detector_mm=1040, detector=flat|curved, spacing_mm=0.8",
    "mri": "k-space: --set acceleration=4, center_fraction=0.08, kind=random|equispaced|gaussian|poisson as fastMRI "
    "names them, or --mask FILE, or trajectory=radial|spiral; coils=FILE",
    "mosaic": "colour through a Bayer filter, for priors of colour images: --set pattern=RGGB",
    "grey": "colour to grey, for priors of colour images: --set weights=0.2125,0.7154,0.0721",
    "hadamard": "compressed sensing by a scrambled Hadamard transform: --set ratio=0.25",
    "random_projection": "compressed sensing by a dense random matrix, small images: --set ratio=0.25",
    "clip": "values cut off, as in a photograph exposed too long: --set gain=2 low=0 high=1; nonlinear",
    "quantise": "values rounded to few steps: --set bits=4; nonlinear",
    "phase_retrieval": "magnitudes of the Fourier transform: --set oversampling=2 patterns=4; nonlinear",
}
NOISES = {
    "gaussian": "the same everywhere: --noise SIGMA or SHARE%",
    "laplace": "with outliers, of mean size --noise",
    "poisson": "counts of --photons for a value of 1: --set background=COUNTS",
    "transmission": "ct: photons behind a body, of --photons without it: --set electronic=COUNTS",
    "rician": "magnitudes of complex values with noise of --noise in each part",
    "correlated": "normal noise L n whose values depend on each other: --set factor=L.npy axes=-1",
}
METHODS = {
    "spectral": "the default: as moment at one backpropagation a call, by the prior's error spectrum; "
    "from 100 calls on by four weighted particles a sample (ours)",
    "spectral_draw": "exact draws under that spectrum, no backpropagation: cheaper calls (ours)",
    "pigdm": "guidance by the whitened residual, white spread (Song et al. 2023)",
    "moment": "as pigdm, with the prior's covariance from its Jacobian; several calls a step",
    "dps": "gradient of the residual norm (Chung et al. 2023); many steps",
    "ddnm": "estimate projected onto the data (Wang et al. 2023)",
    "dds": "estimate pulled to the data by conjugate gradients (Chung et al. 2024)",
    "diffpir": "estimate by a proximal step (Zhu et al. 2023)",
    "daps": "decoupled annealing: posterior draw and full re-noising (Zhang et al. 2024)",
    "song2022": "state pulled to noisy data (Song et al. 2022)",
    "lgd": "likelihood averaged over draws around the estimate (Song et al. 2023)",
    "mcg": "as dps, and the state projected onto noisy data (Chung et al. 2022)",
    "ddnm_plus": "as ddnm, by singular value against noise (Wang et al. 2023); needs singular vectors",
    "ddrm": "each singular value by its own noise (Kawar et al. 2022); needs singular vectors",
    "pnpdm": "split Gibbs: posterior draws and denoising runs in turn (Wu et al. 2024)",
    "csgm": "annealed Langevin dynamics (Jalal et al. 2021); many steps",
    "score_mri": "state pulled to the data by the adjoint (Chung and Ye 2022)",
    "predictor_corrector": "Song's predictor and a Langevin or Metropolis corrector on the default's estimate",
    "repaint": "known pixels put back at each level (Lugmayr et al. 2022); inpainting only",
    "smc": "particles drawn to each datum at its noise level (MCGDiff, Cardoso et al. 2023); needs singular vectors",
    "tds": "particles guided as in pigdm and reweighted (Wu et al. 2023); any operator",
    "population": "one filter whose particles are the samples, for few data and several modes; --samples 50 up (ours)",
    "reddiff": "point estimate by Adam over the levels (Mardani et al. 2023); no posterior spread",
    "energy": "pigdm with a penalty of the image: tv, squared, entropy",
}
SOLVERS = {
    "ancestral": "DDPM's, fresh noise at every level",
    "ancestral2m": "the same, order 2 in law, one call (SDE-DPM-Solver++ 2M): keeps the variance at few calls",
    "euler": "the probability-flow ODE, which is DDIM without noise",
    "heun": "the same, order 2, two calls a level",
    "dpm2m": "the same, order 2, one call (DPM-Solver++ 2M)",
    "dpm3m": "the same, order 3, one call (DPM-Solver++ 3M)",
    "unipc": "the same, order 3, one call, with a corrector (UniPC)",
    "rk45": "the same, order 5 with error control: six calls a level, or as many as the error asks for",
    "churn": "Heun after fresh noise, order 2, two calls (EDM's stochastic sampler)",
    "euler_maruyama": "the reverse SDE in its own time",
    "predictor": "Song's reverse-diffusion predictor",
}
CLASSICAL = {
    "fbp": "filtered backprojection; ct and ct_fan",
    "tv": "total variation",
    "pinv": "pseudo-inverse (least squares of least norm)",
}
SDES = {
    "vp": "variance preserving",
    "ve": "variance exploding",
    "subvp": "sub-variance preserving",
    "discrete": "variance preserving in the finite steps of a diffusers model; loaded, not trained",
}


def names(entries: dict[str, str]) -> str:
    """The names of a list, for help texts."""
    return ", ".join(entries)
