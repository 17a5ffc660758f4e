"""Mel-frequency cepstra as SyncNet hears them (spec training 3.2): those of `python_speech_features`, in its defaults.

That package is no longer maintained; the few lines stand here and it serves as their peer in the parity table.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft
from jaxtyping import Float, Float64, Num

EPSILON = np.finfo(np.float64).eps
"""Takes the place of exact zeros before a logarithm."""


@dataclass(frozen=True)
class MFCCConfig:
    """Lengths in samples, frequencies in hertz."""

    rate: int = 16000
    window: int = 400
    step: int = 160
    coefficients: int = 13
    bands: int = 26
    n_fft: int = 512
    low: float = 0.0
    high: float = 8000.0
    preemphasis: float = 0.97
    lifter: int = 22


def mfcc(wave: Num[np.ndarray, " n"], cfg: MFCCConfig = MFCCConfig()) -> Float64[np.ndarray, "m c"]:
    """One row of coefficients for every `cfg.step` samples of 16-bit size, that is, in [-32768, 32767].

    The last row is filled up with silence. The first coefficient is the logarithm of the row's energy.

    Raises:
      ValueError: there is no sample.
    """
    frames = cut(emphasise(wave, cfg), cfg)
    power = np.abs(scipy.fft.rfft(frames, cfg.n_fft)) ** 2 / cfg.n_fft
    # Not by BLAS, whose threads would cost more in waiting than they gain, beside a training that uses every core.
    bands = np.log(no_zeros(np.einsum("mb,nb->mn", power, mel_bank(cfg))))
    cepstra = scipy.fft.dct(bands, type=2, norm="ortho")[:, : cfg.coefficients]
    cepstra = cepstra * (1 + cfg.lifter / 2 * np.sin(np.pi * np.arange(cfg.coefficients) / cfg.lifter))
    cepstra[:, 0] = np.log(no_zeros(power.sum(axis=1)))
    return cepstra


def emphasise(wave: Num[np.ndarray, " n"], cfg: MFCCConfig) -> Float[np.ndarray, " n"]:
    """Every sample minus most of the one before it; float32 stays float32 here, as in the reference."""
    if wave.ndim != 1 or not wave.size:
        raise ValueError(f"MFCC needs the samples of one channel, got an array of shape {wave.shape}")
    return np.append(wave[:1], wave[1:] - cfg.preemphasis * wave[:-1])


def cut(wave: Float[np.ndarray, " n"], cfg: MFCCConfig) -> Float64[np.ndarray, "m w"]:
    """Overlapping windows, the last one filled up with zeros."""
    steps = max(0, -(-(wave.size - cfg.window) // cfg.step))
    padded = np.zeros(steps * cfg.step + cfg.window)
    padded[: wave.size] = wave
    return np.lib.stride_tricks.sliding_window_view(padded, cfg.window)[:: cfg.step]


def mel_bank(cfg: MFCCConfig) -> Float64[np.ndarray, "bands bins"]:
    """Triangles over the bins of the Fourier transform, evenly spaced in mel, with corners at whole bins."""
    low, high = (2595 * np.log10(1 + hertz / 700) for hertz in (cfg.low, cfg.high))
    hertz = 700 * (10 ** (np.linspace(low, high, cfg.bands + 2) / 2595) - 1)
    corners = np.floor((cfg.n_fft + 1) * hertz / cfg.rate)[:, None]
    left, middle, right = corners[:-2], corners[1:-1], corners[2:]
    bins = np.arange(cfg.n_fft // 2 + 1)
    # Corners that fall on one bin make a side of no width, which no bin belongs to.
    rising = (bins - left) / np.maximum(middle - left, 1)
    falling = (right - bins) / np.maximum(right - middle, 1)
    return np.where((left <= bins) & (bins < middle), rising, np.where((middle <= bins) & (bins < right), falling, 0))


def no_zeros(x: Float64[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
    """Exact zeros replaced by the smallest step of float64 at one."""
    return np.where(x == 0, EPSILON, x)
