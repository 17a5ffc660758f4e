"""The compiled programs of training, with the shapes and places of what they are given; no array exists."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill import base as shared
from lipforcing_jax.distill import distillation, train_state
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.distill.reward import no_rewards_yet
from lipforcing_jax.distill.self_forcing import Judge, teach_critic, teach_student
from lipforcing_jax.errors import UserError
from lipforcing_jax.models.attention import best_backend
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import LoRAConfig, Preset
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.options import SAMPLES_PER_FRAME
from lipforcing_jax.parallel import sharding
from lipforcing_jax.parallel.rules import Regime
from lipforcing_jax.training import self_forcing, student
from lipforcing_jax.training.actors import lora_of

ROWS_PER_FRAME, CEPSTRA = 4, 13
"""Sound of one video frame, and its cepstra."""


class Program(NamedTuple):
    """A jitted function and what it is called with.

    `seconds_of_video` is what a call makes, where that is its aim. `copies` counts the devices that all do the same
    work, where the mesh does not divide it.
    """

    name: str
    function: Callable
    args: tuple
    static: dict[str, Any]
    seconds_of_video: float | None = None
    copies: int = 1


class Job(NamedTuple):
    """Programs that take turns, and what stays in memory between them."""

    programs: list[Program]
    state: Any


class Placing(NamedTuple):
    """Shapes with their places on a mesh."""

    mesh: Mesh
    regime: Regime

    def parameters(self, tree: Any, dtype=None) -> Any:
        """Parameters or what belongs to them, in `dtype` where it is given."""
        tree = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype), tree)
        return sharding.abstract(tree, sharding.shardings(tree, self.mesh, self.regime))

    def samples(self, tree: Any, axis: int = 0) -> Any:
        """Arrays with a batch axis."""
        return sharding.abstract(tree, sharding.batch_shardings(tree, self.mesh, axis))

    def along(self, x: jax.ShapeDtypeStruct, axes: sharding.Axes) -> jax.ShapeDtypeStruct:
        """An array whose axes have names of `parallel.rules`."""
        place = NamedSharding(self.mesh, sharding.spec(axes, x.shape, self.mesh))
        return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)

    def whole(self, tree: Any, dtype=None) -> Any:
        """What every device has all of, in `dtype` where it is given."""
        everywhere = NamedSharding(self.mesh, PartitionSpec())
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, dtype or x.dtype, sharding=everywhere), tree)


def numbers(*shape: int, dtype=jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def key() -> jax.ShapeDtypeStruct:
    return jax.eval_shape(lambda: jax.random.key(0))


def abstract_dit(preset: Preset, dtype, platform: str, lora: LoRAConfig | None = None) -> DiT:
    """The network as it is built on devices of a platform."""
    backend = best_backend(platform)
    return nnx.eval_shape(lambda: DiT(preset.dit, lora=lora, dtype=dtype, attention=backend, rngs=nnx.Rngs(0)))


def training(config, preset: Preset, mesh: Mesh, platform: str = "tpu") -> Job:
    """The programs of a distillation stage on a network of the preset's sizes.

    Raises:
      UserError: the stage has no plan.
    """
    stages = {"diffusion_forcing": first_stage, "self_forcing": second_stage}
    if config.stage not in stages or config.trained != "low_rank":
        raise UserError(
            f"The stage {config.stage!r} with trained={config.trained!r} has no plan; those of "
            f"{' and '.join(stages)} on a shared base have one."
        )
    place = Placing(mesh, "train")
    model = abstract_dit(preset, jnp.dtype(config.dtype), platform, lora_of(config))
    base, trained = shared.split(model)
    base = base._replace(frozen=place.parameters(base.frozen, jnp.bfloat16))
    return stages[config.stage](config, preset, place, base, place.parameters(trained))


def abstract_batch(config, preset: Preset, *leading: int) -> Batch:
    """What the reader gives."""
    cells, channels, video = preset.latent_size, preset.dit.latent_channels, 4 * config.frames - 3
    latents = lambda frames: numbers(*leading, config.batch, frames, cells, cells, channels)  # noqa: E731
    whole = latents(config.frames)
    return Batch(
        target=whole, ref_latent=latents(1), masked_video=whole, ref_sequence=whole,
        audio=numbers(*leading, config.batch, config.frames, 4 * preset.dit.audio_dim),
        cepstra=numbers(*leading, config.batch, ROWS_PER_FRAME * video - 1, CEPSTRA),
        prompt=numbers(*leading, config.batch, dtype=jnp.int32),
        waveform=numbers(*leading, config.batch, SAMPLES_PER_FRAME * video, dtype=jnp.int16),
    )  # fmt: skip


def first_stage(config, preset: Preset, place: Placing, base, trained) -> Job:
    """Stage 1: one program is a whole update."""
    optimiser = student.optimiser_of(config)
    state = jax.eval_shape(lambda part: train_state.create(part, optimiser, averaged=False), trained)
    state = place.parameters(state)
    prompts = np.zeros((1, preset.dit.text_len, preset.dit.text_dim), np.float32)
    fixed = student.tables(config, preset, base._replace(frozen=None), prompts, np.ones(preset.dit.latent_channels))
    fixed = place.whole(jax.eval_shape(lambda: fixed._replace(base=None)))._replace(base=base)
    draws = place.samples(abstract_batch(config, preset, config.accumulation), axis=1)
    static = {"loss": student.loss_of(config), "optimiser": optimiser, "average_decay": None}
    update = Program("update", train_state.step, (state, draws, place.whole(key()), (fixed,)), static)
    return Job([update], (state, base))


def second_stage(config, preset: Preset, place: Placing, base, trained) -> Job:
    """Stage 2: what a batch teaches the critic and the student at the longer of their rollouts, and the update."""
    recipe = self_forcing.recipe_of(config)
    optimise = self_forcing.optimisers_of(config)
    state = place.parameters(jax.eval_shape(lambda part: distillation.create(part, part, optimise), trained))
    teacher = jax.tree.map(replica, trained)
    judge = None
    if recipe.reward is not None:
        vae = nnx.eval_shape(lambda: TinyVAE(preset.tiny_vae, dtype=jnp.dtype(config.dtype), rngs=nnx.Rngs(0)))
        judge = place.whole(Judge(vae, nnx.eval_shape(lambda: SyncNet(preset.sync_net, rngs=nnx.Rngs(0)))))
    batch = place.samples(abstract_batch(config, preset))
    text = place.samples(numbers(config.batch, preset.dit.text_len, preset.dit.text_dim))
    mask = place.whole(numbers(preset.latent_size, preset.latent_size))
    condition = Condition(text, batch.audio, batch.ref_latent, batch.masked_video, batch.ref_sequence, mask)
    negative = place.whole(numbers(1, preset.dit.text_len, preset.dit.text_dim))
    exit_step, seed = len(recipe.t_list) - 2, place.whole(key())
    critics = replace(recipe, reward=None)
    sums = [jax.tree.map(replica, trained) for _ in range(2)]
    rewards = place.whole(jax.eval_shape(no_rewards_yet))
    programs = [
        Program("critic", teach_critic, (base, state.critic, state.student, condition, seed),
                {"recipe": critics, "exit_step": exit_step}),
        Program("student", teach_student,
                (base, state.student, state.critic, teacher, condition, negative, seed),
                {"recipe": recipe, "exit_step": exit_step, "judge": judge, "cepstra": batch.cepstra, "mean": rewards}),
        Program("update", distillation.update, (state, *sums, rewards, (0.25, 0.25)), {"optimisers": optimise}),
    ]  # fmt: skip
    return Job(programs, (base, state, teacher, judge, sums))


def replica(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Another array like this one: arrays are told apart by identity where memory is added up."""
    return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
