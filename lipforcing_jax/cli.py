"""The `lipforcing` command: parses, calls, prints. Everything it can do, the package can do without it."""

import argparse
import math
import os
import sys
from pathlib import Path

from lipforcing_jax import __version__
from lipforcing_jax.cli_data import add_data
from lipforcing_jax.cli_plan import add_plan
from lipforcing_jax.cli_reproduce import add_reproduce
from lipforcing_jax.cli_weights import add_convert, add_download
from lipforcing_jax.compiled_programs import cache_folder, keep_compiled_programs
from lipforcing_jax.errors import Stopped, UserError
from lipforcing_jax.work_folder import made_folder


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one sentence, like every other error."""

    def error(self, message: str):
        raise UserError(f"{message[:1].upper()}{message[1:]} (see {self.prog} --help).")


def _number(kind: type, low: float, high: float = math.inf):
    """An argument type: a finite number of `kind` from `low` to `high`."""

    def parse(text: str):
        limits = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high or value == math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {limits}")
        return value

    return parse


def main(arguments: list[str] | None = None) -> int:
    """Runs one command.

    Returns:
      the exit status: 0, also of a training that was asked to end and has saved; 1 if numbers disagree; 2 after an
      error that the user can mend.
    """
    try:
        options = _parser().parse_args(arguments)
        _quiet()
        return options.run(options) or 0
    except UserError as error:
        print(f"lipforcing: error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(stopped)
        return 0
    except KeyboardInterrupt:
        print("lipforcing: stopped", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lipforcing", description="Makes the speaker of a video speak another sound.")
    parser.add_argument("--version", action="version", version=f"lipforcing-jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    _add_sync(commands)
    _add_demo(commands)
    commands.add_parser("info", help="versions, devices, presets, where weights are").set_defaults(run=_info)
    add_convert(commands)
    add_download(commands)
    add_data(commands, _number)
    _add_train(commands)
    add_reproduce(commands, _number)
    add_plan(commands, _number)
    _add_eval(commands)
    _add_parity(commands)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", default="nano", help="size of the student (default: nano, which is bundled)")
    parser.add_argument("--weights", type=Path, metavar="DIR", help="folder with the preset's weights")
    parser.add_argument("--seed", type=_number(int, 0, 2**32 - 1), default=42,
                        help="of the noise; the same seed gives the same frames")  # fmt: skip


def _add_devices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--devices", type=_number(int, 1), default=1, metavar="N",
                        help="cut the student among N accelerators, by its heads (default: 1)")  # fmt: skip


def _add_sync(commands) -> None:
    parser = commands.add_parser("sync", help="write a video that speaks the given sound")
    parser.add_argument("--video", type=Path, required=True, help="the speaker; any file that FFmpeg reads")
    parser.add_argument("--audio", type=Path, required=True, help="what is to be spoken; a sound or video file")
    parser.add_argument("--out", type=Path, required=True, help="the result: .mp4, .m4v, .mov or .mkv")
    _add_common(parser)
    _add_devices(parser)
    parser.add_argument("--start", type=_number(float, 0), default=0.0, metavar="S",
                        help="begin S seconds into the video")  # fmt: skip
    parser.add_argument("--duration", type=_number(float, 0.04), metavar="S", help="at most S seconds of result")
    parser.add_argument("--loop", choices=("ping-pong", "none"), default="ping-pong",
                        help="what a video shorter than the sound does (default: ping-pong)")  # fmt: skip
    parser.add_argument("--face", type=_number(int, 0), default=0, metavar="INDEX",
                        help="which face, largest first (default: 0)")  # fmt: skip
    parser.add_argument("--detector", choices=("mtcnn", "insightface"), default="mtcnn", help="face detector")
    parser.add_argument("--decoder", choices=("taehv", "wan"),
                        help="what draws a converted preset's pictures (default: taehv if converted)")  # fmt: skip
    parser.add_argument("--full-face", action="store_true", help="paste the whole face, not only the mouth region")
    parser.add_argument("--reference-length", action="store_true",
                        help="whole chunks only, as the reference: up to 11 frames shorter than the sound")  # fmt: skip
    parser.add_argument("--crf", type=_number(float, 0, 51), default=18,
                        help="x264 quality, lower is better (default: 18)")  # fmt: skip
    parser.add_argument("--save-aligned", action="store_true", help="also write the aligned face as OUT_aligned")
    parser.add_argument("--save-comparison", action="store_true", help="also write source | result as OUT_comparison")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the record of the run as JSON")
    parser.set_defaults(run=_sync)


def _add_demo(commands) -> None:
    parser = commands.add_parser("demo", help="lip-sync the bundled clip and draw a contact sheet")
    parser.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="is made if missing")
    _add_common(parser)
    _add_devices(parser)
    parser.set_defaults(run=_demo)


def _add_train(commands) -> None:
    parser = commands.add_parser("train", help="run one training stage")
    parser.add_argument("--config", type=Path, required=True, help="an experiment file, such as configs/nano_df.py")
    parser.add_argument("--workdir", type=Path, required=True, help="data, checkpoints and weights go here")
    parser.add_argument("--distributed", action="store_true", help="this is one of several processes of one run")
    parser.add_argument("overrides", nargs="*", metavar="FIELD=VALUE", help="changes to the experiment's fields")
    parser.set_defaults(run=_train)


def _add_eval(commands) -> None:
    parser = commands.add_parser("eval-talkers", help="measure a student on drawn talkers it has never seen")
    parser.add_argument("--out-dir", type=Path, required=True, metavar="DIR", help="for the numbers and pictures")
    parser.add_argument("--talkers", type=_number(int, 1), default=24, help="how many clips (default: 24)")
    _add_common(parser)
    parser.set_defaults(run=_eval)


def _add_parity(commands) -> None:
    parser = commands.add_parser("parity", help="compare the networks with independent implementations of them")
    parser.add_argument("--network", nargs="+", metavar="NAME",
                        help="dit, wan_vae, taehv, wav2vec2, umt5, syncnet (default: all)")  # fmt: skip
    parser.add_argument("--full-width", action="store_true",
                        help="also at the widths of the release: takes minutes and up to 24 GB")  # fmt: skip
    parser.set_defaults(run=_parity)


def _quiet() -> None:
    """Keeps libraries from talking over the command's own lines."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    import logging

    logging.getLogger("jax").setLevel(logging.ERROR)
    logging.getLogger("absl").setLevel(logging.ERROR)
    # PyAV is silent unless given a level, and must not be: its hook takes Python's lock on a codec's own thread, for
    # which a decoder that is being freed waits while it holds that lock.


def _warn(warnings: list[str]) -> None:
    for warning in warnings:
        print(f"lipforcing: warning: {warning}", file=sys.stderr)


class _Bar:
    """One bar per run: chunk, speed, time left. Silent where nobody watches."""

    def __init__(self, label: str):
        from tqdm import tqdm

        self.bar = tqdm(desc=label, unit="frame", disable=None, leave=False, total=0)

    def __call__(self, chunk: int, chunks: int, frames: int, of: int) -> None:
        self.bar.total = of
        self.bar.set_postfix_str(f"chunk {chunk}/{chunks}", refresh=False)
        self.bar.update(frames - self.bar.n)

    def close(self) -> None:
        self.bar.close()


def _make(options, video: Path, audio: Path, out: Path, **settings):
    """Runs one clip and prints its closing line."""
    from lipforcing_jax.media.video_writer import check_output

    check_output(out)
    keep_compiled_programs()
    from lipforcing_jax.pipeline import LipSyncer, Options

    syncer = LipSyncer.from_preset(options.preset, options.weights, getattr(options, "decoder", None), options.devices)
    chosen = Options(
        seed=options.seed, face=getattr(options, "face", 0), full_face=getattr(options, "full_face", False),
        reference_length=getattr(options, "reference_length", False), detector=getattr(options, "detector", "mtcnn"),
    )  # fmt: skip
    bar = _Bar(out.name)
    try:
        result = syncer.sync(video, audio, out, chosen, progress=bar, **settings)
    finally:
        bar.close()
    _warn(result.warnings)
    record = result.report
    print(
        f"{out}: {record['frames']} frames in {record['seconds']:.1f} s ({record['fps']:.1f} fps), "
        f"first frames after {record['time_to_first_frame']:.2f} s; "
        f"{record['bridged']} frames bridged, {record['passed_through']} passed through"
    )
    return result


def _sync(options) -> None:
    from lipforcing_jax.report import check_report, write_report

    if options.report is not None:
        check_report(options.report)
    result = _make(
        options, options.video, options.audio, options.out, start=options.start, duration=options.duration,
        loop=options.loop, crf=options.crf, save_aligned=options.save_aligned,
        save_comparison=options.save_comparison,
    )  # fmt: skip
    if options.report is not None:
        write_report(options.report, result.report)


def _demo(options) -> None:
    from lipforcing_jax.evaluation.demo import contact_sheet_of, demo_inputs
    from lipforcing_jax.report import write_report

    folder = made_folder(options.out_dir)
    video, audio = demo_inputs()
    result = _make(options, video, audio, folder / "result.mp4", save_comparison=True)
    write_report(folder / "report.json", result.report)
    contact_sheet_of(video, folder / "result.mp4", folder / "contact_sheet.png")
    print(f"pictures in {folder / 'contact_sheet.png'}, comparison with sound in {folder / 'result_comparison.mp4'}")


def _info(options) -> None:
    import jax

    from lipforcing_jax.models.presets import PRESETS
    from lipforcing_jax.report import versions
    from lipforcing_jax.weights.networks import bundled_folder

    print(f"lipforcing-jax {__version__}")
    for name, number in versions().items():
        print(f"  {name:24s} {number}")
    print(f"backend: {jax.default_backend()}, devices: {', '.join(str(d) for d in jax.devices())}")
    print("presets:")
    for preset in PRESETS.values():
        folder = bundled_folder(preset)
        where = f"weights in {folder}" if folder.is_dir() else "no bundled weights"
        print(f"  {preset.name:6s} face {preset.face_size}x{preset.face_size}; {preset.summary}; {where}")
    print(f"compiled programs: {cache_folder() / 'compiled'}")


def _train(options) -> None:
    workdir = made_folder(options.workdir)
    keep_compiled_programs(workdir / "compiled")  # a run that goes on, perhaps on other machines, need not compile
    if options.distributed:
        from lipforcing_jax.training.devices import join_processes

        join_processes()
    from lipforcing_jax.training.run import load_config, run

    weights = run(load_config(options.config, options.overrides), workdir)
    print(f"weights: {weights}")


def _eval(options) -> None:
    keep_compiled_programs()
    from lipforcing_jax.evaluation import eval_talkers
    from lipforcing_jax.weights.networks import find

    summary = eval_talkers.evaluate(
        find(options.preset), options.weights, options.talkers, made_folder(options.out_dir), options.seed
    )
    print(eval_talkers.table(summary))


def _parity(options) -> int:
    from lipforcing_jax.parity import table

    return 0 if table.run(options.network or table.NETWORKS, options.full_width) else 1
