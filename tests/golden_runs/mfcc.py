"""MFCC, in float64 like the reference. The logarithm of a nearly silent band magnifies rounding, hence 1e-6."""

import jax.numpy as jnp
import numpy as np

from golden_runs.component import Checks, Component
from lipforcing_jax.media.mfcc import MFCCConfig, mfcc
from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.syncnet import sound_windows

INPUTS = ("wave_",)
TOLERANCE = 1e-6


def config(facts: dict) -> MFCCConfig:
    """The file's parameters; lengths stand there in seconds."""
    assert facts["appendEnergy"] and facts["window"] == "rectangular"
    rate = MFCCConfig.rate
    return MFCCConfig(
        rate, round(facts["winlen"] * rate), round(facts["winstep"] * rate), facts["numcep"], facts["nfilt"],
        facts["nfft"], facts["lowfreq"], facts["highfreq"], facts["preemph"], facts["ceplifter"],
    )  # fmt: skip


def window_count(rows: np.ndarray) -> int:
    cfg = SyncNetConfig(cepstra=rows.shape[1])
    return len(sound_windows(jnp.asarray(rows), cfg)) if len(rows) >= cfg.rows else 0


def run(case: Component) -> Checks:
    cfg = config(case.facts["parameters_of_mfcc"])
    for name, facts in case.facts["waves"].items():
        stored, golden = case.arrays[f"wave_{name}"], case.arrays[f"mfcc_{name}"]
        yield f"samples_{name}", stored.size, facts["samples"], 0.0
        wave = np.float32(stored / 32768)
        rows = mfcc(wave * np.float32(32768), cfg)
        yield f"mfcc_{name}", rows, golden, TOLERANCE
        yield f"frames_{name}", len(rows), facts["frames"], 0.0
        yield f"windows_{name}", window_count(rows), facts["windows_of_20_stride_4"], 0.0
        apart = np.abs(mfcc(stored, cfg) - rows).max()
        yield f"mfcc_{name}: of int16 samples", apart, facts["int16_input_max_abs_diff"], TOLERANCE
        rounded = np.asarray(jnp.asarray(wave, jnp.bfloat16), np.float32)
        apart = np.abs(mfcc(rounded * np.float32(32768), cfg) - rows)
        expected = facts["bfloat16_rounded_wave_abs_diff"]
        moments = [apart.mean(), apart.max()], [expected["mean"], expected["max"]]
        yield f"mfcc_{name}: of a bfloat16 wave", *moments, TOLERANCE
