from pathlib import Path

import numpy as np
import pytest
from cartoon_face import background, draw_face
from make_media import write_video
from scipy.io import wavfile

from lipforcing_jax.cli import main
from lipforcing_jax.data import reader
from lipforcing_jax.data.prepare import Preparation, prepare, sample_names, timed_sound
from lipforcing_jax.data.prepared import read_lists
from lipforcing_jax.data.segments import Quality
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.video import read_video

SCENE = background()
FRAMES = 170
PREPARATION = Preparation(size=96, val=1, quality=Quality(min_face=50))


def talker(count: int) -> list[np.ndarray]:
    return [draw_face(SCENE, (120 + 3 * np.sin(0.3 * i), 120), mouth=6 + 4 * np.sin(1.7 * i)) for i in range(count)]


def sound(count: int) -> np.ndarray:
    """Of so many video frames at 16 kHz: louder and louder, so that a place in it can be told."""
    time = np.arange(count * 640) / 16000
    return (0.08 * time * np.sin(2 * np.pi * 300 * time)).astype(np.float32)[None]


def film(path: Path, count: int, audio: np.ndarray | None = None) -> Path:
    """A talker in a Matroska file, whose sound is stored as it is."""
    track = None if audio is None else ("pcm_s16le", 16000, audio)
    return write_video(path, talker(count), audio=track)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """One video of use, and all that can be wrong with the others."""
    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    film(folder / "deep" / "good.mkv", FRAMES, sound(FRAMES))
    film(folder / "short.mkv", 20, sound(20))
    film(folder / "mute.mkv", 5)
    (folder / "broken.mp4").write_bytes(b"no video at all")
    (folder / "notes.txt").write_text("not looked at")
    return folder


@pytest.fixture(scope="module")
def prepared(videos, tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared") / "samples"
    return out, prepare(videos, out, PREPARATION)


def test_a_sample_is_in_the_layout_of_the_reference(prepared):
    out, made = prepared
    assert made.splits == {"train": ["deep_good_0000"], "val": ["deep_good_0000"]}, "one sample is in both lists"
    assert (out / "train_list.txt").read_text() == f"{out.absolute()}/deep_good_0000\n"
    sample = out / "deep_good_0000"
    faces = np.stack(list(read_video(sample / "sub_clip.mp4")))
    assert faces.shape == (162, 96, 96, 3) and faces.std() > 20
    rate, heard = wavfile.read(sample / "audio.wav")
    assert rate == 16000 and heard.dtype == np.int16 and heard.shape == (162 * 640,)
    np.testing.assert_allclose(heard / 32767, sound(FRAMES)[0, : len(heard)], atol=1e-4)
    assert (sample / "prompt.txt").read_text() == "a person talking\n"
    assert (out / "contact_sheet.png").stat().st_size > 1000


def test_what_is_left_out_is_listed_and_counted(prepared):
    out, made = prepared
    assert (made.videos, made.used, len(made.left_out)) == (4, 1, 4)
    assert (out / "left_out.txt").read_text().split("\n")[:-1] == made.left_out
    lines = "\n".join(made.left_out)
    assert "broken.mp4\" can't be read" in lines
    assert 'mute.mkv" has no audio track' in lines
    assert "short.mkv, 0.0 s: too short: 0.80 s to its end, 6.48 s are needed" in lines
    assert "deep/good.mkv, 6.5 s: too short: 0.32 s" in lines


def test_folders_that_give_nothing_are_refused(videos, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(UserError, match="does not exist"):
        prepare(tmp_path / "nowhere", out, PREPARATION)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no videos in .*empty"):
        prepare(tmp_path / "empty", out, PREPARATION)
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "mute.mkv").symlink_to(videos / "mute.mkv")
    with pytest.raises(UserError, match="No segment of the 1 videos .* has no audio track"):
        prepare(tmp_path / "one", out, PREPARATION)
    assert not out.exists() and not list(tmp_path.glob(".*"))


def test_segments_too_short_for_two_clips_are_refused(videos, tmp_path):
    with pytest.raises(UserError, match="Segments of 3.24 s are too short.*at least 6.48 s"):
        prepare(videos, tmp_path / "out", Preparation(seconds=3.24))


def test_samples_are_not_overwritten(videos, prepared):
    out, _ = prepared
    with pytest.raises(UserError, match="there already"):
        prepare(videos, out, PREPARATION)


def test_the_sound_begins_with_the_picture(tmp_path):
    """A picture that begins 0.2 s after the sound hears what sounds then, not what sounded first."""
    times = 0.2 + np.arange(30) / 25
    path = write_video(tmp_path / "late.mkv", talker(30), times=times, audio=("pcm_s16le", 16000, sound(40)))
    np.testing.assert_allclose(timed_sound(path), sound(40)[0, 3200:], atol=1e-4)


def test_names_of_samples_differ():
    folder = Path("v")
    paths = [folder / name for name in ("a.mkv", "a.mp4", "b/c.mp4", "b_c.mp4")]
    assert list(sample_names(paths, folder).values()) == ["a", "a-2", "b_c", "b_c-2"]


def test_from_samples_to_batches_by_the_command(prepared, tmp_path, capsys):
    """A folder that has moved since is understood; samples that can't be used are told."""
    samples, out = tmp_path / "moved", tmp_path / "set"
    samples.mkdir()
    for path in prepared[0].iterdir():
        (samples / path.name).symlink_to(path)
    (samples / "train_list.txt").unlink()
    (samples / "train_list.txt").write_text("/gone/deep_good_0000\n/gone/odd\n")
    (samples / "odd").mkdir()
    for name in ("sub_clip.mp4", "audio.wav"):
        (samples / "odd" / name).symlink_to(samples / "deep_good_0000" / name)
    (samples / "odd" / "prompt.txt").write_text("a cat")
    arguments = ["data", "build", "--samples", str(samples), "--out", str(out), "--latent-frames", "6"]
    assert main(arguments) == 0
    done = capsys.readouterr()
    assert "2 of 3 clips encoded (train 1, val 1)" in done.out
    assert "left out: The weights hold no embedding of the prompt 'a cat' of odd" in done.err
    batch = next(reader.read(out, "train", reader.Reading(1)))
    assert batch.target.shape == (1, 6, 16, 16, 16) and np.abs(batch.target - batch.ref_sequence).max() > 0.1
    assert main(arguments) == 2 and "there already" in capsys.readouterr().err


def test_lists_are_checked(tmp_path):
    with pytest.raises(UserError, match="no train_list.txt in .*lipforcing data prepare"):
        read_lists(tmp_path)
    (tmp_path / "train_list.txt").write_text("/gone/a\n")
    with pytest.raises(UserError, match="names /.*a, which does not exist"):
        read_lists(tmp_path)
    (tmp_path / "train_list.txt").write_text("\n")
    with pytest.raises(UserError, match="names no sample"):
        read_lists(tmp_path)


def test_the_command_says_what_it_made(videos, tmp_path, capsys):
    assert main(["data", "prepare", "--videos", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no videos" in capsys.readouterr().err
    assert main(["data"]) == 2 and "action" in capsys.readouterr().err
