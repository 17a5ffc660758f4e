"""Which latent frames a chunk may see, and where rotary attention places them (spec network 2.3, 6.3, 6.4)."""

import numpy as np
from jaxtyping import Bool

from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.sampling.plan import chunk_lengths


def visible_frames(start: int, end: int, cfg: WindowConfig) -> list[int]:
    """Key frames, in window order, of the chunk [start, end) in autoregressive mode."""
    if cfg.window <= 0 or end <= cfg.window:
        return list(range(end))
    if end - start > cfg.window:
        raise ValueError(f"a chunk of {end - start} frames does not fit a window of {cfg.window}")
    recent = max(cfg.sink, end - (cfg.window - cfg.sink))
    return [*range(cfg.sink), *range(recent, end)]


def window_positions(start: int, end: int, cfg: WindowConfig) -> tuple[list[int], list[int]]:
    """Rotary time positions of the visible keys and of the chunk's queries."""
    frames = visible_frames(start, end, cfg)
    keys = list(range(len(frames))) if cfg.dynamic_rope else frames
    return keys, keys[len(keys) - (end - start) :]


def block_causal_mask(latent_frames: int, cfg: WindowConfig) -> Bool[np.ndarray, "t t"]:
    """Whole-sequence visibility of diffusion forcing, frame by frame: True where query row sees key column."""
    ends = np.cumsum(chunk_lengths(latent_frames, cfg.chunk))
    end = np.repeat(ends, np.diff(ends, prepend=0))[:, None]
    key = np.arange(latent_frames)[None, :]
    low = np.zeros_like(end) if cfg.window <= 0 else np.maximum(0, end - (cfg.window - cfg.sink))
    own = key == np.arange(latent_frames)[:, None]
    return (key < cfg.sink) | ((key >= low) & (key < end)) | own
