"""The trainings of the reproduction, in order: what each makes and how it differs from its experiment file."""

from dataclasses import dataclass, field, replace
from typing import Any

from lipforcing_jax.evaluation.eval_talkers import FIT_CLIPS
from lipforcing_jax.evaluation.rivals import ROUNDS
from lipforcing_jax.evaluation.trajectory import Study
from lipforcing_jax.weights.networks import FILES

RELEASED = (0.999, 0.769, 0.0)
EARLIER = (0.999, 0.833, 0.0)
"""Landings of the second step: the released one, and that of the 1.3B path (spec training 6)."""


@dataclass(frozen=True)
class Stage:
    """One training by an experiment file of configs/, with some of its fields changed."""

    name: str
    config: str
    after: tuple[str, ...] = ()
    """The stages whose results it needs, besides those whose networks its `start` and `teacher` are."""
    changes: dict[str, Any] = field(default_factory=dict)


def ablation(name: str, start: str = "stage1", **changes: Any) -> Stage:
    """A stage 2 from one of the students of stage 1."""
    changes = {"name": name, "start": f"{start}.safetensors"} | changes
    return Stage(name, "nano_sf", ("sync_net",), changes)


STUDENT = "sw_dmd_reward"
"""The student of the whole recipe, which becomes the bundled one."""
SPEECH = "speech"
FIRST_EAR, EAR, LAST_EAR = "first_ear", "ear", "last_ear"
"""An ear that knows phones, the one by which the talkers are encoded, and the one that the finished student has."""
FURTHER = {"clips": 5312, "phone_weight": 0.0, "peak_lr": 8e-4, "warmup": 50}
"""How an ear goes on with mouths alone, which are what it is for. What reads its code stays, and the code nearly does,
so whoever learns by the code of one ear is at home with the next."""
TRAININGS = (
    Stage(FIRST_EAR, "nano_audio", (SPEECH,), {"name": FIRST_EAR}),
    Stage(
        EAR, "nano_audio",
        changes=FURTHER | {"start": f"{FIRST_EAR}.safetensors", "steps": 1750, "seed": 50_000},
    ),
    Stage("autoencoder", "nano_vae", (SPEECH,)),
    Stage("talkers", "nano_talkers", (EAR, "autoencoder")),
    Stage("teacher", "nano_teacher", ("talkers",)),
    Stage("sync_net", "nano_syncnet", ("talkers",)),
    Stage(
        LAST_EAR, "nano_audio", (EAR,),
        FURTHER | {"name": LAST_EAR, "start": FILES["ear"], "steps": 3000, "seed": 60_000},
    ),
    Stage("stage1", "nano_df", ("talkers",)),
    ablation(STUDENT),
    Stage(
        "stage1_0833", "nano_df", ("talkers",),
        {"name": "stage1_0833", "start": "stage1.safetensors", "t_list": EARLIER},
    ),
    ablation("dmd_guided", window_low=0.0, window_high=1.0, reward="none"),
    ablation("dmd_unguided", guidance=1.0, reward="none"),
    ablation("sw_dmd", reward="none"),
    ablation("sw_dmd_reward_0833", start="stage1_0833", t_list=EARLIER),
)
STUDENTS = ("stage1", "stage1_0833", "dmd_guided", "dmd_unguided", "sw_dmd", STUDENT, "sw_dmd_reward_0833")


def network_of(rival: str) -> str:
    """The training that made a rival's network; the teacher's two rivals share one."""
    return "teacher" if rival.startswith("teacher_") else rival


def t_list_of(student: str) -> tuple[float, ...]:
    """The schedule that a student was trained for."""
    return EARLIER if student.endswith("_0833") else RELEASED


TWO_CORES: dict[str, dict[str, Any]] = {
    "nano_audio": {"clips": 3200, "steps": 3000, "workers": 2},
    "nano_vae": {"clips": 500, "steps": 2500, "lips_weight": 40.0},
    "nano_talkers": {"pairs": 1000, "speech_clips": 2000},
    "nano_syncnet": {"pairs": 280, "seen_pairs": 100, "speech_clips": 560, "steps": 1500},
    "nano_teacher": {"steps": 2000, "batch": 2, "lr": 1.5e-3, "steady_mouth": True},
    "nano_df": {"steps": 7500, "batch": 2, "lr": 1.3e-3, "steady_mouth": True},
    "stage1_0833": {"steps": 800, "lr": 6e-4},
    "nano_sf": {"steps": 40, "steady_mouth": True},
}  # fmt: skip
"""Changes by which the recipe fits into four to five hours of two cores: a quarter of them goes to stage 1, whose
updates teach a mouth more in the same time than the teacher's. What is trained so shortly copies its source's mouth, so
it is held."""
MINIATURE: dict[str, dict[str, Any]] = {
    "nano_audio": {
        "clips": 32, "heldout_clips": 32, "clip_frames": 53, "steps": 2, "batch": 2, "frames": 8, "workers": 0
    },
    EAR: {"clips": 32, "steps": 2, "warmup": 0},
    LAST_EAR: {"clips": 32, "steps": 2, "warmup": 0},
    "nano_vae": {
        "clips": 8, "clip_frames": 8, "component_stride": 1, "speech_clips": 32, "speech_frames": 53, "steps": 2,
        "batch": 1, "frames": 8, "lips_weight": 40.0,
    },
    "nano_talkers": {
        "pairs": 8, "heldout": 1, "looks": 0, "latent_frames": 12, "speech_clips": 32, "speech_frames": 53, "workers": 0
    },
    "nano_syncnet": {
        "pairs": 8, "seen_pairs": 4, "heldout_pairs": 2, "latent_frames": 12, "speech_clips": 32, "speech_frames": 53,
        "rooms": 1, "steps": 2, "batch": 2, "windows": 2, "workers": 0,
    },
    "nano_teacher": {"steps": 2, "batch": 2, "frames": 6, "val_clips": 1, "steady_mouth": True},
    "nano_df": {"steps": 2, "batch": 2, "frames": 6, "val_clips": 1, "steady_mouth": True},
    "nano_sf": {
        "steps": 1, "student_every": 1, "batch": 2, "frames": 6, "val_clips": 1, "steady_mouth": True
    },
}  # fmt: skip
"""Changes by which the recipe runs whole in a few minutes and teaches nothing."""


GIVEN = (FIRST_EAR, EAR, LAST_EAR, "autoencoder", "sync_net")
"""Trainings whose results a recipe that goes on from finished weights takes over."""
BASE = "base.safetensors"
"""The student among these weights, which such a recipe's teacher and student both begin as."""
ONWARD: dict[str, dict[str, Any]] = {
    "nano_talkers": {"first": 5200, "pairs": 900, "speech_clips": 1800},
    "nano_teacher": {"start": BASE, "steps": 1200, "batch": 2, "lr": 8e-4, "steady_mouth": True},
    "nano_df": {"start": BASE, "steps": 7000, "batch": 2, "lr": 8e-4, "steady_mouth": True, "other_mouth": 2.0},
    "stage1_0833": {"steps": 400, "lr": 3e-4},
    "nano_sf": {"steps": 40, "steady_mouth": True},
}
"""How the recipe changes where it goes on from finished weights: their student learns on by stage 1, beside a teacher
that is made of it, and mouths are held as it knows them, in stage 1 also others than the source's. The faces are new to
it: the recipe from nothing learns from those of seeds below 1400, and the bundled student learnt on from those of 3200
to 5099."""


@dataclass(frozen=True)
class Size:
    """How much of everything, by a name that a work folder keeps. `talkers` are held-out clips for the comparison,
    `trajectories` those for the teacher's trajectories."""

    name: str
    changes: dict[str, dict[str, Any]]
    """By experiment file, and by the name of a single training, which counts for more."""
    talkers: int
    trajectories: int
    teacher_steps: int
    frames: int
    study: Study
    fit_clips: int = FIT_CLIPS
    rounds: int = ROUNDS
    """How often student and teacher are timed."""
    left_out: tuple[str, ...] = ()
    """Names of trainings that are not made."""
    first_talker: int = 5000
    """Seeds below were looked at while the recipe was made."""

    @property
    def students(self) -> tuple[str, ...]:
        """Those of `STUDENTS` that are made."""
        return tuple(name for name in STUDENTS if name not in self.left_out)


LONG = Size(
    "long", {"stage1_0833": {"steps": 300}}, talkers=64, trajectories=24, teacher_steps=50, frames=81, study=Study()
)  # fmt: skip
"""The experiment files as they are."""
WHOLE = replace(LONG, name="whole", changes=TWO_CORES, trajectories=6)
GOING_ON = replace(WHOLE, name="onward", changes=ONWARD, left_out=(*GIVEN, "sw_dmd_reward_0833"))
SMALL = Size(
    "miniature", MINIATURE, talkers=2, trajectories=2, teacher_steps=3, frames=21, study=Study(3, 1, (1,)), fit_clips=2,
    rounds=1,
)  # fmt: skip
