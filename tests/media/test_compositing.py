import cv2
import numpy as np
import pytest

from lipforcing_jax.media import alignment, compositing
from lipforcing_jax.media.alignment import align_face, align_face_reference, square_matrix
from lipforcing_jax.media.mouth_mask import pixel_mask

MATRIX = np.array([[1.2, 0.15, -160.0], [-0.15, 1.2, -40.0]])


@pytest.fixture(scope="module")
def frame():
    coarse = np.random.default_rng(3).uniform(0, 255, (18, 16, 3)).astype(np.float32)
    smooth = cv2.resize(coarse, (480, 540), interpolation=cv2.INTER_CUBIC)
    fine = np.random.default_rng(4).normal(0, 6, smooth.shape)
    return np.clip(smooth + fine, 0, 255).astype(np.uint8)


def test_box_form_equals_the_whole_frame():
    matrix = np.array([[1.3, 0.1, -200], [-0.1, 1.3, -150]], np.float32)
    shape = (700, 640)
    box = alignment.frame_box(matrix, np.array([0.0, 0, 419, 559]), shape, margin=2)
    whole = (0, 0, shape[1], shape[0])
    for part, full in zip(
        compositing.footprint_weight(matrix, box), compositing.footprint_weight(matrix, whole), strict=True
    ):
        inside = full[box[1] : box[3], box[0] : box[2]]
        np.testing.assert_allclose(part, inside, atol=1e-4)
        assert full.sum(dtype=np.float64) == pytest.approx(inside.sum(dtype=np.float64))


def test_tiny_face_has_no_edge_but_does_not_fail():
    matrix = np.array([[30.0, 0, -300], [0, 30.0, -300]], np.float32)
    picture = np.full((60, 60, 3), 100, np.uint8)
    aligned = align_face_reference(picture, matrix)
    result = compositing.paste_reference(picture, np.ones((512, 512, 3), np.float32), aligned, matrix, "full")
    assert result.max() > 200


@pytest.mark.parametrize("mode", ["mouth", "full"])
@pytest.mark.parametrize("size", [64, 128, 512])
def test_face_weight(mode, size):
    weight = compositing.face_weight(size, mode)
    assert weight.min() >= 0
    assert weight.max() == pytest.approx(1, abs=1e-3)
    assert not weight[0].any() and not weight[-1].any() and not weight[:, 0].any() and not weight[:, -1].any()
    assert weight[int(0.62 * size), size // 2] == pytest.approx(1, abs=1e-3)
    if mode == "mouth":
        assert not weight[pixel_mask(size) == 1].any()
        assert not weight[: int(0.3 * size)].any()


@pytest.mark.parametrize("mode", ["mouth", "full"])
def test_unchanged_face_comes_back_bit_for_bit(frame, mode):
    aligned = align_face(frame, MATRIX, 128)
    result = compositing.paste_face(frame, aligned, MATRIX, mode, aligned=aligned)
    np.testing.assert_array_equal(result, frame)
    assert result is not frame


def test_unchanged_face_without_the_original_is_near_the_frame(frame):
    smooth = cv2.GaussianBlur(frame, (0, 0), 6)
    result = compositing.paste_face(smooth, align_face(smooth, MATRIX, 128), MATRIX, "full")
    assert np.abs(result.astype(int) - smooth).mean() < 0.5
    assert np.abs(result.astype(int) - smooth).max() <= 8


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_only_the_mouth_region_changes(frame, dtype):
    before = frame.copy()
    black = np.zeros((128, 128, 3), dtype)
    result = compositing.paste_face(frame, black, MATRIX)
    np.testing.assert_array_equal(frame, before)
    to_face = square_matrix(MATRIX, 128)
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
    face_xy = np.stack([x, y], -1) @ to_face[:, :2].T + to_face[:, 2]
    outside = (face_xy < 2).any(-1) | (face_xy > 125).any(-1) | (face_xy[..., 1] < 45)
    assert outside.mean() > 0.5
    np.testing.assert_array_equal(result[outside], frame[outside])
    middle = np.abs(face_xy - [64, 80]).max(-1) < 10
    assert not result[middle].any()


def test_white_and_black_do_not_wrap_around(frame):
    for value in (0.0, 1.0):
        result = compositing.paste_face(frame, np.full((128, 128, 3), value, np.float32), MATRIX, "full")
        low, high = (0, frame) if value == 0 else (frame, 255)
        assert (result >= np.maximum(low, 0).astype(int) - 12).all()
        assert (result <= high.astype(int) + 12 if value == 0 else result <= 255).all()


def test_face_outside_of_the_frame_changes_nothing(frame):
    away = MATRIX + [[0, 0, 5000], [0, 0, 0]]
    result = compositing.paste_face(frame, np.zeros((128, 128, 3), np.uint8), away)
    np.testing.assert_array_equal(result, frame)


@pytest.mark.parametrize("scale", [0.4, 4.0, 12.0])
def test_any_scale_puts_the_face_at_its_place(scale):
    """A coloured blob at the mouth of the generated face lands where the matrix says."""
    matrix = np.array([[scale, 0, 210 - scale * 600], [0, scale, 336 - scale * 700]])
    picture = np.full((1400, 1200, 3), 120, np.uint8)
    face = np.full((128, 128, 3), 120, np.uint8)
    cv2.circle(face, (64, 86), 9, (255, 120, 120), -1)
    result = compositing.paste_face(picture, face, matrix)
    ys, xs = np.nonzero(result[..., 0] > 190)
    crop_x, crop_y = 64.5 * 420 / 128 - 0.5, 86.5 * 560 / 128 - 0.5
    assert xs.mean() == pytest.approx(600 + (crop_x - 210) / scale, abs=0.3 + 0.3 / scale)
    assert ys.mean() == pytest.approx(700 + (crop_y - 336) / scale, abs=0.3 + 0.3 / scale)


def test_colour_error_is_removed_up_to_the_mouth(frame):
    aligned = align_face(frame, MATRIX, 128).astype(np.float32)
    tint = np.array([9.0, -6.0, 4.0], np.float32) + np.linspace(-4, 4, 128, dtype=np.float32)[:, None, None]
    matched = compositing.match_colour(aligned + tint, aligned)
    assert np.abs(tint).max() > 10
    assert np.abs(matched - aligned).mean() < 0.7
    changed = aligned.copy()
    changed[70:90, 50:78] = 20  # another mouth says nothing about the colour
    np.testing.assert_allclose(compositing.match_colour(changed, aligned), changed, atol=1e-3)


def test_no_seam_from_a_tint(frame):
    aligned = align_face(frame, MATRIX, 128)
    tinted = np.clip(aligned.astype(np.float32) + 8, 0, 255) / np.float32(255)
    plain = compositing.paste_face(frame, tinted, MATRIX)
    matched = compositing.paste_face(frame, tinted, MATRIX, aligned=aligned)
    assert np.abs(plain.astype(int) - frame).mean() > 10 * np.abs(matched.astype(int) - frame).mean()


def test_detail_stays_where_nothing_moved_and_goes_where_it_did(frame):
    aligned = align_face(frame, MATRIX, 128).astype(np.float32)
    changed = aligned.copy()
    changed[70:90, 50:78] = 255 - changed[70:90, 50:78]
    share = compositing.detail_share(changed, aligned)
    assert share[100:115, 56:72].min() > 0.99
    assert share[76:84, 58:70].max() < 0.5
    np.testing.assert_allclose(compositing.detail_share(aligned, aligned), 1, atol=1e-5)
