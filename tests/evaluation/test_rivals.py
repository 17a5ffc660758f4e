"""Students and teachers on the same clip: what they are given, and what they may change."""

from dataclasses import replace

import numpy as np
import pytest
from drawn_weights import drawn_network

from lipforcing_jax.evaluation import rivals
from lipforcing_jax.listening import SampleListener
from lipforcing_jax.media.mouth_mask import soft_mask
from lipforcing_jax.models import presets
from lipforcing_jax.sampling import steady_mouth, stream
from lipforcing_jax.sampling.bidirectional import Guidance
from lipforcing_jax.weights import networks

NANO = presets.by_name("nano")


@pytest.fixture(scope="module")
def small():
    """Nano with a narrow network of two steps: its weights are random, the autoencoder is the bundled one."""
    loaded = networks.load(NANO)
    preset = replace(NANO, dit=replace(NANO.dit, dim=24, num_heads=2, ffn_dim=32, num_layers=4))
    return preset, loaded.networks._replace(dit=drawn_network(networks.makers(preset)["dit"]))


@pytest.fixture(scope="module")
def clip():
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (1, 128, 128, 3), np.uint8)
    return np.repeat(picture, 13, axis=0), 0.1 * rng.standard_normal(13 * 640).astype(np.float32)


def test_chunks_give_every_frame_its_own_sound():
    """Sample k of the sound holds k's frame number, so that windows can be read back."""
    frames = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    sound = np.repeat(np.arange(30, dtype=np.float32), 640)
    chunks = rivals.chunks_of(NANO, SampleListener(NANO), frames, sound)
    per = stream.frames_per_chunk(NANO)
    before, own, _ = stream.audio_window(NANO)
    pictures = np.asarray(chunks.frames)[:, 0, :, 0, 0, 0].reshape(-1)
    heard = np.asarray(chunks.audio)[:, 0, before : before + own].reshape(-1, 640)
    assert len(pictures) % per == 0
    np.testing.assert_array_equal(pictures[:3], 0)
    np.testing.assert_array_equal(pictures[3:33], np.arange(30))
    np.testing.assert_array_equal(heard[3:33].mean(axis=1), np.arange(30))
    assert not heard[:3].any() and not heard[33:].any()


@pytest.mark.parametrize("kind", ["student", "teacher"])
def test_a_rival_changes_the_mouth_and_nothing_else(small, clip, kind):
    preset, nets = small
    source, audio = clip
    if kind == "student":
        rival = rivals.Student(preset, nets, SampleListener(preset))
    else:
        rival = rivals.Teacher(preset, nets, Guidance(4.5), steps=2)
    made = rival(source, audio)
    kept = soft_mask(128) > 0.999
    assert made.shape == source.shape and made.dtype == np.uint8
    np.testing.assert_array_equal(made[:, kept], source[:, kept])
    assert np.abs(made.astype(int) - source).mean() > 0.5
    np.testing.assert_array_equal(rival(source, audio), made)


def test_a_teacher_is_shown_what_its_preset_says(small):
    preset, nets = small
    source = np.random.default_rng(1).integers(0, 256, (21, 128, 128, 3), np.uint8)
    audio = np.zeros(21 * 640, np.float32)
    moving, held = (
        rivals.Teacher(replace(preset, steady_mouth=steady), nets, Guidance(), steps=2).look(source, audio)
        for steady in (False, True)
    )
    channels = preset.dit.latent_channels
    np.testing.assert_array_equal(held.condition[..., :-channels], moving.condition[..., :-channels])
    np.testing.assert_array_equal(moving.condition[..., -channels:], moving.latents)
    steady = steady_mouth.hold(held.latents, preset.window.chunk)
    np.testing.assert_allclose(held.condition[..., -channels:], steady, atol=1e-5)  # sums go in another order


def test_guidance_changes_what_the_teacher_makes(small, clip):
    preset, nets = small
    source, audio = clip
    plain, guided = (rivals.Teacher(preset, nets, Guidance(scale), steps=2)(source, audio) for scale in (1.0, 4.5))
    assert np.abs(plain.astype(int) - guided).max() > 0


@pytest.mark.parametrize("steady", [False, True])
def test_a_student_alone_makes_the_latents_of_its_stream(small, steady):
    """What is timed as the network's work is the work that the stream does."""
    preset, nets = small
    preset = replace(preset, steady_mouth=steady)
    source = np.random.default_rng(1).integers(0, 256, (21, 128, 128, 3), np.uint8)
    audio = np.zeros(21 * 640, np.float32)
    student = rivals.Student(preset, nets, SampleListener(preset))
    seen = student.look(source, audio)
    made = rivals.draw(nets, preset, seen, source[None], student.denoise(seen))[0]
    alone = rivals.pasted(source, np.asarray(made))
    assert np.abs(alone.astype(int) - student(source, audio)).max() <= 1  # rounding


def test_whole_clips_first_chunks_and_the_network_are_timed_in_turns():
    calls = []

    class Counting:
        """Writes down what it is asked for."""

        def __init__(self, name: str):
            self.name = name

        def __call__(self, source, audio):
            calls.append(f"{self.name} clip")

        def first_frames(self, source, audio):
            calls.append(f"{self.name} first")

        def look(self, source, audio):
            return f"{self.name} network"

        def denoise(self, seen):
            calls.append(seen)
            return np.zeros(1)

    both = {name: Counting(name) for name in "ab"}
    speeds = rivals.time_rivals(both, np.zeros((25, 2, 2, 3), np.uint8), np.zeros(16000, np.float32), rounds=2)
    assert calls == [f"{name} {work}" for name in "ab" for work in ("clip", "first", "network")] * 3
    assert set(speeds) == {"a", "b"}
    assert all(speed.fps > 0 and speed.first_frames >= 0 and speed.network_fps > 0 for speed in speeds.values())
