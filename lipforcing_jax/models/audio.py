"""Nano's ear: log-mel bands and a small convolutional network at 25 features a second.

It looks `look_ahead` video frames into the future and a fixed number into the past, and nowhere else: features of a
bounded window equal those of the whole file, so streams and files agree.
"""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.models.presets import LogMelConfig

PAST_TAPS, FUTURE_TAPS = 2, 1
"""Video frames that one layer sees before and after its own."""


def mel_filters(bands: int, n_fft: int, sample_rate: int) -> Float[np.ndarray, "bins bands"]:
    """Triangular filters, evenly spaced on the mel scale (2595 log10(1 + f / 700)) from 50 Hz to 7.6 kHz."""
    mel = lambda f: 2595 * np.log10(1 + f / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(mel(50.0), mel(7600.0), bands + 2) / 2595) - 1)
    bins = np.fft.rfftfreq(n_fft, 1 / sample_rate)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def log_mel(audio: Float[Array, "b n"], cfg: LogMelConfig) -> Float[Array, "b m bands"]:
    """Log energies, `hops_per_frame` rows per video frame, about zero mean and unit spread for speech.

    Row j is centred on sample (j + 1/2) hop; the ends are padded with silence by half an analysis window.
    """
    hop = cfg.sample_rate // cfg.fps // cfg.hops_per_frame
    side = (cfg.n_fft - hop) // 2
    padded = jnp.pad(audio, ((0, 0), (side, cfg.n_fft - hop - side)))
    count = audio.shape[1] // hop
    rows = padded[:, np.arange(count)[:, None] * hop + np.arange(cfg.n_fft)[None, :]]
    window = jnp.asarray(np.hanning(cfg.n_fft), audio.dtype)
    power = jnp.abs(jnp.fft.rfft(rows * window, axis=-1)) ** 2
    energies = power @ mel_filters(cfg.bands, cfg.n_fft, cfg.sample_rate)
    return (jnp.log10(energies + 1e-5) + 1.5) / 1.5


def usual_spectrum(energies: Float[Array, "b t bands"], memory: int) -> Float[Array, "b t2 bands"]:
    """Mean of the loud among each frame and the `memory` frames before it; those that have fewer are used up.

    What a voice, a room and a microphone have in common over time. Silence tells nothing of them and counts little;
    where there was nothing else the mean is near zero, which is that of all speech.
    """
    loud = jax.nn.sigmoid(4 * energies.mean(axis=-1, keepdims=True) + 2)
    over = lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, memory + 1, 1), (1, 1, 1), "VALID")  # noqa: E731
    return over(loud * energies) / (over(loud) + 1)


class Layer(nnx.Module):
    """Residual convolution over frames -2 ... +1 and a pointwise layer; no padding, so three frames are used up."""

    def __init__(self, width: int, **kinds):
        self.norm = nnx.LayerNorm(width, **kinds)
        self.mix = nnx.Conv(width, 2 * width, (PAST_TAPS + FUTURE_TAPS + 1,), padding="VALID", **kinds)
        self.out = nnx.Linear(2 * width, width, **kinds)

    def __call__(self, x: Float[Array, "b t c"]) -> Float[Array, "b t3 c"]:
        return x[:, PAST_TAPS:-FUTURE_TAPS] + self.out(jax.nn.gelu(self.mix(self.norm(x))))


class LogMelEncoder(nnx.Module):
    """Sound to features and, read from the same features, a first guess of the mouth's parameters."""

    def __init__(self, cfg: LogMelConfig, *, param_dtype=jnp.float32, rngs: nnx.Rngs):
        self.cfg = cfg
        kinds = {"param_dtype": param_dtype, "rngs": rngs}
        self.stem = nnx.Linear(cfg.bands * (cfg.hops_per_frame + 1), cfg.width, **kinds)
        self.layers = nnx.List([Layer(cfg.width, **kinds) for _ in range(cfg.layers)])
        self.norm = nnx.LayerNorm(cfg.width, **kinds)
        self.code = nnx.Linear(cfg.width, cfg.features - cfg.mouth_params, **kinds)
        self.mouth = nnx.Linear(cfg.features - cfg.mouth_params, cfg.mouth_params, **kinds)

    def __call__(self, audio: Float[Array, "b n"]) -> Float[Array, "b t features"]:
        """Features of the inner frames of a window: `context(cfg)` frames at its ends only serve as surroundings.

        The first columns are a tanh code, the last `mouth_params` the mouth's parameters.
        """
        return self.hear(log_mel(audio, self.cfg))

    def hear(self, mel: Float[Array, "b m bands"]) -> Float[Array, "b t features"]:
        """Features of the log energies of a window."""
        cfg, hops = self.cfg, self.cfg.hops_per_frame
        usual = usual_spectrum(mel.reshape(mel.shape[0], -1, hops, cfg.bands).mean(axis=2), cfg.memory)
        now = mel.reshape(mel.shape[0], -1, hops * cfg.bands)[:, cfg.memory :]
        x = self.stem(jnp.concatenate([now, usual], axis=-1))
        for layer in self.layers:
            x = layer(x)
        code = jnp.tanh(self.code(self.norm(x)))
        return jnp.concatenate([code, self.mouth(code)], axis=-1)


def context(cfg: LogMelConfig) -> tuple[int, int]:
    """Video frames of surroundings that the encoder needs before and after the frames it describes.

    One more on each side than the layers see: the analysis window reaches over its frame's border.
    """
    return cfg.memory + cfg.layers * PAST_TAPS + 1, cfg.layers * FUTURE_TAPS + 1


def encode_window(encoder: LogMelEncoder, audio: Float[Array, "b n"]) -> Float[Array, "b t features"]:
    """Features of a window whose first and last `context` frames are surroundings only."""
    return encoder(audio)[:, 1:-1]


def encode_clip(encoder: LogMelEncoder, audio: Float[Array, "b n"]) -> Float[Array, "b t features"]:
    """Features of a whole clip, one row per 640 samples; silence is assumed around it."""
    return encode_window(encoder, surrounded(encoder.cfg, audio))


def surrounded(cfg: LogMelConfig, audio: Float[Array, "b n"]) -> Float[Array, "b m"]:
    """A whole clip between as much silence as its window needs."""
    before, after = (640 * c for c in context(cfg))
    return jnp.pad(audio, ((0, 0), (before, after)))
