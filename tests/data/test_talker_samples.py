from dataclasses import replace

import numpy as np
import pytest

from lipforcing_jax.data import encoding, reader
from lipforcing_jax.data.encoding import to_int16
from lipforcing_jax.data.reader import Reading
from lipforcing_jax.data.sample import check_fits
from lipforcing_jax.data.talker_samples import Talkers, build_talkers, repeats, still
from lipforcing_jax.errors import UserError
from lipforcing_jax.models import presets

NANO = presets.by_name("nano")
TALKERS = Talkers(
    pairs=4, latent_frames=2, looks=1, silent_share=0.4, heldout=1, speech_clips=8, speech_frames=6
)  # fmt: skip
SILENT = 3
"""Clip of the second pair that does not speak."""


@pytest.fixture(scope="module")
def encoder():
    return encoding.load(NANO)


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """Speech and pictures as their stages leave them, here of noise; every clip has a colour of its own."""
    folder, rng = tmp_path_factory.mktemp("work"), np.random.default_rng(0)
    (folder / "speech").mkdir()
    mouth = rng.random((8, 6, 6)).astype(np.float16)
    mouth[SILENT] = 0.25
    audio = rng.integers(-5000, 5000, (8, 6 * 640)).astype(np.int16)
    np.savez(folder / "speech" / "train_6_0000.npz", audio=audio, mouth=mouth, phones=np.zeros((8, 6), np.int16))
    (folder / "talkers").mkdir()
    pictures = rng.integers(0, 40, (4, 2, 5, 128, 128, 3)) + 25 * np.arange(8).reshape(4, 2, 1, 1, 1, 1)
    np.save(folder / "talkers" / "train_5_0000.npy", pictures.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def dataset(workdir, encoder):
    return build_talkers(workdir, encoder, TALKERS)


def test_both_directions_of_every_pair_become_samples(workdir, dataset, encoder):
    """Validation pairs come as they were drawn: masked, reference and first frame are those of the other clip."""
    pictures = np.load(workdir / "talkers" / "train_5_0000.npy")[3]
    audio = np.load(workdir / "speech" / "train_6_0000.npz")["audio"].reshape(4, 2, -1)[3, :, : 5 * 640]
    seen, masked = encoder.look(pictures)
    batch = next(reader.read(dataset, "val", Reading(2, shuffle=False)))
    for target, source in ((0, 1), (1, 0)):
        np.testing.assert_array_equal(batch.target[target], seen[target])
        np.testing.assert_array_equal(batch.ref_latent[target], seen[source, :1])
        np.testing.assert_array_equal(batch.ref_sequence[target], seen[source])
        np.testing.assert_array_equal(batch.masked_video[target], masked[source])
        np.testing.assert_array_equal(batch.waveform[target], audio[target])
        heard = encoder.hear(audio[target].astype(np.float32) / 32767, 5)
        np.testing.assert_array_equal(batch.audio[target], reader.grouped(heard))


def test_silence_has_its_share_and_rooms_of_its_own(workdir, dataset):
    silence = np.load(workdir / "speech" / "train_6_0000.npz")["audio"][SILENT, : 5 * 640]
    count = reader.count(dataset, "train")
    batch = next(reader.read(dataset, "train", Reading(count)))
    silent = (batch.waveform == silence).all(axis=1)
    assert count == 10 + 7 and silent.sum() == 7, "3 pairs, both ways, in 2 looks: 2 of the 12 are silent"
    assert len(np.unique(batch.audio[silent].reshape(7, -1), axis=0)) == 7
    assert len(np.unique(batch.target[silent].reshape(7, -1), axis=0)) == 2


def test_repeats_make_the_share_exact():
    silent = np.zeros((1000, 2), bool)
    silent[::25, 1] = True
    for looks in (0, 1, 3):
        counts = repeats(silent, replace(TALKERS, looks=looks, silent_share=0.15))
        of = np.broadcast_to(silent, counts.shape)
        assert counts.shape == (looks + 1, 1000, 2) and (counts[~of] == 1).all()
        assert counts[of].sum() / counts.sum() == pytest.approx(0.15, abs=5e-4)
        assert np.ptp(counts[of]) <= 1
    assert (repeats(silent, replace(TALKERS, silent_share=0.0)) == 1).all()
    assert (repeats(np.zeros((5, 2), bool), TALKERS) == 1).all()


def test_a_mouth_that_stays_is_silent():
    mouths = np.random.default_rng(0).random((3, 2, 20, 6)) * 0.5
    mouths[1, 0] = 0.3
    assert np.argwhere(still(mouths)).tolist() == [[1, 0]]


def test_the_data_set_names_the_networks_that_made_it(dataset, encoder, tmp_path):
    assert check_fits(dataset, NANO, encoder.weights).latent_frames == 2
    with pytest.raises(UserError, match="weights .* instead of other"):
        check_fits(dataset, NANO, "other")


def test_the_same_plan_gives_the_same_data(workdir, dataset, encoder, tmp_path):
    for name in ("speech", "talkers"):
        (tmp_path / name).symlink_to(workdir / name)
    again = build_talkers(tmp_path, encoder, TALKERS)
    first, second = (next(reader.read(f, "train", Reading(17, shuffle=False))) for f in (dataset, again))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_samples_are_rounded_as_wave_files_are():
    stored = np.array([-32767, -1, 0, 1, 32767], np.int16)
    np.testing.assert_array_equal(to_int16(stored.astype(np.float32) / 32767), stored)
    assert to_int16(np.array([2.0, -2.0], np.float32)).tolist() == [32767, -32767]


