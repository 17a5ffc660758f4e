"""Does a student open real mouths when the speaker does? Correlation of lip opening on filmed clips.

    python benchmarks/real_faces.py drive --media DIR --out WORK      # with lipforcing installed
    python benchmarks/real_faces.py measure --media DIR --out WORK    # with mediapipe 0.10.14, av and numpy

`drive` lets every clip speak its own sound and the sound of the next clip or, by `--voices all`, of every other one:
eight clips are 56 pairs instead of 8, whose mean depends less on single mouths. `measure` reads the opening of the
mouth from MediaPipe's face mesh (inner lips 13-14 over outer eye corners 33-263) and correlates each result with the
clip whose sound it speaks, best lag of up to three frames. The cross-driven figure is the one that counts: a
self-driven result could copy the mouth it sees. The two steps are apart because mediapipe needs packages of its own.
"""

import argparse
import json
from pathlib import Path

import numpy as np

LAG = 3


def pairs_of(media: Path, voices: str) -> list[tuple[Path, Path]]:
    """Every clip with itself and with the next one, or with all."""
    clips = sorted(media.glob("*.mp4"))
    others = range(len(clips)) if voices == "all" else range(2)
    return [(clip, clips[(i + k) % len(clips)]) for i, clip in enumerate(clips) for k in others]


def result_path(out: Path, face: Path, voice: Path) -> Path:
    return out / f"{face.stem}__{voice.stem}.mp4"


def drive(pairs: list[tuple[Path, Path]], out: Path, seconds: float, weights: Path | None, seed: int) -> None:
    from lipforcing_jax import LipSyncer
    from lipforcing_jax.options import Options

    out.mkdir(parents=True, exist_ok=True)
    syncer = LipSyncer.from_preset("nano", weights=weights)
    for face, voice in pairs:
        path = result_path(out, face, voice)
        syncer.sync(str(face), str(voice), str(path), Options(seed=seed), duration=seconds)
        print(path, flush=True)


def opening_of(path: Path, limit: int) -> np.ndarray:
    """Opening per frame at 25 a second, NaN where no face is found."""
    import av
    import mediapipe as mp

    values = []
    with mp.solutions.face_mesh.FaceMesh(max_num_faces=1) as mesh, av.open(str(path)) as container:
        rate = float(container.streams.video[0].average_rate)
        for i, frame in enumerate(container.decode(video=0)):
            if int(i * 25 / rate) < len(values):
                continue
            if len(values) == limit:
                break
            picture = frame.to_ndarray(format="rgb24")
            found = mesh.process(picture).multi_face_landmarks
            if not found:
                values.append(np.nan)
                continue
            scale = np.array([picture.shape[1], picture.shape[0]])
            point = lambda k, p=found[0].landmark, s=scale: np.array([p[k].x, p[k].y]) * s  # noqa: E731
            values.append(np.linalg.norm(point(13) - point(14)) / np.linalg.norm(point(33) - point(263)))
    return np.array(values)


def correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, int, float]:
    """Best correlation over the lags, that lag, and the correlation without lag."""
    n, scores = min(len(a), len(b)), []
    for lag in range(-LAG, LAG + 1):
        x, y = a[max(0, lag) : n + min(0, lag)], b[max(0, -lag) : n - max(0, lag)]
        fine = np.isfinite(x) & np.isfinite(y)
        scores.append(np.corrcoef(x[fine], y[fine])[0, 1])
    best = int(np.nanargmax(scores))
    return float(scores[best]), best - LAG, float(scores[LAG])


def measure(pairs: list[tuple[Path, Path]], out: Path, seconds: float) -> None:
    limit = round(25 * seconds)
    truth = {clip.stem: opening_of(clip, limit) for clip in sorted({face for face, _ in pairs})}
    rows = []
    for face, voice in pairs:
        driven = opening_of(result_path(out, face, voice), limit)
        best, lag, plain = correlation(driven, truth[voice.stem])
        source = correlation(truth[face.stem], truth[voice.stem])[0]
        row = {"face": face.stem, "voice": voice.stem, "correlation": best, "lag": lag, "without_lag": plain}
        row |= {"source_video": source, "copied": correlation(driven, truth[face.stem])[2]}
        rows.append(row | {"spread": float(np.nanstd(driven) / np.nanstd(truth[face.stem]))})
        figures = f"{best:5.2f} (lag {lag:+d}, without {plain:5.2f}; source {source:5.2f})"
        print(f"{face.stem:22s} <- {voice.stem:22s} {figures}")
    for name, chosen in (("self-driven", True), ("cross-driven", False)):
        found = [row for row in rows if (row["face"] == row["voice"]) == chosen]
        names = ("correlation", "without_lag", "source_video", "copied", "spread")
        means = ", ".join(f"{key} {np.mean([row[key] for row in found]):.3f}" for key in names)
        print(f"{name}, mean of {len(found)}: {means}")
    (out / "real_faces.json").write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("drive", "measure"))
    parser.add_argument("--media", type=Path, required=True, help="folder of talking clips, *.mp4")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each clip at most (default: 10)")
    parser.add_argument("--voices", choices=("next", "all"), default="next", help="whose sounds a clip speaks")
    parser.add_argument("--weights", type=Path, help="folder of weights (default: the bundled ones)")
    parser.add_argument("--seed", type=int, default=42)
    options = parser.parse_args()
    pairs = pairs_of(options.media, options.voices)
    if options.step == "drive":
        drive(pairs, options.out, options.seconds, options.weights, options.seed)
    else:
        measure(pairs, options.out, options.seconds)


if __name__ == "__main__":
    main()
