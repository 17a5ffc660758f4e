import builtins
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from cartoon_face import background, draw_face, true_points

from lipforcing_jax.errors import UserError
from lipforcing_jax.media.faces import (
    Face,
    InsightFaceDetector,
    MtcnnDetector,
    acceptable,
    create_detector,
    largest_first,
    overlap,
)


def face_at(left, top, right, bottom, score=0.9):
    return Face(np.array([left, top, right, bottom], np.float32), score, np.zeros((5, 2), np.float32))


@pytest.fixture(scope="module")
def detector():
    return MtcnnDetector()


def test_overlap_and_order():
    first, second = np.array([0.0, 0, 10, 10]), np.array([5.0, 0, 15, 10])
    assert overlap(first, first) == 1
    assert overlap(first, second) == pytest.approx(1 / 3)
    assert overlap(first, second + 100) == 0
    small, large, twin = face_at(0, 0, 10, 10), face_at(50, 0, 70, 20), face_at(20, 0, 40, 20)
    assert largest_first([small, large, twin]) == [twin, large, small]


def test_selection_rule_of_the_reference():
    assert acceptable(face_at(0, 0, 60, 90))
    assert not acceptable(face_at(0, 0, 49.9, 90))
    assert not acceptable(face_at(0, 0, 60, 79.9))
    assert not acceptable(face_at(0, 0, 130, 82))
    assert not acceptable(face_at(0, 0, 60, 301))
    assert not acceptable(face_at(0, 0, 60, 90, score=0.49))


def test_detects_a_face_and_its_points(detector):
    frame = draw_face(background(300, 400), (210, 150))
    (face,) = detector.detect(frame)
    assert face.points.shape == (5, 2)
    assert np.abs(face.points - true_points((210, 150))).max() < 10
    assert face.box[0] < 190 < 230 < face.box[2]


def test_points_scale_with_the_picture(detector):
    """The frame is detected on a smaller copy; the answer is in the frame's own pixels."""
    (face,) = detector.detect(draw_face(background(900, 1200), (630, 450), scale=3))
    assert np.abs(face.points - true_points((630, 450), 3)).max() < 30


def test_two_faces_come_largest_first(detector):
    frame = draw_face(draw_face(background(320, 560), (120, 160), 0.8), (390, 160), 1.1)
    faces = detector.detect(frame)
    assert [round(float(face.points[2, 0]) / 100) for face in faces] == [4, 1]


def test_small_face_is_found_in_the_second_look():
    frame = draw_face(background(720, 720), (500, 300), 0.5)
    assert MtcnnDetector(short_sides=(160,)).detect(frame) == []
    assert len(MtcnnDetector(short_sides=(160, 720)).detect(frame)) == 1


@pytest.mark.parametrize("shape", [(240, 240), (8, 8), (20, 600)])
def test_nothing_is_found_in_pictures_without_a_face(detector, shape):
    assert detector.detect(np.zeros((*shape, 3), np.uint8)) == []
    assert detector.detect(background(*shape)) == []


def test_refine_measures_again_at_a_known_place(detector):
    frame = draw_face(background(300, 400), (210, 150))
    box = np.array([150.0, 75, 270, 235])
    face = detector.refine(frame, box)
    assert np.abs(face.points - true_points((210, 150))).max() < 10
    assert detector.refine(frame, box + [-140, 0, -140, 0]) is None


def test_refine_is_symmetric(detector):
    """The mean over the mirrored box makes a mirrored frame give the mirrored answer."""
    frame = draw_face(background(300, 400), (210, 150))
    box = np.array([150.0, 70, 280, 235])
    face = detector.refine(frame, box)
    mirrored = detector.refine(
        np.ascontiguousarray(frame[:, ::-1]), 399 - box[[2, 1, 0, 3]] * [1, -1, 1, -1] - [0, 399, 0, 399]
    )
    points = mirrored.points[[1, 0, 2, 4, 3]] * [-1, 1] + [399, 0]
    np.testing.assert_allclose(points, face.points, atol=0.5)


def test_missing_extra_is_one_sentence(monkeypatch):
    real_import = builtins.__import__

    def no_insightface(name, *args, **kwargs):
        if name.startswith("insightface"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_insightface)
    with pytest.raises(UserError, match=r"lipforcing-jax\[insightface\]"):
        InsightFaceDetector()


class FaceAnalysis:
    """The calls that InsightFace 2.1 takes, with two faces for an answer: one small, one large."""

    def __init__(self, name, root, allowed_modules):
        assert (name, set(allowed_modules)) == ("buffalo_l", {"detection", "landmark_2d_106"})
        if "nowhere" in root:
            raise ConnectionError("no route to host and a long story")

    def prepare(self, ctx_id, det_size):
        assert det_size == (512, 512)

    def get(self, frame):
        landmarks = np.linspace(100.4, 299.6, 212).reshape(106, 2)
        boxes = ([10, 10, 50, 60], [100, 100, 300, 340])
        return [SimpleNamespace(bbox=np.array(b), det_score=0.9, landmark_2d_106=landmarks) for b in boxes]


def test_insightface_as_the_reference_uses_it(monkeypatch):
    """Rounded landmarks, the small face left out, found again by its box."""
    monkeypatch.setitem(sys.modules, "insightface", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "insightface.app", SimpleNamespace(FaceAnalysis=FaceAnalysis))
    detector, frame = InsightFaceDetector(root="/here"), np.zeros((400, 400, 3), np.uint8)
    (face,) = detector.detect(frame)
    assert face.points.shape == (106, 2) and face.points[0, 0] == 100 and face.points[-1, -1] == 300
    assert detector.refine(frame, np.array([110.0, 100, 300, 330])) is not None
    assert detector.refine(frame, np.array([0.0, 0, 60, 60])) is None
    with pytest.raises(UserError, match=r"not in /nowhere/models.*\(ConnectionError\)"):
        InsightFaceDetector(root="/nowhere")


def test_unknown_detector():
    with pytest.raises(UserError, match="'haar'.*mtcnn"):
        create_detector("haar")
    assert isinstance(create_detector(), MtcnnDetector)
