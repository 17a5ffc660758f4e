"""Stage "sync_net" from nothing at the smallest size, and the windows that it learns from."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from lipforcing_jax.cli import main
from lipforcing_jax.data import speech_dataset
from lipforcing_jax.data.frame_pool import random_mouth
from lipforcing_jax.errors import UserError
from lipforcing_jax.evaluation import sync
from lipforcing_jax.models import presets
from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.training import sync_net
from lipforcing_jax.training.run import load_config
from lipforcing_jax.weights import networks

CONFIG = Path(__file__).parents[2] / "configs" / "nano_syncnet.py"
SPEECH_FRAMES = 29
SIZES = f"pairs=2 seen_pairs=2 heldout_pairs=1 latent_frames=6 speech_clips=32 speech_frames={SPEECH_FRAMES} rooms=1"
FIELDS = [*SIZES.split(), "steps=2", "batch=2", "windows=3", "workers=0"]
NANO = presets.by_name("nano")


def source(pairs: int = 3, frames: int = 12) -> sync_net.Source:
    """Pictures and cepstra that hold their own clip and time."""
    rows = 4 * frames - 1
    clip = np.arange(pairs)[:, None] * 2 + np.arange(2)
    levels = np.zeros((pairs, 2, frames, 32, 32, 3), np.uint8)
    levels[:] = (clip[:, :, None] * 16 + np.arange(frames))[..., None, None, None]
    cepstra = np.zeros((1, pairs, 2, rows, 13), np.float32)
    cepstra[..., 0] = clip[:, :, None]
    cepstra[..., 1] = np.arange(rows)
    mouths = np.broadcast_to(np.arange(frames, dtype=np.float32)[:, None], (pairs, 2, frames, 6))
    return sync_net.Source(levels, levels[:2], mouths, cepstra)


def test_windows_meet_the_sound_of_their_own_clip_and_moment(monkeypatch):
    monkeypatch.setattr(sync_net, "same_look", lambda rng: lambda frames: frames)
    drawn = sync_net.batch_of(source(), np.random.default_rng(0), 2, 4, SyncNetConfig())
    assert drawn.levels.shape == (16, 5, 32, 32, 3) and drawn.cepstra.shape == (16, 20, 13)
    of_picture, moment = np.divmod(drawn.levels[:, 0, 0, 0, 0], 16)
    np.testing.assert_array_equal(of_picture, drawn.cepstra[:, 0, 0])
    np.testing.assert_array_equal(moment, drawn.times)
    np.testing.assert_array_equal(4 * moment, drawn.cepstra[:, 0, 1])
    np.testing.assert_array_equal(moment[:, None] + np.arange(5), drawn.mouths[:, :, 0])
    np.testing.assert_array_equal(np.unique(drawn.clips, return_counts=True)[1], [4] * 4)
    for clips in drawn.clips.reshape(2, 2, 4):  # a pair's two clips are shown at the same moments
        first, second = (drawn.times[drawn.clips == clip[0]] for clip in clips)
        np.testing.assert_array_equal(first, second)
        assert len(set(first)) == 4


def test_a_batch_follows_from_its_seed():
    a, b, c = (sync_net.batch_of(source(), np.random.default_rng(i), 2, 4, SyncNetConfig()) for i in (1, 1, 2))
    np.testing.assert_array_equal(a.levels, b.levels)
    assert not np.array_equal(a.levels, c.levels)


def test_both_mouths_of_a_pair_get_the_same_look():
    """Else the look would tell which of the two speaks."""
    frames = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), np.uint8)
    look = sync_net.same_look(np.random.default_rng(3))
    np.testing.assert_array_equal(look(frames), look(frames))
    others = [sync_net.same_look(np.random.default_rng(i))(frames) for i in range(4)]
    assert all(not np.array_equal(look(frames), other) for other in others[:3])


def write_speech(folder: Path, split: str) -> None:
    """A shard of `speech_dataset` with noise for speech, which is made faster."""
    rng = np.random.default_rng(len(split))
    clips = speech_dataset.SHARD
    noise = rng.integers(-3000, 3000, (clips, SPEECH_FRAMES * 640), np.int16)
    mouths = np.stack([random_mouth(rng, SPEECH_FRAMES) for _ in range(clips)]).astype(np.float16)
    folder.mkdir(exist_ok=True)
    path = folder / f"{split}_{SPEECH_FRAMES}_0000.npz"
    np.savez(path, audio=noise, mouth=mouths, phones=np.zeros((clips, SPEECH_FRAMES), np.int16))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A work folder with nano's autoencoder and some speech, in which the stage has run."""
    folder = tmp_path_factory.mktemp("nano")
    name = networks.FILES["vae"]
    shutil.copy(networks.bundled_folder(NANO) / name, folder / name)
    for split in ("train", "heldout"):
        write_speech(folder / "speech", split)
    main(["train", "--config", str(CONFIG), "--workdir", str(folder), *FIELDS])
    return folder


def test_the_stage_leaves_its_weights_and_its_record(workdir):
    """The record's scores are those of the weights that are there."""
    net = networks.load_sync_net(NANO, workdir)
    rows = [json.loads(row) for row in (workdir / "sync_net" / "metrics.jsonl").read_text().splitlines()]
    (scores,) = [row for row in rows if "truth_d" in row]
    assert len(rows) == 2 and 0 <= rows[0]["found"] <= 1
    found = sync.measure(net, sync_net.heldout_pairs(load_config(CONFIG, FIELDS), NANO, workdir), 21)
    assert found["truth_d"] == pytest.approx(scores["truth_d"], rel=1e-5) and np.isfinite(found["wrong_c"])


def test_pictures_seen_through_the_autoencoder_are_kept(workdir):
    config = load_config(CONFIG, FIELDS)
    before = {path: path.stat().st_mtime_ns for path in (workdir / "talkers").iterdir()}
    held = sync_net.heldout_pairs(config, NANO, workdir)
    assert before == {path: path.stat().st_mtime_ns for path in (workdir / "talkers").iterdir()}
    drawn = np.load(workdir / "talkers" / "heldout_21_0000.npy")
    size = NANO.sync_net.face_size
    assert held.levels.shape == (1, 2, 21, size, size, 3)
    step = 128 // size
    shrunk = drawn.reshape(1, 2, 21, size, step, size, step, 3).mean((4, 6))
    error = np.mean((held.levels - shrunk) ** 2)
    assert 10 * np.log10(255**2 / error) > 28


def test_without_an_autoencoder_nothing_is_trained(workdir, tmp_path):
    for name in ("speech", "talkers"):
        (tmp_path / name).symlink_to(workdir / name)
    with pytest.raises(UserError, match="tiny_vae.safetensors"):
        sync_net.train(load_config(CONFIG, FIELDS), tmp_path)


def test_too_little_speech_is_refused(workdir):
    with pytest.raises(UserError, match="give speech_clips=80"):
        sync_net.train(load_config(CONFIG, [*FIELDS, "pairs=40"]), workdir)


def test_a_missing_judge_is_named(tmp_path):
    with pytest.raises(UserError, match="syncnet.safetensors"):
        networks.load_sync_net(NANO, tmp_path)
