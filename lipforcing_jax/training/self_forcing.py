"""Stage "self_forcing": stage 2, Sync-Window distribution matching with the SyncNet reward (spec training 2)."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from lipforcing_jax.data import reader
from lipforcing_jax.distill import distillation, optimisers
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.distillation import Distillation, Optimisers
from lipforcing_jax.distill.distribution_matching import SyncWindow
from lipforcing_jax.distill.reward import RewardConfig
from lipforcing_jax.distill.self_forcing import Judge, Recipe, draw_exit_step, teach_critic, teach_student
from lipforcing_jax.errors import UserError
from lipforcing_jax.media.mouth_mask import latent_mask
from lipforcing_jax.models.conditioning import FRAMES_PER_LATENT
from lipforcing_jax.models.presets import Preset, SyncNetConfig, WindowConfig
from lipforcing_jax.models.sync_distance import MAX_SHIFT
from lipforcing_jax.sampling.plan import LEAD
from lipforcing_jax.training import actors, devices
from lipforcing_jax.training.conditions import condition_of, steady_chunk
from lipforcing_jax.training.loop import fit
from lipforcing_jax.training.validation import Validation


class Rules(NamedTuple):
    """How the two parts of an update take turns.

    `critic_scale`: the reference multiplies the critic's gradient by the number of batches whenever the student learns
    too (spec training, trap T4); False keeps it to the mean.
    """

    student_every: int = 5
    critic_scale: bool = False


class Fixed(NamedTuple):
    """What never changes: networks and tables."""

    base: Base
    teacher: nnx.State
    judge: Judge | None
    mask: Float[Array, "h w"]
    prompts: Float[Array, "p l d"]
    negative_text: Float[Array, "1 l d"]


def recipe_of(config) -> Recipe:
    """The recipe that an experiment file describes."""
    reward = RewardConfig(config.reward_beta, config.reward_mode, config.reward_center, config.reward_clamp)
    return Recipe(
        window=WindowConfig(config.chunk, config.window, config.sink, config.dynamic_rope),
        t_list=tuple(config.t_list),
        shift=config.shift,
        reward=reward if config.reward != "none" else None,
        remat=config.remat,
    )


def guidance_of(config) -> SyncWindow:
    """Where the teacher is guided."""
    return SyncWindow(config.guidance, config.window_low, config.window_high, config.window_reverse)


def optimisers_of(config) -> Optimisers:
    """Two of the same kind; only the student's clips (spec training 2.9)."""
    numbers = config.lr, config.b1, config.b2, config.eps, config.weight_decay
    critic = (config.critic_lr or config.lr, *numbers[1:])
    return Optimisers(
        optimisers.adamw(*numbers, config.clip_norm, config.warmup), optimisers.adamw(*critic, warmup=config.warmup)
    )


def make_advance(
    fixed: Fixed,
    recipe: Recipe,
    optimise: Optimisers,
    rules: Rules,
    guidance: SyncWindow = SyncWindow(),  # noqa: B008 - frozen
    steady: int | None = None,
) -> Callable:
    """`(state, draws, key) -> (state, metrics)`: one update, by as many batches as `draws` holds; `steady` as in
    `condition_of`.

    Both parts see every batch. The student is judged by the critic as it was before this update, and each part draws
    noise, levels and exit steps of its own.
    """
    # The critic knows no reward: runs that differ only in it share its program.
    critics = replace(recipe, reward=None)

    def advance(state: Distillation, draws: list, key: Array):
        students_turn = (int(state.step) + 1) % rules.student_every == 0
        critic_sum = student_sum = None
        rewards, metrics = state.rewards, []
        for i, batch in enumerate(draws):
            condition = condition_of(batch, fixed.mask, fixed.prompts, steady)
            for_critic, for_student, exits = jax.random.split(jax.random.fold_in(key, i), 3)
            exit_step, students_exit = (draw_exit_step(key, recipe) for key in jax.random.split(exits))
            gradients, found = teach_critic(
                fixed.base, state.critic, state.student, condition, for_critic, critics, exit_step
            )
            critic_sum = gradients if critic_sum is None else distillation.add(critic_sum, gradients)
            metrics.append({rename(name): value for name, value in found.items()})
            if students_turn:
                gradients, found, rewards = teach_student(
                    fixed.base, state.student, state.critic, fixed.teacher, condition, fixed.negative_text, for_student,
                    recipe, students_exit, guidance, fixed.judge, batch.cepstra, rewards,
                )  # fmt: skip
                student_sum = gradients if student_sum is None else distillation.add(student_sum, gradients)
                metrics[-1] |= found
        share = 1 / len(draws)
        scales = (1.0 if students_turn and rules.critic_scale else share, share)
        state, facts = distillation.update(state, critic_sum, student_sum, rewards, scales, optimise)
        return state, together(metrics) | facts

    return advance


def rename(name: str) -> str:
    """The critic's count of samples left out stands beside the student's."""
    return "skipped_critic_samples" if name == "skipped_samples" else name


def together(metrics: list[dict[str, Array]]) -> dict[str, Array]:
    """Means over the batches of an update; sums of what counts."""
    gathered = {name: jnp.stack([m[name] for m in metrics]) for name in metrics[0]}
    return {name: v.sum() if name.startswith("skipped") else v.mean() for name, v in gathered.items()}


def fixed_parts(config, preset: Preset, workdir: Path, mesh: Mesh | None) -> tuple[Fixed, nnx.State]:
    """Networks and tables of a run, and the student it starts from, in their places."""
    found = actors.load(config, preset, workdir, mesh)
    judge = actors.load_judge(config, preset, workdir) if config.reward != "none" else None
    prompts = jnp.asarray(reader.prompts(actors.dataset_folder(config, workdir)))
    mask, negative_text = latent_mask(preset.latent_size), actors.negative_text(config, preset)
    rest = devices.everywhere((judge, jnp.asarray(mask, jnp.float32), prompts, negative_text), mesh)
    return Fixed(found.base, found.teacher, *rest), found.student


def check(config) -> None:
    """Refuses settings that no update could be made with.

    Raises:
      UserError: one of them is out of range; it is named.
    """
    if config.student_every < 1:
        raise UserError(f"student_every={config.student_every} must be at least 1; the release has 5.")
    if config.frames % config.chunk:
        raise UserError(f"frames={config.frames} must be a multiple of chunk={config.chunk}.")
    windows = FRAMES_PER_LATENT * config.frames - LEAD - (SyncNetConfig.frames - 1)
    if config.reward != "none" and windows <= MAX_SHIFT:
        raise UserError(
            f"frames={config.frames} gives SyncNet {windows} windows, but shifts of {MAX_SHIFT} frames need more: "
            "take at least 6 latent frames, or reward=none."
        )


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_sf.py); returns the weights file.

    Raises:
      UserError: weights or data are missing or do not fit.
    """
    check(config)
    preset, recipe, optimise = actors.preset_of(config), recipe_of(config), optimisers_of(config)
    mesh = devices.mesh_of(config, preset.dit.num_heads)
    fixed, student = fixed_parts(config, preset, workdir, mesh)
    state = devices.place(distillation.create(student, fixed.teacher, optimise), mesh)
    vae = fixed.judge.vae if fixed.judge else devices.everywhere(actors.load_decoder(config, preset, workdir), mesh)
    batch = actors.first_batch(config, workdir, "val", config.val_clips)
    steady, folder = steady_chunk(config), workdir / config.name / "samples"
    condition = condition_of(batch, fixed.mask, fixed.prompts, steady)
    validation = Validation(batch, condition, recipe, vae, fixed.judge, folder)

    def evaluate(state: Distillation) -> dict[str, float]:
        actors.export(config, fixed.base, state.student, workdir)
        return validation.measure(fixed.base, state.student)

    state = fit(
        state,
        make_advance(
            fixed, recipe, optimise, Rules(config.student_every, config.critic_scale), guidance_of(config), steady
        ),
        actors.open_data(config, workdir, mesh=mesh),
        steps=config.steps, workdir=workdir / config.name, seed=config.seed, accumulation=config.accumulation,
        log_every=config.log_every, save_every=config.save_every, keep=config.keep, best=config.best or None,
        evaluate=evaluate, sample=lambda state, step: validation.draw(fixed.base, state.student, step),
        sample_every=config.sample_every, record=config.to_dict(), max_skipped=config.max_skipped, mesh=mesh,
    )  # fmt: skip
    return actors.export(config, fixed.base, state.student, workdir)
