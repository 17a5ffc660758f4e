"""Makes the bundled demo: a drawn speaker with his own sentence, and another sentence to be spoken.

python -m lipforcing_jax.data.demo_clip FOLDER

Both come from the held-out split: the bundled student has seen neither the face nor the voices.
"""

import sys
import wave
from pathlib import Path

import numpy as np

from lipforcing_jax.data.speech_samples import sample_utterance
from lipforcing_jax.data.talkers import render_scene
from lipforcing_jax.media.video_writer import VideoWriter

IDENTITY, SPEAKER, SPEECH = 17, 7, 21
SECONDS, SIZE, RATE = 4.0, 360, 16000


def make(folder: Path, identity: int = IDENTITY, speaker: int = SPEAKER, speech: int = SPEECH) -> None:
    """Writes speaker.mp4 and speech.wav into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    own, _, mouth = sample_utterance(speaker, "heldout", SECONDS)
    frames = render_scene(identity, identity, mouth, SIZE, SIZE, camera_seed=None, split="heldout")
    with VideoWriter(folder / "speaker.mp4", SIZE, SIZE, audio=own, audio_rate=RATE, crf=20, preset="slow") as writer:
        for frame in frames:
            writer.write(frame)
    other = sample_utterance(speech, "heldout", SECONDS)[0]
    with wave.open(str(folder / "speech.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.round(np.clip(other, -1, 1) * 32767).astype("<i2").tobytes())


if __name__ == "__main__":
    make(Path(sys.argv[1]))
