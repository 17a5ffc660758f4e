"""The part of the command line that makes data sets."""

import sys
from pathlib import Path

SHOWN = 12
"""Lines about what was left out that are printed; the rest is counted."""


def add_data(commands, number) -> None:
    """Declares `lipforcing data`; `number` makes argument types for numbers within limits."""
    parser = commands.add_parser("data", help="make training data of filmed talkers")
    commands = parser.add_subparsers(dest="action", required=True, parser_class=type(parser))
    _add_prepare(commands, number)
    _add_build(commands, number)


def _add_prepare(commands, number) -> None:
    parser = commands.add_parser("prepare", help="cut videos into aligned segments with their sound")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR", help="videos, also in folders below it")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the samples; must not exist")
    parser.add_argument("--seconds", type=number(float, 0, 60), default=6.48, metavar="S",
                        help="length of a segment, 6.48 at least (default)")  # fmt: skip
    parser.add_argument("--size", type=number(int, 64, 1024), default=512, help="side of the face (default: 512)")
    parser.add_argument("--min-face", type=number(float, 50), default=100.0, metavar="PIXELS",
                        help="narrowest face in a video (default: 100)")  # fmt: skip
    parser.add_argument("--prompt", metavar="TEXT", help='what is said of every sample (default: "a person talking")')
    parser.add_argument("--val", type=number(int, 1), default=2, metavar="N",
                        help="segments kept for validation (default: 2)")  # fmt: skip
    parser.add_argument("--detector", choices=("mtcnn", "insightface"), default="mtcnn", help="face detector")
    parser.add_argument("--workers", type=number(int, 1), default=1, metavar="N", help="videos at once (default: 1)")
    parser.set_defaults(run=_prepare)


def _prepare(options) -> None:
    from lipforcing_jax.data.encoding import PROMPT
    from lipforcing_jax.data.prepare import LEFT_OUT, SHEET, Preparation, prepare
    from lipforcing_jax.data.segments import Quality

    preparation = Preparation(
        options.seconds, options.size, options.prompt or PROMPT, options.val, options.detector,
        Quality(min_face=options.min_face),
    )  # fmt: skip
    bar = _VideoBar(options.out.name)
    try:
        made = prepare(options.videos, options.out, preparation, options.workers, bar)
    finally:
        bar.close()
    _tell(made.left_out, f"all of them in {options.out / LEFT_OUT}")
    train, val = (made.splits[split] for split in ("train", "val"))
    count = len({*train, *val})
    print(
        f"{options.out}: {count} segments of {preparation.frames / 25:.2f} s from {made.used} of {made.videos} videos "
        f"({len(train)} for training, {len(val)} for validation); {len(made.left_out)} places left out; pictures in "
        f"{options.out / SHEET}"
    )


def _add_build(commands, number) -> None:
    parser = commands.add_parser("build", help="encode prepared samples for training")
    parser.add_argument("--samples", type=Path, required=True, metavar="DIR", help="what data prepare made")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the data set")
    parser.add_argument("--preset", default="nano", help="whose autoencoder and ear encode (default: nano)")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with the preset's weights")
    parser.add_argument("--latent-frames", type=number(int, 1, 1000), default=21, metavar="N",
                        help="length of a clip: 4 N - 3 video frames (default: 21)")  # fmt: skip
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is there")
    parser.add_argument("--beam", nargs="*", metavar="OPTION=VALUE",
                        help="encode by Apache Beam, with its options, such as runner=DirectRunner")  # fmt: skip
    parser.set_defaults(run=_build)


def _build(options) -> None:
    from lipforcing_jax.data.prepared import build

    beam = None if options.beam is None else [f"--{option}" for option in options.beam]
    made = build(
        options.samples, options.out, options.preset, options.weights, options.latent_frames, options.overwrite, beam
    )
    _tell(made.left_out, "which are not in the data set")
    size = sum(path.stat().st_size for path in options.out.iterdir())
    counts = ", ".join(f"{split} {count}" for split, count in made.counts.items())
    print(
        f"{options.out}: {sum(made.counts.values())} of {made.samples} clips encoded ({counts}), {size / 1e6:.1f} MB"
    )


def _tell(left_out: list[str], rest: str) -> None:
    for line in left_out[:SHOWN]:
        print(f"left out: {line}", file=sys.stderr)
    if len(left_out) > SHOWN:
        print(f"left out: {len(left_out) - SHOWN} more; {rest}", file=sys.stderr)


class _VideoBar:
    """Videos done and time left. Silent where nobody watches."""

    def __init__(self, label: str):
        from tqdm import tqdm

        self.bar = tqdm(desc=label, unit="video", disable=None, leave=False, total=0)

    def __call__(self, done: int, of: int) -> None:
        self.bar.total = of
        self.bar.update(done - self.bar.n)

    def close(self) -> None:
        self.bar.close()
