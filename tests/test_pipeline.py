"""LipSyncer with arrays: no file in, no file out."""

import jax
import numpy as np
import pytest

from lipforcing_jax import LipSyncer, Options
from lipforcing_jax.errors import UserError
from lipforcing_jax.evaluation.demo import demo_inputs
from lipforcing_jax.media.audio import load_audio
from lipforcing_jax.media.loop import ping_pong
from lipforcing_jax.media.video import read_video
from lipforcing_jax.report import Timings, prefetch
from lipforcing_jax.sampling import plan, stream

pytestmark = pytest.mark.optimised  # Equality bit for bit is asked of what users run.


@pytest.fixture(scope="module")
def syncer():
    return LipSyncer.from_preset("nano")


@pytest.fixture(scope="module")
def clip():
    video, audio = demo_inputs()
    return np.stack(list(read_video(video)))[:30], load_audio(audio)[: 40 * 640]


def test_arrays_in_arrays_out(syncer, clip):
    frames, audio = clip
    result = syncer.sync(frames, audio)
    assert result.frames.shape == (40, *frames.shape[1:]) and result.frames.dtype == np.uint8
    assert result.path is None and result.report["frames"] == 40


def test_stream_gives_the_same_frames_in_batches(syncer, clip):
    frames, audio = clip
    whole = syncer.sync(frames, audio[: 30 * 640]).frames
    batches = list(syncer.stream(iter(frames), audio[: 30 * 640]))
    assert [len(b.frames) for b in batches] == [9, 12, 9]
    np.testing.assert_array_equal(np.concatenate([b.frames for b in batches]), whole)


def test_the_first_frames_are_there_before_they_are_used(syncer, clip):
    """What whoever asked does with them is no part of the time to them."""
    frames, audio = clip
    timings = Timings()
    batches = syncer.stream(iter(frames), audio[: 30 * 640], timings=timings)
    next(batches)
    first = timings.first
    assert first > 0
    assert len(list(batches)) == 2 and timings.first == first


def test_a_shorter_clip_is_the_beginning_of_a_longer_one(syncer, clip):
    """Up to the chunks whose look-ahead ends inside the shorter sound."""
    frames, audio = clip
    short, long = syncer.sync(frames[:30], audio[: 30 * 640]).frames, syncer.sync(frames, audio).frames
    np.testing.assert_array_equal(short[:21], long[:21])


def test_nothing_recompiles_during_a_clip(syncer, clip):
    """Counted on a function of its own: programs of one function are shared by all that compile it."""
    fresh = LipSyncer(syncer.preset, syncer.networks, syncer.listener)
    fresh._denoise = jax.jit(lambda *given: stream.denoise(*given), static_argnums=1)
    fresh._finish = jax.jit(lambda *given: stream.finish(*given), static_argnums=1)
    fresh.warm_up()
    assert (fresh._denoise._cache_size(), fresh._finish._cache_size()) == (1, 1)
    fresh.sync(*clip)
    assert (fresh._denoise._cache_size(), fresh._finish._cache_size()) == (1, 1)


@pytest.mark.parametrize("part", ["_denoise", "_finish"])
def test_devices_without_room_get_one_sentence(syncer, clip, part):
    fresh = LipSyncer(syncer.preset, syncer.networks, syncer.listener)
    setattr(fresh, part, lambda *given: (None, jax.numpy.zeros(1 << 50)))
    with pytest.raises(UserError, match="no room for a stream of nano"):
        fresh.sync(*clip)


def test_silence_and_speech_move_the_mouth_differently(syncer, clip):
    frames, audio = clip
    spoken = syncer.sync(frames, audio).frames.astype(int)
    silent = syncer.sync(frames, np.zeros_like(audio)).frames
    assert np.abs(spoken - silent).max() > 10


def test_other_rates_are_resampled(syncer, clip):
    frames, audio = clip
    result = syncer.sync(frames, np.repeat(audio[:16000], 2), audio_rate=32000)
    assert result.report["frames"] == 25


@pytest.mark.parametrize(
    ("frames", "audio"),
    [
        (np.zeros((0, 8, 8, 3), np.uint8), np.zeros(16000, np.float32)),
        (np.zeros((5, 8, 8), np.uint8), np.zeros(16000, np.float32)),
        (np.zeros((5, 64, 64, 3), np.float32), np.zeros(16000, np.float32)),
        (np.zeros((5, 64, 64, 3), np.uint8), np.zeros((2, 16000), np.float32)),
        (np.zeros((5, 64, 64, 3), np.uint8), np.zeros(100, np.float32)),
        (np.zeros((5, 64, 64, 3), np.uint8), np.zeros(16000, np.float32)),
    ],
    ids=["no frames", "grey", "float", "stereo", "too short", "no face"],
)
def test_arrays_that_can_not_be_used_are_refused(syncer, frames, audio):
    with pytest.raises(UserError):
        syncer.sync(frames, audio)


def test_unknown_face_is_refused(syncer, clip):
    with pytest.raises(UserError, match="face"):
        syncer.sync(*clip, options=Options(face=4))


@pytest.mark.parametrize("length", [1, 2, 3, 30, 80])
def test_ping_pong_follows_the_closed_form(length):
    def read(first, count):
        return iter(range(first, length if count is None else min(length, first + count)))

    assert list(ping_pong(read, 100)) == [plan.ping_pong(i, length) for i in range(100)]


def test_prefetch_hands_over_items_and_errors():
    def items():
        yield 1
        yield 2
        raise UserError("broken")

    seen = []
    with pytest.raises(UserError, match="broken"):
        for item in prefetch(items(), 1):
            seen.append(item)
    assert seen == [1, 2]


def test_prefetch_may_be_left_early():
    endless = prefetch(iter(int, 1), 2)
    assert next(endless) == 0
    endless.close()


def test_prefetch_closes_what_it_ran():
    """Files and further threads that the items hold open end with it, not at some later collection."""
    ended = []

    def items():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    held = items()
    ahead = prefetch(held, 2)
    next(ahead)
    ahead.close()
    assert ended


@pytest.mark.parametrize("bad", [np.full(16000, np.nan, np.float32), np.full(16000, 3000.0, np.float32)])
def test_sound_that_is_no_sound_is_refused(syncer, clip, bad):
    with pytest.raises(UserError, match="-1, 1"):
        syncer.sync(clip[0], bad)


def test_streamed_frames_are_checked(syncer, clip):
    with pytest.raises(UserError, match="uint8"):
        next(syncer.stream(iter([clip[0][0] / 255.0]), clip[1]))
