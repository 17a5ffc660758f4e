"""How one clip is made, and the rates that the models were made for."""

from dataclasses import dataclass

FPS = 25
SAMPLE_RATE = 16000
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS


@dataclass(frozen=True)
class Options:
    """How one clip is made. `face` is the index of the speaker, largest first; `full_face` pastes all of the face."""

    seed: int = 42
    face: int = 0
    full_face: bool = False
    reference_length: bool = False
    detector: str = "mtcnn"
