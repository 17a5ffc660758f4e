"""A folder of filmed talkers to aligned samples in the reference's layout (spec training 5.1 and 5.2).

    NAME_0000/sub_clip.mp4    aligned face, 25 frames a second
    NAME_0000/audio.wav       16 kHz mono, 16 bits, of the same time span
    NAME_0000/prompt.txt
    train_list.txt, val_list.txt    one absolute folder a line
    contact_sheet.png         a look at every segment
    left_out.txt              what was refused, and why

Segments are at least twice as long as a training clip, so that target and reference are different (trap T3); the
reference's own tool cuts them to one clip, and its reference is then the target itself.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import as_completed
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from scipy.io import wavfile

from lipforcing_jax import processes
from lipforcing_jax.data.encoding import PROMPT, to_int16
from lipforcing_jax.data.new_folder import DONE, new_folder
from lipforcing_jax.data.segments import Quality, Refusal, Segment, segments
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.audio import load_audio
from lipforcing_jax.media.comparison import contact_sheet, write_picture
from lipforcing_jax.media.faces import create_detector
from lipforcing_jax.media.files import decode, open_media
from lipforcing_jax.media.tracking import TrackingConfig
from lipforcing_jax.media.video import probe_video, read_video
from lipforcing_jax.media.video_writer import VideoWriter
from lipforcing_jax.options import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

LEFT_OUT = "left_out.txt"
VIDEO, AUDIO, TEXT = "sub_clip.mp4", "audio.wav", "prompt.txt"
LISTS = {"train": "train_list.txt", "val": "val_list.txt"}
SHEET, SHEET_ROWS, SHEET_COLUMNS, SHEET_CELL = "contact_sheet.png", 40, 8, 128
SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ts", ".webm", ".wmv")
TARGET_FRAMES = 81
"""Video frames of the reference's training clip; a segment holds at least two of them."""
QUIET = 1e-3
"""Root mean square below which a segment has no speech: -60 dB."""


@dataclass(frozen=True)
class Preparation:
    """How videos are cut. `val` segments, the last ones, are kept for validation where there is more than one."""

    seconds: float = 2 * TARGET_FRAMES / FPS
    size: int = 512
    prompt: str = PROMPT
    val: int = 2
    detector: str = "mtcnn"
    quality: Quality = field(default_factory=Quality)

    @property
    def frames(self) -> int:
        """Video frames of a segment."""
        return round(self.seconds * FPS)


@dataclass(frozen=True)
class Cut:
    """What a video gave: its sample folders by name, what was refused, or why it can't be used at all."""

    video: Path
    samples: list[str] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    unusable: str | None = None


@dataclass(frozen=True)
class Prepared:
    """The samples by split, a line for everything that was left out, and how many videos of all gave a sample."""

    splits: dict[str, list[str]]
    left_out: list[str]
    videos: int
    used: int


def prepare(
    videos: Path,
    out: Path,
    preparation: Preparation,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Prepared:
    """Cuts all videos of a folder, and of the folders in it, into aligned samples.

    Args:
      progress: is told the number of videos done and of all.

    Raises:
      UserError: the folder is missing or has no videos, segments are too short for target and reference to differ,
        `out` exists, or no video gives a segment. Nothing is left behind then.
    """
    if preparation.frames < 2 * TARGET_FRAMES:
        raise UserError(
            f"Segments of {preparation.seconds:g} s are too short: target and reference of {TARGET_FRAMES} frames each "
            f"would overlap; choose at least {2 * TARGET_FRAMES / FPS:g} s."
        )
    found = find_videos(videos)
    names = sample_names(found, videos)
    create_detector(preparation.detector)  # an unknown or missing one is told before the work begins
    with new_folder(out) as folder:
        done = folder / DONE
        done.mkdir()
        cuts = _cut_all(found, done, names, preparation, workers, progress)
        samples = [name for cut in cuts for name in cut.samples]
        if not samples:
            raise UserError(f"No segment of the {len(found)} videos in {videos} is of use: {_commonest(cuts)}.")
        splits = _split(samples, preparation.val)
        for split, chosen in splits.items():
            (done / LISTS[split]).write_text("".join(f"{out.absolute() / name}\n" for name in chosen))
        left_out = [line for cut in cuts for line in _lines(cut, videos)]
        (done / LEFT_OUT).write_text("".join(f"{line}\n" for line in left_out))
        _draw_sheet(done, samples)
    return Prepared(splits, left_out, len(found), sum(bool(cut.samples) for cut in cuts))


def _cut_all(
    videos: list[Path], out: Path, names: dict[Path, str], preparation: Preparation, workers: int,
    progress: Callable[[int, int], None],
) -> list[Cut]:  # fmt: skip
    """`cut_video` of all videos on several processes, in the order of the videos."""
    with processes.pool(workers) as pool:
        jobs = [pool.submit(cut_video, path, out, names[path], preparation) for path in videos]
        try:
            for done, job in enumerate(as_completed(jobs)):
                job.result()
                progress(done + 1, len(videos))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return [job.result() for job in jobs]


def find_videos(folder: Path) -> list[Path]:
    """Video files in a folder and below it, hidden ones left out.

    Raises:
      UserError: there is no such folder, or none in it.
    """
    if not folder.is_dir():
        raise UserError(f"The folder of videos {folder} does not exist; check the path.")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    if not found:
        raise UserError(f"There are no videos in {folder}; put files such as .mp4, .mov or .mkv there.")
    return found


def sample_names(videos: list[Path], folder: Path) -> dict[Path, str]:
    """A name for the samples of each video: its path without the suffix, numbered where two would be alike."""
    names: dict[Path, str] = {}
    for path in videos:
        name = "_".join(path.relative_to(folder).with_suffix("").parts)
        alike = sum(other == name or other.startswith(f"{name}-") for other in names.values())
        names[path] = f"{name}-{alike + 1}" if alike else name
    return names


def cut_video(video: Path, out: Path, name: str, preparation: Preparation) -> Cut:
    """Writes the samples of one video into `out`; what can't be used is said in the result.

    Raises:
      UserError: a sample can't be written.
    """
    cv2.setNumThreads(1)  # the other videos keep the other cores busy
    samples, refusals = [], []
    try:
        sound = timed_sound(video)
    except UserError as error:
        return Cut(video, unusable=str(error))
    for segment in _segments(video, preparation):
        fault = segment if isinstance(segment, Refusal) else fault_of_sound(segment, sound)
        if fault:
            refusals.append(fault)
            continue
        samples.append(f"{name}_{len(samples):04d}")
        write_sample(out / samples[-1], segment.faces, _span(sound, segment), preparation.prompt)
    return Cut(video, samples, refusals)


def _segments(video: Path, preparation: Preparation) -> Iterator[Segment | Refusal]:
    # The reference's detector is asked in every frame; the built-in one is followed by optical flow.
    config = TrackingConfig(method="every_frame" if preparation.detector == "insightface" else "flow")
    detector = create_detector(preparation.detector)
    try:
        with read_video(video, FPS) as frames:
            yield from segments(frames, preparation.frames, preparation.size, detector, preparation.quality, config)
    except UserError as error:
        yield Refusal(0, str(error))


def timed_sound(video: Path) -> Float32[np.ndarray, " n"]:
    """The sound of a video at 16 kHz from its first picture on, by the time stamps of both tracks.

    Raises:
      UserError: it has no sound, or nothing can be read.
    """
    if not probe_video(video).has_audio:
        raise UserError(f'"{video}" has no audio track; training needs the sound of every picture.')
    sound = load_audio(video, SAMPLE_RATE)
    late = round((_first_time(video, "audio") - _first_time(video, "video")) * SAMPLE_RATE)
    return np.pad(sound, (late, 0)) if late > 0 else sound[-late:]


def _first_time(video: Path, kind: str) -> float:
    """Seconds at which a track begins."""
    with open_media(video, "video") as container:
        frame = next(decode(container, container.streams.best(kind), video, []))
        return 0.0 if frame.pts is None else float(frame.pts * frame.time_base)


def _span(sound: Float32[np.ndarray, " n"], segment: Segment) -> Float32[np.ndarray, " n"]:
    start = segment.start * SAMPLES_PER_FRAME
    return sound[start : start + len(segment.faces) * SAMPLES_PER_FRAME]


def fault_of_sound(segment: Segment, sound: Float32[np.ndarray, " n"]) -> Refusal | None:
    """Why a segment's part of the sound can't be used, or None."""
    span = _span(sound, segment)
    if len(span) < len(segment.faces) * SAMPLES_PER_FRAME:
        return Refusal(segment.start, "the sound ends before the picture")
    if np.sqrt(np.mean(span**2)) < QUIET:
        return Refusal(segment.start, "no sound")
    return None


def write_sample(folder: Path, faces: UInt8[np.ndarray, "t s s 3"], sound: Float32[np.ndarray, " n"], prompt: str):
    """Makes the folder of a sample, with its three files."""
    folder.mkdir()
    size = faces.shape[1]
    with VideoWriter(folder / VIDEO, size, size, FPS, crf=13) as writer:
        for face in faces:
            writer.write(face)
    wavfile.write(folder / AUDIO, SAMPLE_RATE, to_int16(sound))
    (folder / TEXT).write_text(f"{prompt}\n")


def _split(names: list[str], val: int) -> dict[str, list[str]]:
    """The last `val` for validation, but one at least for training; a single sample is in both (spec 5.2)."""
    kept = max(1, len(names) - max(1, val))
    return {"train": names[:kept], "val": names[kept:] or names}


def _lines(cut: Cut, videos: Path) -> list[str]:
    if cut.unusable:
        return [cut.unusable]
    return [f"{cut.video.relative_to(videos)}, {refusal}" for refusal in cut.refusals]


def _commonest(cuts: list[Cut]) -> str:
    reasons = [cut.unusable for cut in cuts if cut.unusable]
    reasons += [refusal.reason for cut in cuts for refusal in cut.refusals]
    return f"mostly, {Counter(reasons).most_common(1)[0][0].rstrip('.')}" if reasons else "they show nothing"


def _draw_sheet(folder: Path, samples: list[str]) -> None:
    """A row per segment; of many segments, an even selection."""
    chosen = np.unique(np.linspace(0, len(samples) - 1, min(SHEET_ROWS, len(samples))).round().astype(int))
    labels, rows = [samples[i] for i in chosen], []
    for name in labels:
        faces = list(read_video(folder / name / VIDEO, FPS))
        rows.append([faces[i] for i in np.linspace(0, len(faces) - 1, SHEET_COLUMNS).round().astype(int)])
    sheet = contact_sheet(rows, labels, cell_width=SHEET_CELL)
    write_picture(folder / SHEET, sheet)
