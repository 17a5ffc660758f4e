"""Runs the recipe from nothing to the report; started again, it goes on where it stopped."""

import filecmp
import json
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lipforcing_jax.data.speech import available_engines
from lipforcing_jax.errors import UserError
from lipforcing_jax.evaluation import eval_talkers, opening, trade_off, trajectory
from lipforcing_jax.evaluation.rivals import Rival, Speed, Student, Teacher, time_rivals
from lipforcing_jax.evaluation.trajectory import Examiner
from lipforcing_jax.listening import listener_for
from lipforcing_jax.models import presets
from lipforcing_jax.models.presets import Preset
from lipforcing_jax.reproduction import report
from lipforcing_jax.reproduction.comparison import Cast, Row, judged
from lipforcing_jax.reproduction.report import Findings
from lipforcing_jax.reproduction.side_by_side import Say, Task, run_all
from lipforcing_jax.reproduction.stages import (
    BASE,
    EAR,
    LAST_EAR,
    SPEECH,
    STUDENT,
    TRAININGS,
    Size,
    Stage,
    network_of,
    t_list_of,
)
from lipforcing_jax.sampling.bidirectional import Guidance
from lipforcing_jax.sampling.stream import Networks
from lipforcing_jax.training import audio_encoder
from lipforcing_jax.training import run as training
from lipforcing_jax.weights import networks, store
from lipforcing_jax.whole_file import written_whole

PRESET = "nano"
ESTIMATOR = "opening.npy"
GUIDED, PLAIN = Guidance(4.5), Guidance(1.0)


class Notes:
    """What is finished, and how long it took: `reproduction.json` in the work folder.

    Raises:
      UserError: the folder holds the run of another recipe.
    """

    def __init__(self, workdir: Path, recipe: str, say: Say):
        self.path, self.recipe, self.say = workdir / "reproduction.json", recipe, say
        kept = json.loads(self.path.read_text()) if self.path.exists() else {"recipe": recipe, "seconds": {}}
        if kept["recipe"] != recipe:
            raise UserError(
                f"{workdir} holds the {kept['recipe']} recipe and this is the {recipe} one; give another --workdir."
            )
        self.seconds: dict[str, float] = kept["seconds"]

    def left(self, tasks: Iterable[Task]) -> list[Task]:
        """The tasks that were not done before."""
        for task in tasks:
            if task.name in self.seconds:
                self.say(f"{task.name}: done before, in {self.seconds[task.name] / 60:.1f} min")
        return [task for task in tasks if task.name not in self.seconds]

    def finished(self, name: str, seconds: float) -> None:
        """Notes the end of a task; time spent in earlier attempts that were stopped is not counted."""
        self.seconds[name] = round(seconds, 1)
        write_json(self.path, {"recipe": self.recipe, "seconds": self.seconds})
        self.say(f"{name}: finished in {self.seconds[name] / 60:.1f} min")


def write_json(path: Path, values) -> None:
    with written_whole(path) as growing:
        growing.write_text(json.dumps(values, indent=1) + "\n")


def reproduce(
    workdir: Path,
    size: Size,
    out: Path,
    say: Say = print,
    weights: Path | None = None,
    workers: int = 1,
    prepare: Callable[[], None] | None = None,
) -> Path:
    """Trains everything, compares the students with the teacher, and writes the report into `out`.

    Args:
      weights: a folder of finished weights to begin with, for sizes that leave out the trainings of these.
      workers: how many trainings and comparisons at once, on a CPU; one does all in this process.
      prepare: is called in each worker before it begins.

    Returns:
      the folder with the weights of the finished student, for `--weights`.

    Raises:
      UserError: a stage was refused; `weights` lacks a file; the folder holds the run of another recipe, or one that
        began with other weights.
      Stopped: a training was asked to end.
    """
    notes = Notes(workdir, size.name, say)
    if weights is not None:
        begun = "weights" in notes.seconds
        run_all(notes.left([Task("weights", partial(take_over, weights, workdir))]), notes.finished, say)
        if begun:
            check_same(weights, workdir)
    preset = presets.by_name(PRESET)
    left = notes.left(everything(preset, size, workdir))
    run_all(left, notes.finished, say, workers=workers, logs=workdir / "logs", prepare=prepare)
    report.write(gather(size, workdir, notes.seconds), out)
    say(f"report: {out / report.NAME}")
    return workdir / PRESET


def everything(preset: Preset, size: Size, workdir: Path) -> list[Task]:
    """All that a size makes and measures; speed when nothing else is running."""
    work = [*trainings(size, workdir), *comparisons(preset, size, workdir)]
    return [*work, Task("speed", partial(measure_speed, preset, size, workdir), tuple(task.name for task in work))]


def trainings(size: Size, workdir: Path) -> list[Task]:
    """Every training that a size makes, after the speech of which ear and autoencoder learn."""
    made = [stage for stage in TRAININGS if stage.name not in size.left_out]
    speech = [Task(SPEECH, partial(speak, stage, size, workdir)) for stage in made if stage.name == EAR]
    return speech + [Task(stage.name, partial(train, stage, size, workdir), needed(stage, size)) for stage in made]


def needed(stage: Stage, size: Size) -> tuple[str, ...]:
    """The stages that come before one: those that it names, and those that make the networks that it begins with."""
    config = config_of(stage, size)
    begins_with = {Path(config.get(field, "")).stem for field in ("start", "teacher")}
    return (*stage.after, *(made.name for made in TRAININGS if made.name in begins_with))


def comparisons(preset: Preset, size: Size, workdir: Path) -> list[Task]:
    """What is measured once the networks are there: each rival by itself, and the teacher's trajectories."""
    task = lambda name, work, *after: Task(name, partial(work, preset, size, workdir), after)  # noqa: E731
    return [
        task("student", deliver, STUDENT, LAST_EAR, EAR, "autoencoder"),
        task("talkers_heldout", meet_talkers, "sync_net"),
        *(
            Task(f"compare_{name}", partial(compare, preset, size, workdir, name),
                 ("student", "talkers_heldout", network_of(name)))
            for name in ("teacher_guided", "teacher_plain", *size.students)
        ),
        task("trajectories", analyse, "student", "talkers_heldout", "teacher"),
        task("pictures", draw, "student", "talkers_heldout", *map(network_of, report.SHOWN)),
    ]  # fmt: skip


def config_of(stage: Stage, size: Size):
    """A stage's experiment file with what the size and the stage change in it."""
    config = training.load_config(training.shipped(stage.config), [])
    config.update(size.changes.get(stage.config, {}) | stage.changes | size.changes.get(stage.name, {}))
    return config


def speak(stage: Stage, size: Size, workdir: Path) -> None:
    """The speech of a stage that trains an ear."""
    audio_encoder.speak(config_of(stage, size), workdir)


def train(stage: Stage, size: Size, workdir: Path) -> None:
    """One training; it resumes from its own checkpoints."""
    training.run(config_of(stage, size), workdir)


def take_over(weights: Path, workdir: Path) -> None:
    """Copies finished weights into the work folder, the student as what teacher and student begin as.

    Raises:
      UserError: one of them is missing.
    """
    for source, copy in taken(weights, workdir).items():
        shutil.copyfile(source, copy)


def check_same(weights: Path, workdir: Path) -> None:
    """Whether the run in the work folder began with these weights.

    Raises:
      UserError: it did not, or one of them is missing.
    """
    for source, copy in taken(weights, workdir).items():
        if not (copy.is_file() and filecmp.cmp(source, copy, shallow=False)):
            raise UserError(
                f"{workdir} holds a run that began with another {source.name} than {weights} has; give another "
                "--workdir, or the weights that it began with."
            )


def taken(weights: Path, workdir: Path) -> dict[Path, Path]:
    """Where each finished file lies in the work folder.

    Raises:
      UserError: one of them is missing.
    """
    names = {name: name for name in (*networks.FILES.values(), networks.SYNC_NET)}
    found = {weights / n: workdir / copy for n, copy in (names | {networks.FILES["dit"]: BASE}).items()}
    if missing := [source.name for source in found if not source.is_file()]:
        raise UserError(
            f"{weights} has no {' and no '.join(missing)}; give a folder with the weights of nano, or none for its own."
        )
    return found


def deliver(preset: Preset, size: Size, workdir: Path) -> None:
    """The finished student with all that it needs, and the SyncNet by which another run goes on from it, in a folder of
    its own that bears the preset's name."""
    folder = workdir / preset.name
    folder.mkdir(exist_ok=True)
    finished = {networks.FILES["dit"]: STUDENT}
    if LAST_EAR not in size.left_out:
        finished[networks.FILES["ear"]] = LAST_EAR
    for name in (*networks.FILES.values(), networks.SYNC_NET):
        source = f"{finished[name]}.safetensors" if name in finished else name
        shutil.copyfile(workdir / source, folder / name)


class Troupe(NamedTuple):
    """The students and teachers of one work folder, around one autoencoder and ear: those of `shared`."""

    preset: Preset
    workdir: Path
    shared: Networks

    @classmethod
    def of(cls, preset: Preset, workdir: Path) -> "Troupe":
        """The troupe whose finished student `deliver` has put together."""
        loaded = networks.load(preset, workdir / PRESET)
        return cls(loaded.preset, workdir, loaded.networks)

    def networks(self, name: str) -> Networks:
        """With the diffusion network called `name`."""
        make = networks.makers(self.preset)["dit"]
        return self.shared._replace(dit=store.load_module(self.workdir / f"{name}.safetensors", make))

    def student(self, name: str) -> Student:
        preset = replace(self.preset, t_list=t_list_of(name))
        return Student(preset, self.networks(name), listener_for(preset, None))

    def teacher(self, guidance: Guidance, steps: int) -> Teacher:
        return Teacher(self.preset, self.networks("teacher"), guidance, steps)

    def rivals(self, size: Size) -> dict[str, Callable[[], Rival]]:
        """How each rival is made; one exists at a time."""
        students = {name: partial(self.student, name) for name in size.students}
        return students | {
            "teacher_guided": partial(self.teacher, GUIDED, size.teacher_steps),
            "teacher_plain": partial(self.teacher, PLAIN, size.teacher_steps),
        }


def cast_of(preset: Preset, size: Size, workdir: Path) -> Cast:
    return Cast(workdir / "heldout", size.first_talker, size.talkers, size.frames, preset.face_size)


def examiner_of(preset: Preset, workdir: Path) -> Examiner:
    """The trained SyncNet, and the opening estimator of `meet_talkers`."""
    estimator = opening.OpeningEstimator(np.load(workdir / "results" / ESTIMATOR))
    return Examiner(networks.load_sync_net(preset, workdir), estimator)


def meet_talkers(preset: Preset, size: Size, workdir: Path) -> None:
    """Fits the opening estimator on drawn talkers of the training split, and judges the held-out ones as they are."""
    folder = workdir / "results"
    folder.mkdir(exist_ok=True)
    estimator = eval_talkers.fit_estimator(preset.face_size, available_engines(), size.fit_clips)
    with written_whole(folder / ESTIMATOR) as growing, growing.open("wb") as file:
        np.save(file, estimator.weights)
    examiner, cast, eye = examiner_of(preset, workdir), cast_of(preset, size, workdir), workdir / networks.SYNC_NET
    judged(folder / "truth.json", [eye], examiner, cast, lambda talker: talker.truth)
    judged(folder / "source.json", [eye], examiner, cast, lambda talker: talker.source)


def compare(preset: Preset, size: Size, workdir: Path, name: str) -> None:
    """The file of one rival's rows in `workdir/results`."""
    ear = f"{PRESET}/{networks.FILES['ear']}"
    parts = (networks.FILES["vae"], ear, networks.SYNC_NET, f"{network_of(name)}.safetensors")
    rival = Troupe.of(preset, workdir).rivals(size)[name]()
    judged(
        workdir / "results" / f"{name}.json", [workdir / part for part in parts], examiner_of(preset, workdir),
        cast_of(preset, size, workdir), lambda talker: rival(talker.source, talker.audio),
    )  # fmt: skip


def draw(preset: Preset, size: Size, workdir: Path) -> None:
    """A sheet of some talkers and rivals."""
    rivals = Troupe.of(preset, workdir).rivals(size)
    shown = {name: rivals[name]() for name in report.SHOWN}
    report.draw_talkers(cast_of(preset, size, workdir), shown, workdir / "results")


def measure_speed(preset: Preset, size: Size, workdir: Path) -> None:
    """Student and guided teacher on one clip of this machine, in turn, in `results/speed.json`."""
    talker = next(iter(cast_of(preset, size, workdir)))
    rivals = Troupe.of(preset, workdir).rivals(size)
    found = time_rivals({n: rivals[n]() for n in (STUDENT, "teacher_guided")}, talker.source, talker.audio, size.rounds)
    write_json(workdir / "results" / "speed.json", {name: speed._asdict() for name, speed in found.items()})


def analyse(preset: Preset, size: Size, workdir: Path) -> None:
    """The teacher's trajectories and its two-step schedules over the landing, in `results/trajectories.json`."""
    folder, study = workdir / "results", size.study
    cast = replace(cast_of(preset, size, workdir), count=size.trajectories)
    teacher = Troupe.of(preset, workdir).teacher(GUIDED, size.teacher_steps)
    these = ("teacher.safetensors", networks.SYNC_NET, f"{PRESET}/{networks.FILES['ear']}")
    of_these = store.sha256([workdir / name for name in these])[:16]
    clips = workdir / "trajectories" / of_these
    rows = trajectory.run(teacher, examiner_of(preset, workdir), cast.numbered(), clips, study)
    summary = trajectory.summarise(rows, study)
    write_json(folder / "trajectories.json", summary)
    trade_off.trajectories(summary, folder / report.TRAJECTORIES)
    trade_off.factorial(summary, folder / report.FACTORIAL)


def gather(size: Size, workdir: Path, seconds: dict[str, float]) -> Findings:
    """Everything that the report tells."""
    read = lambda name: json.loads((workdir / "results" / f"{name}.json").read_text())  # noqa: E731
    names = ("truth", "source", *size.students, "teacher_guided", "teacher_plain")
    results: dict[str, list[Row]] = {name: read(name)["rows"] for name in names}
    speed = {name: Speed(**numbers) for name, numbers in read("speed").items()}
    return Findings(size, results, speed, read("trajectories"), seconds, workdir / "results")
