import dataclasses

import cv2
import numpy as np
import pytest
from cartoon_face import background, draw_face, true_points

from lipforcing_jax.media import alignment
from lipforcing_jax.media.faces import Face, MtcnnDetector, largest_first
from lipforcing_jax.media.tracking import TrackingConfig, TrackingState, track

DEFAULT = TrackingConfig()
POINTS = np.array([[-22, -14], [22, -14], [0, 14], [-19, 38], [19, 38]], np.float32)


@dataclasses.dataclass
class ScriptedDetector:
    """Knows where the faces are (centre and scale per face), with noise; counts how often it is asked."""

    faces: list = dataclasses.field(default_factory=list)
    noise: float = 0.0
    searches: int = 0
    looks: int = 0
    landmarks: int = 5
    random: np.random.Generator = dataclasses.field(default_factory=lambda: np.random.default_rng(0))

    def detect(self, frame):
        self.searches += 1
        return largest_first([self._face(centre, scale) for centre, scale in self.faces])

    def refine(self, frame, box):
        self.looks += 1
        middle = (box[:2] + box[2:]) / 2
        near = [face for face in self.faces if np.abs(face[0] - middle).max() < 40 * face[1]]
        return self._face(*near[0]) if near else None

    def _face(self, centre, scale):
        centre = np.asarray(centre, np.float32)
        points = centre + scale * POINTS + self.random.normal(0, self.noise, (5, 2))
        if self.landmarks == 106:
            points = np.repeat(points[:1], 106, axis=0)
            points[[101, 102, 103, 104, 105]] = centre + scale * POINTS[1]
            points[[74, 77, 83, 86]] = centre + scale * POINTS[2]
        half = scale * np.array([50, 65], np.float32)
        return Face(np.concatenate([centre - half, centre + half]), 0.99, points.astype(np.float32))


def run(frames, faces_per_frame, detector, config=DEFAULT):
    state, tracked = TrackingState(), []
    for frame, faces in zip(frames, faces_per_frame, strict=True):
        detector.faces = faces
        face, state = track(frame, state, detector, config)
        tracked.append(face)
    return tracked, state


def centre_of(face):
    """Where the matrix puts the middle between the eyes, in the frame."""
    eyes = alignment.FIVE_POINT_TEMPLATE[:2].mean(axis=0, keepdims=True)
    return alignment.transform_points(alignment.invert(face.matrix), eyes)[0] - [0, 0]


def cover(frame, centre):
    """The frame with something grey in front of the upper face, as a hand or a microphone."""
    covered = frame.copy()
    cv2.ellipse(covered, (int(centre[0]), int(centre[1])), (50, 60), 0, 0, 360, (150, 140, 130), -1)
    return covered


def moving(count, start=(150, 120), step=(2.5, 0.8), scale=1.0):
    return [np.array(start) + index * np.array(step) for index in range(count)], [scale] * count


def clip(centres, scales, seed=0):
    scene = background(300, 480, seed)
    return [draw_face(scene, centre, scale) for centre, scale in zip(centres, scales, strict=True)]


def statuses(tracked):
    return "".join({"detected": "d", "bridged": "b", "missing": "."}[face.status] for face in tracked)


@pytest.fixture(scope="module")
def walk():
    centres, scales = moving(48)
    return centres, clip(centres, scales)


def test_follows_a_moving_face_between_key_frames(walk):
    centres, frames = walk
    detector = ScriptedDetector()
    tracked, state = run(frames, [[(centre, 1.0)] for centre in centres], detector)
    assert statuses(tracked) == "d" * 48
    assert state.faces_seen == 48
    errors = [np.abs(centre_of(face) - centre_of(tracked[0]) - centre + centres[0]).max()
              for face, centre in zip(tracked, centres, strict=True)]  # fmt: skip
    assert max(errors) < 1.5
    assert detector.searches == 1
    assert detector.looks <= 3 + 48 // 6


def test_steadier_than_the_detector(walk):
    centres, frames = walk
    noise = 2.0
    tracked, _ = run(frames, [[(centre, 1.0)] for centre in centres], ScriptedDetector(noise=noise))
    path = np.array([centre_of(face) for face in tracked]) - centres
    jitter = np.diff(path, axis=0).std()
    assert jitter < 0.25 * noise
    assert np.abs(path.mean(axis=0)[0]) < noise


def test_drift_is_removed_slowly():
    """The flow sees a still picture; the detector reports the face four pixels right of its first place."""
    frames = clip([np.array([200, 140])] * 90, [1.0] * 90)
    faces = [[(np.array([200 + 4 * (index > 0), 140]), 1.0)] for index in range(90)]
    tracked, _ = run(frames, faces, ScriptedDetector())
    path = np.array([centre_of(face)[0] for face in tracked]) - centre_of(tracked[0])[0]
    assert path[-1] == pytest.approx(4, abs=0.5)
    assert np.abs(np.diff(path)).max() < 0.5


def test_a_flow_in_doubt_is_measured_more_often_until_it_is_right_again():
    """The detector disagrees by 12 pixels, more than it jitters and less than a jump: the face is back in its place
    within a second, and from then on is looked at as seldom as one that was never lost."""
    frames = clip([np.array([200, 140])] * 90, [1.0] * 90)
    off = [[(np.array([200 + 12 * (index > 0), 140]), 1.0)] for index in range(90)]

    def looks(count):
        detector = ScriptedDetector()
        run(frames[:count], off[:count], detector)
        return detector.looks

    tracked, _ = run(frames[:30], off[:30], ScriptedDetector())
    assert centre_of(tracked[-1])[0] - centre_of(tracked[0])[0] == pytest.approx(12, abs=1)
    assert looks(30) >= 3 + 8
    assert looks(90) - looks(60) <= 30 // 6


def test_scale_and_roll_are_followed():
    scene = clip([np.array([240, 150])], [1.0])[0]
    freckles = cv2.GaussianBlur(np.random.default_rng(0).normal(0, 60, (300, 480, 1)), (0, 0), 1.5)
    scene = np.clip(scene + freckles[..., None], 0, 255).astype(np.uint8)
    frames, faces = [], []
    for index in range(20):
        turn = cv2.getRotationMatrix2D((240, 150), 0.7 * index, 1 + 0.01 * index)
        frames.append(cv2.warpAffine(scene, turn, (480, 300), borderMode=cv2.BORDER_REFLECT))
        faces.append([(np.array([240, 150]), 1.0)] if index == 0 else [])
    config = TrackingConfig(key_every=100)
    tracked, _ = run(frames, faces, ScriptedDetector(), config)
    relative = tracked[-1].matrix[:, :2] @ np.linalg.inv(tracked[0].matrix[:, :2])
    scale = np.sqrt(np.linalg.det(relative))
    assert scale == pytest.approx(1 / 1.19, rel=0.02)
    assert abs(np.degrees(np.arctan2(relative[1, 0], relative[0, 0]))) == pytest.approx(0.7 * 19, abs=1.0)


def test_short_gap_is_bridged_and_long_one_is_not():
    still = np.array([200, 140])
    shown = clip([still], [1.0])[0]
    hidden = cover(shown, still)
    for gap, expected in ((8, "d" * 5 + "b" * 8 + "d"), (30, "d" * 5 + "b" * 12 + "." * 18 + "d")):
        present = [True] * 5 + [False] * gap + [True] * 8
        frames = [shown if here else hidden for here in present]
        faces = [[(still, 1.0)] if here else [] for here in present]
        tracked, state = run(frames, faces, ScriptedDetector())
        text = statuses(tracked)
        assert text[: 5 + min(gap, 12)] == expected[: 5 + min(gap, 12)]
        assert text.endswith("dd")
        assert "." in text if gap > 12 else "." not in text
        assert all((face.matrix is None) == (face.status == "missing") for face in tracked)
        held = [face.matrix for face in tracked if face.status == "bridged"]
        np.testing.assert_allclose(held[0], tracked[4].matrix, atol=1e-6)
        assert state.faces_seen == text.count("d")


def test_clip_may_begin_without_a_face():
    still = np.array([200, 140])
    frames = [background(300, 480)] * 7 + clip([still] * 8, [1.0] * 8)
    faces = [[]] * 7 + [[(still, 1.0)]] * 8
    tracked, state = run(frames, faces, ScriptedDetector())
    assert statuses(tracked).startswith("." * 7)
    assert statuses(tracked).endswith("ddd")
    assert state.most_faces == 1


def test_no_face_at_all_is_told_by_the_state():
    detector = ScriptedDetector()
    tracked, state = run([background(300, 480)] * 30, [[]] * 30, detector)
    assert statuses(tracked) == "." * 30
    assert state.faces_seen == 0 and state.most_faces == 0
    assert detector.searches <= 10


def two_people(count):
    left, right = np.array([110, 150]), np.array([350, 150])
    scene = background(300, 480)
    frame = draw_face(draw_face(scene, left, 0.8), right, 1.0)
    return frame, [(left, 0.8), (right, 1.0)]


@pytest.mark.parametrize(("index", "x"), [(0, 350), (1, 110)])
def test_face_index_chooses_by_size(index, x):
    frame, faces = two_people(1)
    tracked, state = run([frame] * 9, [faces] * 9, ScriptedDetector(), TrackingConfig(face_index=index))
    assert abs(centre_of(tracked[-1])[0] - x) < 5
    assert state.most_faces == 2


def test_stays_with_its_face_when_another_becomes_larger():
    """Every frame is a detection here, so only the overlap can tell who is who."""
    frame, faces = two_people(1)
    growing = [[faces[0], (faces[1][0], 1.0)]] + [[(faces[0][0], 1.4), faces[1]]] * 5
    config = TrackingConfig(method="every_frame")
    tracked, _ = run([frame] * 6, growing, ScriptedDetector(landmarks=106), config)
    template = alignment.REFERENCE_TEMPLATE.mean(axis=0, keepdims=True)
    x = [alignment.transform_points(alignment.invert(face.matrix), template)[0, 0] for face in tracked]
    np.testing.assert_allclose(x, 350, atol=3)


def test_another_person_does_not_take_over_in_a_short_gap():
    frame, faces = two_people(1)
    empty = cover(frame, faces[1][0])
    sequence = [faces] * 4 + [faces[:1]] * 6
    tracked, _ = run([frame] * 4 + [empty] * 6, sequence, ScriptedDetector())
    assert statuses(tracked) == "dddd" + "b" * 6
    assert abs(centre_of(tracked[-1])[0] - 350) < 5


def test_face_index_beyond_the_faces_is_missing():
    frame, faces = two_people(1)
    tracked, state = run([frame] * 3, [faces] * 3, ScriptedDetector(), TrackingConfig(face_index=2))
    assert statuses(tracked) == "..."
    assert state.most_faces == 2


def test_scene_cut_is_not_bridged_and_finds_the_new_face():
    first, second = np.array([130, 140]), np.array([340, 160])
    frames = (
        clip([first] * 4, [1.0] * 4)
        + [255 - background(300, 480)] * 4
        + clip([second] * 4, [1.0] * 4, seed=7)
    )
    faces = [[(first, 1.0)]] * 4 + [[]] * 4 + [[(second, 1.0)]] * 4
    tracked, _ = run(frames, faces, ScriptedDetector())
    assert statuses(tracked) == "dddd....dddd"
    assert abs(centre_of(tracked[-1])[0] - 340) < 5


def test_every_frame_is_the_reference_smoothing():
    centres, scales = moving(6)
    detector = ScriptedDetector(landmarks=106, noise=1.5)
    config = TrackingConfig(method="every_frame")
    tracked, _ = run([background(300, 480)] * 6, [[(centre, 1.0)] for centre in centres], detector, config)
    again = ScriptedDetector(landmarks=106, noise=1.5)
    state = alignment.SmoothingState()
    for face, centre in zip(tracked, centres, strict=True):
        again.faces = [(centre, 1.0)]
        points = alignment.three_points_from_106(again.detect(None)[0].points)
        matrix, state = alignment.similarity_transform(points, state)
        np.testing.assert_array_equal(face.matrix, alignment.round_to_half(matrix))


def test_is_causal_and_deterministic(walk):
    centres, frames = walk
    faces = [[(centre, 1.0)] for centre in centres]
    whole, _ = run(frames[:20], faces[:20], ScriptedDetector(noise=1.0))
    part, _ = run(frames[:11], faces[:11], ScriptedDetector(noise=1.0))
    for first, second in zip(whole, part, strict=False):
        np.testing.assert_array_equal(first.matrix, second.matrix)


def test_with_the_built_in_detector(walk):
    centres, frames = walk
    state, detector, path = TrackingState(), MtcnnDetector(), []
    for frame in frames[:14]:
        face, state = track(frame, state, detector)
        assert face.status == "detected"
        path.append(centre_of(face))
    drift = np.array(path) - np.array(centres[:14])
    assert np.abs(drift - [0, true_points((0, 0))[0, 1]]).max() < 8
    assert np.diff(drift, axis=0).std() < 0.5
