"""Speed of `lipforcing sync` on one clip: frames per second over all stages and time to the first frames.

    python benchmarks/speed.py --video clip.mp4 --audio voice.wav [--runs 3]

Each run is a new process, so the first shows the cost of compiling and the others what the cache saves.
"""

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", required=True)
    parser.add_argument("--audio", required=True)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print("| run | frames | fps | first frames (s) | compile (s) | whole process (s) | stages (s) |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for run in range(options.runs):
            report = Path(folder) / "report.json"
            command = ["lipforcing", "sync", "--video", options.video, "--audio", options.audio]
            begin = time.perf_counter()
            subprocess.run([*command, "--out", f"{folder}/out.mp4", "--report", str(report)], check=True,
                           stdout=subprocess.DEVNULL)  # fmt: skip
            whole = time.perf_counter() - begin
            r = json.loads(report.read_text())
            stages = ", ".join(f"{name} {seconds:.2f}" for name, seconds in r["stages"].items())
            print(f"| {run + 1} | {r['frames']} | {r['fps']:.1f} | {r['time_to_first_frame']:.2f} | "
                  f"{r['compile_seconds']:.1f} | {whole:.1f} | {stages} |")  # fmt: skip


if __name__ == "__main__":
    main()
