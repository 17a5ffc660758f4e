"""The teacher along its denoising: what guidance gives to lip sync and takes from fidelity, step by step.

Two experiments on held-out cross-driven talkers, whose true answer is known:

- The trajectories. The x0 at which the teacher points after each of its 50 steps is drawn and judged, once without
  guidance (scale 1) and once with it (4.5). The steps at which the guided one has the higher Sync-C are the
  sync-favouring band; the paper finds the levels 0.556 to 0.882, that is steps 20 to 40.
- The factorial. Two Euler steps, 0.999 -> landing -> 0, each with scale 1 or 4.5, over several landings. So the paper's
  project page defines its 2x2 schedule factorial, whose mixed schedule (first without, then with guidance) recovers
  most of the gap in sync near a landing of 0.769.

Everything measured is paired: the same clips, sounds and noise under every schedule.
"""

import json
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from tqdm import tqdm

from lipforcing_jax import flow
from lipforcing_jax.evaluation import image_metrics, opening, sync
from lipforcing_jax.evaluation.eval_talkers import Talker, correlation, psnr
from lipforcing_jax.evaluation.interval import interval
from lipforcing_jax.evaluation.rivals import Seen, Teacher
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.sampling import bidirectional
from lipforcing_jax.sampling.bidirectional import SYNC_WINDOW, Guidance
from lipforcing_jax.whole_file import written_whole

SCALES = (1.0, 4.5)
LANDINGS = (10, 20, 25, 30, 35, 40)
"""Steps of the ladder of 50 on whose levels the first jump lands: 0.952, 0.882, 0.833, 0.769, 0.682, 0.556."""
MEASURES = ("psnr", "ssim", "sync_c", "sync_d", "opening")
Numbers = dict[str, float]


class Study(NamedTuple):
    """What is run: the ladder's length, which of its steps are judged, and where the factorial lands."""

    steps: int = 50
    stride: int = 3
    """Every so many steps are judged, and the last; drawing and judging costs more than sampling."""
    landings: tuple[int, ...] = LANDINGS

    @property
    def ladder(self) -> Float[np.ndarray, " n"]:
        """The sampler's levels, which begin at the largest that the network is trained for."""
        return np.minimum(bidirectional.levels(self.steps), flow.MAX_T)

    @property
    def judged(self) -> list[int]:
        """Steps whose x0 is judged; step i starts at `ladder[i]`."""
        return sorted({*range(0, self.steps, self.stride), self.steps - 1})


class Examiner:
    """Turns latents of a talker's clip into numbers."""

    def __init__(self, net: SyncNet, estimator: opening.OpeningEstimator):
        self.net, self.estimator = net, estimator

    def __call__(self, talker: Talker, frames: UInt8[np.ndarray, "t s s 3"]) -> Numbers:
        """Of aligned frames: likeness of the mouth to the truth (`psnr` in dB, `ssim` of grey pictures), Sync-C and
        Sync-D with the driving sound, and the correlation of the opening with the truth's."""
        rows, columns = opening.mouth_box(frames.shape[1])
        mouth, truth = frames[:, rows, columns], talker.truth[:, rows, columns]
        score = sync.compare(self.net, frames, sync.cepstra_of(talker.audio)[None])
        opened = partial(opening.estimate, self.estimator, source=talker.source)
        return {
            "psnr": psnr(mouth, truth), "ssim": likeness(mouth, truth),
            "sync_c": float(score.confidence[0]), "sync_d": float(score.distance[0]),
            "opening": correlation(opened(frames), opened(talker.truth)),
        }  # fmt: skip


def likeness(frames: UInt8[np.ndarray, "t h w 3"], others: UInt8[np.ndarray, "t h w 3"]) -> float:
    """Mean SSIM of two tracks of grey pictures."""
    pairs = zip(map(image_metrics.grey, frames), map(image_metrics.grey, others), strict=True)
    return float(np.mean([image_metrics.ssim(a, b) for a, b in pairs]))


@partial(jax.jit, static_argnames="scale")
def jump(
    model: DiT,
    x: Float[Array, "b t h w c"],
    seen: Seen,
    t: Float[Array, ""],
    target: Float[Array, ""],
    scale: float,
) -> Float[Array, "b t h w c"]:
    """One Euler step from level t to `target` along the flow guided by `scale`."""
    told = (model, x, seen.condition, jnp.full((x.shape[0], 1), t), seen.prompt)
    guided = scale != 1.0
    velocity = bidirectional.guided_flow(*told, Guidance(scale)) if guided else bidirectional.plain_flow(*told)
    return x + (target - t) * velocity


def measure(teacher: Teacher, examiner: Examiner, talker: Talker, study: Study, seed: int) -> dict:
    """Both experiments on one clip.

    Returns:
      "trajectories": by scale, a list of numbers for each judged step; "factorial": numbers with `landing`, `first`
      and `second`; "truth" and "source": numbers of the rendered truth and of the unchanged source.
    """
    seen = teacher.look(talker.source, talker.audio)
    noise = jax.random.normal(jax.random.key(seed), seen.latents.shape)

    def judged(latents) -> Numbers:
        return examiner(talker, teacher.draw(seen, talker.source, latents))

    walks = {scale: walk(teacher.networks.dit, noise, seen, scale, tuple(study.ladder)) for scale in SCALES}
    return {
        "trajectories": {str(scale): [judged(x0[i]) for i in study.judged] for scale, x0 in walks.items()},
        "factorial": [place | judged(x0) for place, x0 in landings(teacher.networks.dit, noise, seen, study)],
        "truth": examiner(talker, talker.truth), "source": examiner(talker, talker.source),
    }  # fmt: skip


@partial(jax.jit, static_argnames=("scale", "ladder"))
def walk(model: DiT, noise: Float[Array, "b t h w c"], seen: Seen, scale: float, ladder: tuple[float, ...]):
    """The x0 after each step of a whole trajectory, [steps, b, t, h, w, c]."""
    return bidirectional.sample(model, noise, seen.condition, seen.prompt, Guidance(scale), np.asarray(ladder))[1]


def landings(model: DiT, noise: Float[Array, "b t h w c"], seen: Seen, study: Study):
    """Every landing and pair of scales with the latents that two jumps make."""
    for step in study.landings:
        landing = float(study.ladder[step])
        for first in SCALES:
            landed = jump(model, noise, seen, flow.MAX_T, landing, first)
            for second in SCALES:
                place = {"landing": landing, "first": first, "second": second}
                yield place, jump(model, landed, seen, landing, 0.0, second)


def run(teacher: Teacher, examiner: Examiner, talkers, out: Path, study: Study = Study()) -> list[dict]:  # noqa: B008
    """`measure` of all talkers, an iterable of (number, function that makes the talker).

    Every clip's numbers are kept in `out`, so that a broken run goes on where it was; they are those of one study.
    """
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, make in tqdm(talkers, desc="trajectories"):
        path = out / f"clip_{number:04d}.json"
        if not path.exists():
            row = measure(teacher, examiner, make(), study, number)
            with written_whole(path) as growing:
                growing.write_text(json.dumps(row, indent=1) + "\n")
        rows.append(json.loads(path.read_text()))
    return rows


def summarise(rows: list[dict], study: Study = Study()) -> dict:  # noqa: B008
    """What the figures show and the report says: means with intervals over clips, and the sync-favouring band."""
    levels = [float(study.ladder[i]) for i in study.judged]
    plain, guided = (columns([row["trajectories"][str(scale)] for row in rows]) for scale in SCALES)
    gain = {name: guided[name] - plain[name] for name in MEASURES}
    return {
        "clips": len(rows), "steps": study.judged, "levels": levels,
        "trajectories": {str(s): intervals(v) for s, v in zip(SCALES, (plain, guided), strict=True)},
        "gain": intervals(gain),
        "band": band(gain, levels),
        "factorial": factorial([row["factorial"] for row in rows]),
        "truth": intervals(columns([row["truth"] for row in rows])),
        "source": intervals(columns([row["source"] for row in rows])),
    }  # fmt: skip


def columns(rows: list) -> dict[str, Float[np.ndarray, "clips *steps"]]:
    """Arrays by measure from the numbers of each clip, or from each clip's list of numbers."""
    pick = lambda row, name: [at[name] for at in row] if isinstance(row, list) else row[name]  # noqa: E731
    return {name: np.array([pick(row, name) for row in rows]) for name in MEASURES}


def intervals(values: dict[str, Float[np.ndarray, "clips *steps"]]) -> dict[str, dict]:
    """Means over clips with their 95 % intervals; lists where there are steps."""
    return {name: interval(sample).record() for name, sample in values.items()}


def band(gain: dict[str, Float[np.ndarray, "clips steps"]], levels: list[float]) -> dict:
    """The sync-favouring band: the longest run of steps at which guidance raises Sync-C for sure.

    Sure is what the 95 % interval of the paired difference says, which lies above 0.

    Returns:
      `found`; where it is, `high` and `low` (levels of the run's first and last step), the mean gains inside by
      measure, and how the run agrees with the paper's window: the share of its steps inside the window, and the share
      of the window's judged steps inside the run.
    """
    sure = np.asarray(intervals(gain)["sync_c"]["low"]) > 0
    first, length = longest_run(sure)
    if not length:
        return {"found": False}
    run, levels = np.zeros(len(sure), bool), np.asarray(levels)
    run[first : first + length] = True
    # The window's ends are the levels of steps 40 and 20 to three places.
    window = (levels.round(3) >= SYNC_WINDOW[0]) & (levels.round(3) <= SYNC_WINDOW[1])
    return {
        "found": True, "high": float(levels[first]), "low": float(levels[first + length - 1]),
        "gains": {name: float(values[:, run].mean()) for name, values in gain.items()},
        "inside_window": float(window[run].mean()), "window_covered": float(run[window].mean()),
    }  # fmt: skip


def longest_run(flags: np.ndarray) -> tuple[int, int]:
    """Start and length of the longest run of True; the first of several."""
    best, start = (0, 0), 0
    for i, flag in enumerate([*flags, False]):
        if not flag:
            best = (start, i - start) if i - start > best[1] else best
            start = i + 1
    return best


def factorial(rows: list[list[dict]]) -> list[dict]:
    """Every landing and pair of scales with the intervals of its measures over clips."""
    places = [{name: at[name] for name in ("landing", "first", "second")} for at in rows[0]]
    return [place | intervals(columns([row[i] for row in rows])) for i, place in enumerate(places)]
