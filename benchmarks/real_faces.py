"""Does a student open real mouths when the speaker does? Correlation of lip opening on filmed clips.

    python benchmarks/real_faces.py drive --media DIR --out WORK      # with lipforcing installed
    python benchmarks/real_faces.py measure --media DIR --out WORK    # with mediapipe 0.10.14, av and numpy

`drive` lets every clip speak its own sound and the sound of the next clip. `measure` reads the opening of the mouth
from MediaPipe's face mesh (inner lips 13-14 over outer eye corners 33-263) and correlates each result with the clip
whose sound it speaks, best lag of up to three frames. The cross-driven figure is the one that counts: a self-driven
result could copy the mouth it sees. The two steps are apart because mediapipe needs packages of its own.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np

LAG = 3


def pairs_of(media: Path) -> list[tuple[Path, Path]]:
    """Every clip with itself and with the next one."""
    clips = sorted(media.glob("*.mp4"))
    return [(a, b) for i, a in enumerate(clips) for b in (a, clips[(i + 1) % len(clips)])]


def result_path(out: Path, face: Path, voice: Path) -> Path:
    return out / f"{face.stem}__{voice.stem}.mp4"


def drive(media: Path, out: Path, seconds: float, extra: list[str]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    for face, voice in pairs_of(media):
        command = ["lipforcing", "sync", "--video", face, "--audio", voice, "--out", result_path(out, face, voice)]
        subprocess.run([*map(str, command), "--duration", str(seconds), *extra], check=True)


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


def measure(media: Path, out: Path, seconds: float) -> None:
    limit = round(25 * seconds)
    truth = {clip.stem: opening_of(clip, limit) for clip in sorted(media.glob("*.mp4"))}
    rows = []
    for face, voice in pairs_of(media):
        driven = opening_of(result_path(out, face, voice), limit)
        best, lag, plain = correlation(driven, truth[voice.stem])
        source = correlation(truth[face.stem], truth[voice.stem])[0]
        rows.append({"face": face.stem, "voice": voice.stem, "correlation": best, "lag": lag, "without_lag": plain,
                     "source_video": source, "spread": float(np.nanstd(driven))})  # fmt: skip
        figures = f"{best:5.2f} (lag {lag:+d}, without {plain:5.2f}; source {source:5.2f})"
        print(f"{face.stem:22s} <- {voice.stem:22s} {figures}")
    for name, chosen in (("self-driven", True), ("cross-driven", False)):
        scores = [r["correlation"] for r in rows if (r["face"] == r["voice"]) == chosen]
        print(f"{name}: mean {np.mean(scores):.3f} of {len(scores)}")
    (out / "real_faces.json").write_text(json.dumps(rows, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("drive", "measure"))
    parser.add_argument("--media", type=Path, required=True, help="folder of talking clips, *.mp4")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each clip at most (default: 10)")
    options, extra = parser.parse_known_args()
    if options.step == "drive":
        drive(options.media, options.out, options.seconds, extra)
    else:
        measure(options.media, options.out, options.seconds)


if __name__ == "__main__":
    main()
