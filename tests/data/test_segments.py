import cv2
import numpy as np
import pytest
from cartoon_face import background, draw_face

from lipforcing_jax.data.segments import Quality, Refusal, Segment, segments, sharpness, stillness
from lipforcing_jax.media.faces import create_detector

SCENE = background()


def talking(count: int, centre=(120, 120), scale=1.0, first: int = 0) -> list[np.ndarray]:
    """A face that sways a little and moves its mouth."""
    frames = []
    for i in range(first, first + count):
        sway = 3 * np.sin(0.3 * i)
        frames.append(draw_face(SCENE, (centre[0] + sway, centre[1]), scale, 6 + 4 * np.sin(1.7 * i)))
    return frames


def found(frames, length: int = 8, **quality) -> list[Segment | Refusal]:
    return list(segments(iter(frames), length, 96, create_detector(), Quality(**{"min_face": 50} | quality)))


def test_segments_follow_each_other_and_the_rest_is_told():
    first, second, rest = found(talking(21))
    assert (first.start, second.start, rest.start) == (0, 8, 16)
    assert first.faces.shape == (8, 96, 96, 3) and first.faces.dtype == np.uint8
    assert str(rest) == "0.6 s: too short: 0.20 s to its end, 0.32 s are needed"
    assert np.abs(first.faces[0].astype(int) - second.faces[0]).mean() < 12, "the face stays where it is"


def test_a_segment_never_spans_a_cut():
    refused, segment, rest = found(talking(5) + talking(10, centre=(90, 130), scale=0.8))
    assert refused.start == 5 and "cut" in refused.reason
    assert isinstance(segment, Segment) and segment.start == 6
    assert rest.start == 14


def test_frames_without_a_face_are_in_no_segment():
    refused, segment = found(talking(3) + 2 * [SCENE] + talking(8, first=5))
    assert (refused.start, refused.reason) == (3, "no face")
    assert segment.start == 5


def test_small_blurred_and_still_faces_are_refused():
    (refused,) = found(talking(9), min_face=200)
    assert refused == Refusal(0, "a face narrower than 200 pixels")
    blurred = [cv2.GaussianBlur(frame, (0, 0), 6) for frame in talking(8)]
    assert "blurred" in found(blurred)[-1].reason
    (refused,) = found(8 * talking(1))
    assert refused.reason == "100% of the frames repeat the one before"


def test_what_is_measured():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (4, 128, 128), np.uint8)
    smooth = np.stack([cv2.GaussianBlur(picture, (0, 0), 2) for picture in noise])
    assert sharpness(noise) > 100 * sharpness(smooth)
    assert stillness(noise) == 0 and stillness(noise[[0, 0, 0, 1]]) == pytest.approx(2 / 3)
