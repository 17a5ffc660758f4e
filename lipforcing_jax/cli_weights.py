"""The part of the command line that handles weights."""

import sys
from pathlib import Path

from lipforcing_jax.errors import UserError

CHECKPOINTS = {
    "student": "merged student, such as lipforcing_14b.pth",
    "base": "instead of a merged student: the Wan network that it was made from, a file or folder, or a folder that "
    "holds it unmerged",
    "adapter": "with --base: the sound adapter",
    "delta": "with --base: what distillation trained",
    "vae": "Wan2.1_VAE.pth",
    "taehv": "taew2_1.pth",
    "wav2vec": "wav2vec2-base-960h, a folder or file",
    "text": "UMT5 encoder, or a stored embedding of the prompt",
    "syncnet": "syncnet_v2.model",
}


def add_convert(commands) -> None:
    """Declares `lipforcing convert`."""
    parser = commands.add_parser("convert", help="convert the reference's checkpoints, or write them back")
    for name, text in CHECKPOINTS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=text)
    parser.add_argument("--prompt", metavar="TEXT", help='what --text encodes (default: "a person talking")')
    parser.add_argument("--heads", type=int, metavar="N", help="attention heads of a student of unpublished size")
    parser.add_argument("--unmerged", action="store_true", help="keep --base and --adapter apart, for training")
    parser.add_argument("--export", action="store_true", help="write the reference's files from --from DIR")
    parser.add_argument("--from", type=Path, dest="folder", metavar="DIR", help="with --export: converted weights")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="the result; parts that it holds already stay")  # fmt: skip
    parser.set_defaults(run=_convert)


def _convert(options) -> None:
    given = {name for name in (*CHECKPOINTS, "prompt", "heads") if getattr(options, name) is not None}
    if options.export != (options.folder is not None) or (options.export and (given or options.unmerged)):
        raise UserError("Writing back takes --export, --from DIR and --out DIR, and nothing else.")
    from lipforcing_jax.weights.convert import Inputs, convert
    from lipforcing_jax.weights.export import export

    bar = ByteBar(options.out.name)
    try:
        if options.export:
            summary = export(options.folder, options.out, bar)
        else:
            renamed = {"wav2vec": "wav2vec2"}
            values = {renamed.get(name, name): getattr(options, name) for name in given}
            inputs = Inputs(**values, unmerged=options.unmerged)
            summary = convert(inputs, options.out, bar)
    finally:
        bar.close()
    _tell(options.out, summary)


def add_download(commands) -> None:
    """Declares `lipforcing download`."""
    parser = commands.add_parser("download", help="get a preset's public files and convert them")
    parser.add_argument("--preset", required=True, help="14b; the only student that is published")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the converted weights (default: weights/PRESET)")
    parser.add_argument("--cache", type=Path, metavar="DIR",
                        help="the published files; may be filled by hand (default: OUT-files)")  # fmt: skip
    parser.add_argument("--no-convert", action="store_true", help="get the files and no more")
    parser.set_defaults(run=_download)


def _download(options) -> None:
    from lipforcing_jax.weights import hub
    from lipforcing_jax.weights.convert import convert
    from lipforcing_jax.weights.networks import find

    files = hub.published(find(options.preset).name)
    out = options.out or Path("weights") / options.preset
    folder = options.cache or out.with_name(f"{out.name}-files")
    try:
        absent = hub.download(files, folder, notice=lambda line: print(line, flush=True))
    except hub.UnreachableError:
        print(hub.instructions(files, folder, out), flush=True)
        raise
    for file in absent:
        print(f"left out: {file.path} ({file.size}) is not on the model hub; get it from {file.origin}")
    given = hub.inputs(folder)
    if options.no_convert:
        print(f"to convert: {hub.command(given, out)}")
        return
    bar = ByteBar(out.name)
    try:
        summary = convert(given, out, bar)
    finally:
        bar.close()
    _tell(out, summary)


def _tell(out: Path, summary) -> None:
    """The closing line."""
    print(
        f"{out}: {', '.join(summary.parts)} (preset {summary.manifest.preset}) in {summary.seconds:.1f} s "
        f"({summary.bytes / 1e9 / summary.seconds:.2f} GB/s), peak memory {peak_memory() / 1e9:.2f} GB"
    )


class ByteBar:
    """Bytes done, speed, time left. Silent where nobody watches."""

    def __init__(self, label: str):
        from tqdm import tqdm

        self.bar = tqdm(desc=label, unit="B", unit_scale=True, disable=None, leave=False, total=0)

    def __call__(self, done: int, of: int) -> None:
        self.bar.total = of
        self.bar.update(done)

    def close(self) -> None:
        self.bar.close()


def peak_memory() -> int:
    """Most bytes that this process has had in memory; 0 where the system does not say."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
