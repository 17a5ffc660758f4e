import numpy as np
import pytest

from lipforcing_jax.data import talker_dataset
from lipforcing_jax.data.camera import clean_camera, sample_camera
from lipforcing_jax.data.identity import sample_identity
from lipforcing_jax.data.motion import sample_motion, still_motion
from lipforcing_jax.data.mouth_drawing import mouth_field, mouth_pose, opening_coverage
from lipforcing_jax.data.portrait import prepare
from lipforcing_jax.data.renderer import render
from lipforcing_jax.data.talkers import render_clip, render_clips, render_scene

SIZE = 64


def _track(openings, teeth=0.5, width=0.5, rounding=0.0):
    rows = [(0.8 * o, o, width, rounding, teeth, 0.3) for o in openings]
    return np.asarray(rows, np.float32)


def _grid(size=96):
    x, y = np.meshgrid((np.arange(size) + 0.5) / size - 0.5, (np.arange(size) + 0.5) / size * 4 / 3)
    return x.astype(np.float32), y.astype(np.float32)


def _coverage(identity, row):
    x, y = _grid()
    field = mouth_field(identity, mouth_pose(identity, row), x, y)
    return opening_coverage(field, y, 0.6 * 4 / 3 / 96)


def test_a_clip_is_deterministic():
    first = render_clip(1, 2, _track([0.1, 0.5]), SIZE, camera_seed=3)
    again = render_clip(1, 2, _track([0.1, 0.5]), SIZE, camera_seed=3)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("other", ["identity", "motion", "camera"])
def test_each_seed_changes_the_clip(other):
    seeds = {"identity": 1, "motion": 2, "camera": 3}
    seeds_changed = {**seeds, other: 11}
    clips = [
        render_clip(s["identity"], s["motion"], _track([0.3]), SIZE, camera_seed=s["camera"])
        for s in (seeds, seeds_changed)
    ]
    assert not np.array_equal(*clips)


@pytest.mark.parametrize("size", [48, 64, 130])
def test_any_size_shows_the_same_picture(size):
    clip = render_clip(5, 5, _track([0.4]), size)
    assert clip.shape == (1, size, size, 3) and clip.dtype == np.uint8
    reference = render_clip(5, 5, _track([0.4]), 64)
    assert abs(float(clip.mean()) - float(reference.mean())) < 4


def test_train_and_heldout_talkers_look_different():
    clips = [render_clip(3, 1, _track([0.2]), SIZE, split=split) for split in ("train", "heldout")]
    assert np.abs(clips[0].astype(int) - clips[1]).mean() > 5


@pytest.mark.parametrize("seed", range(6))
def test_closed_lips_show_no_interior(seed):
    for width, rounding in [(0.5, 0.0), (1.0, 0.0), (0.0, 0.0), (0.5, 1.0)]:
        row = _track([0.0], width=width, rounding=rounding)[0]
        assert _coverage(sample_identity(seed), row).max() == 0


@pytest.mark.parametrize("seed", range(6))
def test_the_interior_grows_with_opening(seed):
    areas = [_coverage(sample_identity(seed), row).sum() for row in _track(np.linspace(0, 1, 9))]
    assert np.all(np.diff(areas) > 0)


@pytest.mark.parametrize("seed", range(4))
def test_an_open_mouth_is_visible_in_the_pixels(seed):
    portrait = prepare(sample_identity(seed), SIZE)
    closed, half, wide = render(portrait, _track([0.0, 0.5, 1.0]), still_motion(3)).astype(int)
    inside = np.abs(half - closed).sum(), np.abs(wide - closed).sum()
    assert 0 < inside[0] < inside[1]


def test_a_narrow_mouth_is_narrower_than_a_spread_one():
    identity = sample_identity(4)
    spans = []
    for width, rounding in [(0.5, 1.0), (0.0, 0.0), (0.5, 0.0), (1.0, 0.0)]:
        cover = _coverage(identity, _track([0.4], width=width, rounding=rounding)[0])
        spans.append(int((cover > 0).any(axis=0).sum()))
    assert spans == sorted(spans) and spans[0] < spans[-1]


@pytest.mark.parametrize("seed", range(4))
def test_warps_do_not_fold(seed):
    identity = sample_identity(seed)
    x, y = _grid()
    for row in (*_track([0.0, 0.3, 1.0], rounding=0.5), _track([0.2], width=0.0, rounding=1.0)[0]):
        field = mouth_field(identity, mouth_pose(identity, row), x, y)
        assert np.diff(field.x, axis=1).min() > 0
        above, below = y <= field.top, y >= field.bottom
        assert np.diff(field.y_upper, axis=0)[above[1:] & above[:-1]].min() > -1e-4
        assert np.diff(field.y_lower, axis=0)[below[1:] & below[:-1]].min() > -1e-4


@pytest.mark.parametrize("seed", range(5))
def test_another_mouth_leaves_the_rest_of_the_picture_identical(seed):
    rng = np.random.default_rng(seed)
    portrait = prepare(sample_identity(seed), SIZE)
    motion = sample_motion(seed, 3)
    tracks = [rng.random((3, 6), dtype=np.float32) for _ in range(2)]
    clean = [render(portrait, track, motion, clean_camera()) for track in tracks]
    real = [render(portrait, track, motion, sample_camera(seed)) for track in tracks]
    for first, second in (clean, real):
        assert not np.array_equal(first, second)
        np.testing.assert_array_equal(first[:, : int(0.22 * SIZE)], second[:, : int(0.22 * SIZE)])
    # Without the codec's blocks the limit is the lower face itself, here with the slack of head turns.
    np.testing.assert_array_equal(clean[0][:, : int(0.36 * SIZE)], clean[1][:, : int(0.36 * SIZE)])


def test_displacement_is_exactly_zero_outside_the_lower_face():
    identity = sample_identity(2)
    x, y = _grid()
    field = mouth_field(identity, mouth_pose(identity, _track([1.0], rounding=0.3)[0]), x, y)
    outside_above = y < 0.60
    outside_below = (y > 1.261) | ((np.abs(x) > 0.471) & (y > 0.8))
    np.testing.assert_array_equal(field.y_upper[outside_above], y[outside_above])
    np.testing.assert_array_equal(field.y_lower[outside_below], y[outside_below])
    np.testing.assert_array_equal(field.x[np.abs(x) > 0.38], x[np.abs(x) > 0.38])


def test_render_checks_shapes():
    portrait = prepare(sample_identity(0), 32)
    with pytest.raises(ValueError, match="mouth"):
        render(portrait, np.zeros((3, 5), np.float32), still_motion(3))
    with pytest.raises(ValueError, match="motion"):
        render(portrait, np.zeros((3, 6), np.float32), still_motion(2))


def test_a_scene_has_the_size_asked_for_and_moves_the_mouth():
    clip = render_scene(3, 3, _track([0.0, 0.8]), 96, 80)
    assert clip.shape == (2, 80, 96, 3)
    assert not np.array_equal(clip[0], clip[1])


def test_several_tracks_at_once_equal_one_by_one():
    tracks = np.stack([_track([0.0, 0.4]), _track([0.7, 0.1])])
    together = render_clips(6, 7, tracks, SIZE, camera_seed=8)
    for track, clip in zip(tracks, together, strict=True):
        np.testing.assert_array_equal(clip, render_clip(6, 7, track, SIZE, camera_seed=8))


def test_pairs_from_a_later_seed_have_the_faces_of_those_seeds(tmp_path):
    mouths = np.zeros((2, 2, 3, 6), np.float32)
    (shard,) = talker_dataset.build(tmp_path, mouths, 32, "train", first=20)
    assert shard.name == "train_3_0002.npy"
    np.testing.assert_array_equal(np.load(shard)[1], render_clips(21, 21, mouths[1], 32, 21, "train"))
