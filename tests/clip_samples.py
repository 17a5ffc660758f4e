"""Small encoded clips whose content tells which clip and which latent frame it is."""

import numpy as np

from lipforcing_jax.data.builder import Prompts
from lipforcing_jax.data.sample import Facts
from lipforcing_jax.options import SAMPLES_PER_FRAME

FACTS = Facts("nano", face_size=128, latent_frames=6, cells=2, channels=4, audio_width=3, weights="abc")
TEXTS = ["a person talking", "somebody else"]
PROMPTS = Prompts(TEXTS, np.arange(2 * 1 * 16).reshape(2, 1, 16))


def clip(number: int) -> tuple[str, dict]:
    """Clip `number`: latent frame t holds number + t / 16, video frame v of the sound holds v."""
    frame = np.arange(FACTS.latent_frames) / 16
    latents = np.broadcast_to((number + frame)[:, None, None, None], (6, 2, 2, 4)).astype(np.float16)
    video = np.arange(FACTS.frames)
    sample = {
        "target": latents,
        "first": latents[:1],
        "masked": latents + 1000,
        "reference": latents - 1000,
        "audio": np.repeat(video[:, None], 3, axis=1).astype(np.float16),
        "waveform": np.repeat(video, SAMPLES_PER_FRAME).astype(np.int16),
        "prompt": TEXTS[number % 2],
    }
    return f"clip {number}", sample


def clips(numbers) -> list[tuple[str, dict]]:
    return [clip(n) for n in numbers]
