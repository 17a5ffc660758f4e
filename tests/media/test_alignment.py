import cv2
import numpy as np
import pytest

from lipforcing_jax.media import alignment
from lipforcing_jax.media.alignment import similarity


def test_similarity_recovers_a_known_one_and_never_mirrors():
    turn, scale, shift = 0.4, 2.5, np.array([30.0, -12.0])
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = alignment.FIVE_POINT_TEMPLATE
    matrix = similarity(points, points @ linear.T + shift)
    np.testing.assert_allclose(matrix, np.concatenate([linear, shift[:, None]], axis=1), atol=1e-3)
    mirrored = similarity(points * [-1, 1], points)
    assert np.linalg.det(mirrored[:, :2]) > 0


def test_alignment_points_for_both_detectors():
    five = np.array([[0, 0], [10, 0], [5, 6], [1, 10], [9, 12]], np.float32)
    points, template = alignment.alignment_points(five)
    np.testing.assert_array_equal(points, [[0, 0], [10, 0], [5, 6], [5, 11]])
    assert template is alignment.FIVE_POINT_TEMPLATE
    points, template = alignment.alignment_points(np.zeros((106, 2), np.float32))
    assert points.shape == (3, 2)
    assert template is alignment.REFERENCE_TEMPLATE
    with pytest.raises(ValueError, match="68"):
        alignment.alignment_points(np.zeros((68, 2)))


def test_invert_and_transform_points():
    matrix = np.array([[1.5, 0.4, -20], [-0.4, 1.5, 7]])
    points = np.random.default_rng(0).uniform(0, 500, (9, 2))
    there = alignment.transform_points(matrix, points)
    np.testing.assert_allclose(alignment.transform_points(alignment.invert(matrix), there), points)


def test_small_aligned_face_is_the_reference_crop_made_smaller():
    frame = cv2.GaussianBlur(
        np.random.default_rng(1).integers(0, 256, (360, 480, 3)).astype(np.uint8), (0, 0), 6
    )
    frame = cv2.normalize(frame, None, 0, 255, cv2.NORM_MINMAX)
    matrix = np.array([[1.6, 0.2, -150], [-0.2, 1.6, -60]], np.float32)
    small = alignment.align_face(frame, matrix, 128)
    crop = alignment.crop_reference(frame, matrix).astype(np.float32)
    expected = cv2.resize(crop, (128, 128), interpolation=cv2.INTER_AREA)
    inside = (slice(2, -2), slice(2, -2))
    assert np.abs(small[inside] - expected[inside]).mean() < 1.0


def test_outside_of_the_frame_is_grey():
    matrix = np.array([[1, 0, 1000], [0, 1, 0]], np.float32)
    face = alignment.align_face(np.zeros((50, 50, 3), np.uint8), matrix, 32)
    np.testing.assert_array_equal(face, np.full((32, 32, 3), 127))
