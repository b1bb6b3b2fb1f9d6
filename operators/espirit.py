"""Coil maps as the vectors that k-space's own linear relations leave unchanged: ESPIRiT.

Every k x k patch of the coils' k-space, in the calibration block, lies in the space V of few patches: the maps are
smooth, so their spectra are narrow. A point at r puts S_c(r) exp(-2 pi i k r) into each patch, so S(r) is kept by the
projection onto V, taken to r:

    G_cd(r) = sum_i v_ic(r) conj(v_id(r)) / k^2,    v_ic(r) = sum_k V_ic(k) exp(2 pi i k r),    G(r) S(r) = S(r)

G needs no transform of single patches: its own transform is the sum of their correlations, (2k - 1)^2 wide.

Reference: Uecker et al., "ESPIRiT, an eigenvalue approach to autocalibrating parallel MRI: where SENSE meets GRAPPA",
    Magnetic Resonance in Medicine, 2014, section Theory.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def eigen_maps(
    block: np.ndarray, shape: tuple[int, int], kernel: int = 6, threshold: float = 0.02
) -> tuple[np.ndarray, np.ndarray]:
    """The vector S(r) of largest eigenvalue of G(r), and that eigenvalue: about 1 where there is an object.

    Args:
        block: (C, h, w) complex, sampled throughout, around the origin of k-space.
        shape: (H, W) of the maps.
        kernel: k, the side of a patch, at most h and w.
        threshold: patches whose singular value is below this share of the largest are noise.

    Returns:
        (C, H, W) complex with sum |S|^2 = 1 over the coils and any phase at each pixel; (H, W) in 0 .. 1.
    """
    coils = len(block)
    patches = sliding_window_view(block, (kernel, kernel), axis=(1, 2)).transpose(1, 2, 0, 3, 4)
    _, s, Vh = np.linalg.svd(patches.reshape(-1, coils * kernel**2), full_matrices=False)
    V = Vh[s > threshold * s[0]].reshape(-1, coils, kernel, kernel)
    G = projection(V, shape)
    values, vectors = np.linalg.eigh(G)
    return np.moveaxis(vectors[..., -1], -1, 0), values[..., -1]


def projection(V: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """G (H, W, C, C), for patches V (n, C, k, k); the origin of r is at (H // 2, W // 2)."""
    kernel = V.shape[-1]
    spectra = np.fft.fft2(V, (2 * kernel, 2 * kernel))
    products = np.einsum("nchw,ndhw->cdhw", spectra, spectra.conj(), optimize=True)
    lags = np.fft.fftshift(np.fft.ifft2(products), axes=(2, 3))[:, :, 1:, 1:]  # -(k - 1) .. k - 1
    G = np.zeros((*lags.shape[:2], *shape), complex)
    at = np.arange(1 - kernel, kernel)
    G[:, :, (at % shape[0])[:, None], at % shape[1]] = lags
    G = np.fft.fftshift(np.fft.ifft2(G, norm="forward"), axes=(2, 3)) / kernel**2
    return G.transpose(2, 3, 0, 1)
