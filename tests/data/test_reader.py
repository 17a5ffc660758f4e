import json
import subprocess
import sys
from pathlib import Path

import clip_samples
import jax.numpy as jnp
import numpy as np
import pytest
from clip_samples import FACTS, PROMPTS, clips

from lipforcing_jax.data import builder, reader
from lipforcing_jax.data.reader import Reading, read
from lipforcing_jax.data.sample import check_fits, read_facts
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.mfcc import mfcc
from lipforcing_jax.models import presets
from lipforcing_jax.models.conditioning import group_audio


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("data") / "set"
    builder.build(out, FACTS, PROMPTS, {"train": clips(range(10)), "val": clips(range(20, 23))})
    return out


def take(batches, count: int) -> list:
    return [next(batches) for _ in range(count)]


def numbers(batches) -> list[int]:
    """Which clips the batches hold, in order."""
    return np.concatenate([np.floor(b.ref_latent[:, 0, 0, 0, 0]) for b in batches]).astype(int).tolist()


def same(first: list, second: list) -> bool:
    return all(np.array_equal(x, y) for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True))


def test_a_whole_clip_comes_back_as_it_was_stored(folder):
    batch = next(read(folder, "val", Reading(batch=3, shuffle=False)))
    (_, stored), *_ = clips([20])
    for name, field in {"target": "target", "masked_video": "masked", "ref_sequence": "reference"}.items():
        np.testing.assert_array_equal(getattr(batch, name)[0], stored[field].astype(np.float32))
    np.testing.assert_array_equal(batch.ref_latent[0], stored["first"])
    np.testing.assert_array_equal(batch.audio[:1], group_audio(jnp.asarray(stored["audio"], jnp.float32)[None]))
    np.testing.assert_allclose(batch.cepstra[0], mfcc(stored["waveform"]), rtol=1e-6)
    np.testing.assert_array_equal(batch.waveform[0], stored["waveform"])
    assert batch.prompt.tolist() == [0, 1, 0]
    assert all(x.dtype == np.float32 for x in batch[:6]) and batch.prompt.dtype == np.int32


def test_windows_keep_picture_and_sound_together(folder):
    starts = set()
    for batch in take(read(folder, "train", Reading(batch=4, frames=2, chunk=2)), 12):
        first = np.round(16 * (batch.target[:, 0, 0, 0, 0] - batch.ref_latent[:, 0, 0, 0, 0])).astype(int)
        starts |= set(first.tolist())
        np.testing.assert_allclose(batch.masked_video - batch.target, 1000, atol=1)
        # Latent frame k covers the video frames 4k - 3 ... 4k; the first one repeats frame 0.
        np.testing.assert_array_equal(batch.audio[:, 0, -1], 4 * first)
        np.testing.assert_array_equal(batch.audio[:, 1, 0], 4 * first + 1)
        assert batch.waveform.shape == (4, 5 * 640)
        np.testing.assert_array_equal(batch.waveform[:, 0], 4 * first)
        np.testing.assert_array_equal(batch.waveform[:, -1], 4 * first + 4)
    assert starts == {0, 2, 4}


def test_every_epoch_has_all_clips_in_an_order_of_its_own(folder):
    found = numbers(take(read(folder, "train", Reading(batch=5)), 6))
    epochs = [found[i : i + 10] for i in (0, 10, 20)]
    assert [sorted(e) for e in epochs] == 3 * [list(range(10))]
    assert epochs[0] != epochs[1] != epochs[2]
    assert numbers(take(read(folder, "train", Reading(batch=5)), 6)) == found
    assert numbers(take(read(folder, "train", Reading(batch=5, seed=1)), 6)) != found
    assert numbers(take(read(folder, "train", Reading(batch=5, shuffle=False)), 2)) == list(range(10))


def test_hosts_read_disjoint_shares_of_every_epoch(folder):
    shares = [numbers(take(read(folder, "train", Reading(batch=5, host=h, hosts=2)), 3)) for h in (0, 1)]
    for epoch in range(3):
        first, second = (set(share[5 * epoch : 5 * epoch + 5]) for share in shares)
        assert first | second == set(range(10)) and not first & second
    assert set(shares[0][:5]) != set(shares[0][5:10]), "shares are drawn anew in every epoch"


def test_a_new_iterator_goes_on_where_another_stopped(folder):
    reading = Reading(batch=3, frames=2, seed=7)
    batches = read(folder, "train", reading)
    take(batches, 5)
    state = json.loads(json.dumps(batches.get_state()))
    expected = take(batches, 6)
    del batches
    again = read(folder, "train", reading)
    again.set_state(state)
    assert same(take(again, 6), expected)


def test_worker_processes_give_the_same_batches(folder):
    alone, helped = (read(folder, "train", Reading(batch=4, frames=2, workers=w)) for w in (0, 1))
    assert same(take(alone, 3), take(helped, 3))


def test_prompts_and_counts(folder):
    np.testing.assert_array_equal(reader.prompts(folder), PROMPTS.embeddings.astype(np.float32))
    assert reader.count(folder, "train") == 10 and reader.count(folder, "val") == 3


def test_neither_reading_nor_writing_loads_tensorflow(tmp_path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from clip_samples import *; from lipforcing_jax.data import builder, reader\n"
        "out = Path(sys.argv[2]); builder.build(out, FACTS, PROMPTS, {'train': clips(range(4))})\n"
        "next(reader.read(out, 'train', reader.Reading(2)))\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('tensorflow', 'apache_beam')])\n"
    )
    arguments = (str(Path(clip_samples.__file__).parent), str(tmp_path / "set"))
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr


def test_what_cannot_be_read_is_refused_in_one_sentence(folder, tmp_path):
    with pytest.raises(UserError, match="no data set in .*lipforcing data build"):
        read(tmp_path, "train", Reading(1))
    with pytest.raises(UserError, match="no split 'test'; it has train, val"):
        read(folder, "test", Reading(1))
    with pytest.raises(UserError, match="6 latent frames, so windows of 7"):
        read(folder, "train", Reading(1, frames=7))
    with pytest.raises(UserError, match="3 clips, too few for 4 hosts"):
        read(folder, "val", Reading(1, hosts=4))


def test_a_damaged_data_set_is_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "prompts.npz").unlink()
    (tmp_path / "prompts.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="prompts of the data set, .* missing or damaged"):
        read(tmp_path, "train", Reading(1))
    (tmp_path / "metadata.json").unlink()
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(UserError, match="damaged; build it again"):
        read_facts(tmp_path)


def test_facts_are_checked_against_the_networks_to_be_trained(folder):
    with pytest.raises(UserError, match="cells 2 instead of 16.*audio_width 3 instead of 64"):
        check_fits(folder, presets.by_name("nano"))
    with pytest.raises(UserError, match="preset nano instead of 14b"):
        check_fits(folder, presets.by_name("14b"))
