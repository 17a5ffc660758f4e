"""What the training of a diffusion network reads: a batch of encoded clips."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16, Int32


class Batch(NamedTuple):
    """Clips as latents and features. `t` latent frames stand for 4 t - 3 video frames.

    The reference frame is the first of the clip as the network will meet it: the target's own where source and target
    are one video (spec training 1.3), the source's where they are two.
    """

    target: Float32[np.ndarray, "b t h w c"]
    ref_latent: Float32[np.ndarray, "b 1 h w c"]
    masked_video: Float32[np.ndarray, "b t h w c"]
    ref_sequence: Float32[np.ndarray, "b t h w c"]
    audio: Float32[np.ndarray, "b t 4a"]
    """Features of the sound, grouped by latent frame."""
    cepstra: Float32[np.ndarray, "b m k"]
    """MFCC of the same span, 100 rows a second, for the reward."""
    waveform: Int16[np.ndarray, "b n"]
    """16 kHz, for those who watch."""
    prompt: Int32[np.ndarray, " b"]
    """Row of the data set's prompt table."""
