import numpy as np
import pytest

from lipforcing_jax.data.articulation import MouthStyle, loudness, mouth_track, random_style
from lipforcing_jax.data.phones import Phone

JAW, OPENING, WIDTH, ROUNDING, TEETH, TONGUE = range(6)


def spoken(*labels: str, each: float = 0.12) -> list[Phone]:
    return [Phone(label, i * each, (i + 1) * each) for i, label in enumerate(labels)]


@pytest.mark.parametrize("closure", ["m", "b", "p"])
def test_bilabials_close_exactly_and_briefly(closure):
    phones = [Phone("aa", 0.0, 0.4), Phone(closure, 0.4, 0.48), Phone("aa", 0.48, 1.0)]
    opening = mouth_track(phones, 25)[:, OPENING]
    assert opening[10] < 0.05  # 400 to 440 ms
    assert opening[7] > 0.5 and opening[14] > 0.5  # 100 ms before and after it is wide open again
    assert (opening[:25] < 0.1).sum() <= 2


def test_labiodentals_show_teeth_in_a_narrow_gap():
    phones = [Phone("ae", 0.0, 0.4), Phone("f", 0.4, 0.52), Phone("ae", 0.52, 1.0)]
    track = mouth_track(phones, 25)
    assert track[11, TEETH] > 0.6
    assert track[11, OPENING] < 0.3 * track[6, OPENING]
    assert track[11, OPENING] > 0.01


def test_vowels_open_by_height():
    def widest(vowel):
        return mouth_track(spoken("t", vowel, "t", each=0.2), 15)[:, OPENING].max()

    assert widest("aa") > widest("eh") > widest("iy") > widest("uw")


def test_rounding_and_spreading():
    rounded = mouth_track(spoken("uw", each=0.4), 10)[5]
    spread = mouth_track(spoken("iy", each=0.4), 10)[5]
    assert rounded[ROUNDING] > 0.8 and rounded[WIDTH] < 0.25
    assert spread[ROUNDING] < 0.1 and spread[WIDTH] > 0.7


@pytest.mark.parametrize(("vowel", "left"), [("ao", 0.55), ("uh", 0.58), ("uw", 0.22), ("iy", 1.0)])
def test_rounded_lips_open_less(vowel, left):
    rounded, never = (mouth_track(spoken(vowel, each=0.4), 10, style=MouthStyle(shape=s))[5] for s in (1.0, 0.0))
    assert never[ROUNDING] == 0.0
    assert rounded[OPENING] == pytest.approx(left * never[OPENING], rel=0.15)


def test_a_raised_tongue_narrows_the_mouth():
    stop, same = (mouth_track(spoken(label, each=0.4), 10)[5] for label in ("l", "k"))  # targets of 0.42 and 0.40
    assert stop[TONGUE] > 0.8 and same[TONGUE] < 0.2
    assert 0.6 < stop[OPENING] / same[OPENING] < 0.8


def test_rounding_begins_before_the_rounded_vowel():
    before = [Phone("iy", 0.0, 0.4), Phone("t", 0.4, 0.48)]
    rounded = mouth_track([*before, Phone("uw", 0.48, 0.9)], 25)[:, ROUNDING]
    spread = mouth_track([*before, Phone("iy", 0.48, 0.9)], 25)[:, ROUNDING]
    assert rounded[10] > spread[10] + 0.2  # 80 to 40 ms ahead


def test_lips_rest_in_a_long_silence_and_open_for_a_breath():
    phones = [Phone("aa", 0, 0.4), Phone("pau", 0.4, 1.2), Phone("breath", 1.2, 1.7), Phone("t", 1.7, 1.8)]
    opening = mouth_track(phones, 45)[:, OPENING]
    assert opening[19:25].max() < 0.1
    assert opening[36:41].max() > 0.3


def test_silence_is_closed():
    assert mouth_track([Phone("pau", 0.0, 2.0)], 50)[:, OPENING].max() < 0.05
    assert mouth_track([], 50)[:, OPENING].max() < 0.05
    assert mouth_track([], 0).shape == (0, 6)


def test_louder_vowels_open_wider():
    phones = [Phone("ah" if i % 2 else "t", i * 0.15, (i + 1) * 0.15) for i in range(10)]
    audio = np.full(24_000, 0.1, np.float32)
    audio[int(0.45 * 16_000) : int(0.6 * 16_000)] *= 3.0
    quiet = mouth_track(phones, 37)[:, OPENING]
    loud = mouth_track(phones, 37, audio=audio)[:, OPENING]
    assert loud[12:15].mean() > 1.15 * quiet[12:15].mean()


def test_style_scales_the_opening():
    phones = spoken("t", "aa", "t", "eh", each=0.15)
    small, large = (mouth_track(phones, 15, style=MouthStyle(scale=s))[:, OPENING].max() for s in (0.5, 1.2))
    assert large > 1.4 * small


def test_unknown_labels_do_no_harm():
    track = mouth_track(spoken("b", "??", "xyz", "", "aa"), 15)
    assert np.isfinite(track).all()


def test_random_speech_stays_in_range_at_any_rate():
    rng = np.random.default_rng(0)
    labels = ["aa", "m", "s", "iy", "uw", "f", "pau", "ay", "breath", "l"]
    phones = spoken(*rng.choice(labels, 200), each=0.08)
    for fps in (12.5, 25.0, 29.97, 30.0):
        for _ in range(5):
            track = mouth_track(phones, int(16 * fps), fps, random_style(rng))
            assert track.shape == (int(16 * fps), 6) and track.dtype == np.float32
            assert track.min() >= 0.0 and track.max() <= 1.0


def test_a_shorter_track_is_the_beginning_of_a_longer_one():
    phones = spoken("m", "aa", "p", "iy", "w", "ow", "n", each=0.1)
    np.testing.assert_allclose(mouth_track(phones, 10), mouth_track(phones, 18)[:10], atol=0.02)


def test_loudness_follows_the_signal():
    audio = np.zeros(16_000, np.float32)
    audio[8_000:] = 0.5
    level = loudness(audio)
    assert level.shape == (100,)
    assert level[:47].max() == 0.0
    np.testing.assert_allclose(level[53:], 0.5, atol=1e-5)


def test_bad_arguments():
    with pytest.raises(ValueError, match="frames"):
        mouth_track([], -1)
    with pytest.raises(ValueError, match="fps"):
        mouth_track([], 5, 0.0)
