"""The networks of the two distillation stages from a run's settings: base, student, critic, teacher, judge."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float

from lipforcing_jax.data import reader
from lipforcing_jax.data.batch import Batch
from lipforcing_jax.data.reader import Reading
from lipforcing_jax.data.sample import read_facts
from lipforcing_jax.distill.base import EVERYTHING, Base, split
from lipforcing_jax.distill.self_forcing import Judge
from lipforcing_jax.errors import UserError
from lipforcing_jax.models.attention import best_backend
from lipforcing_jax.models.presets import LoRAConfig, Preset
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.parallel import sharding
from lipforcing_jax.training import devices
from lipforcing_jax.weights import networks, store, trained_part, training_parts


class Actors(NamedTuple):
    """One base and what makes it a student or a teacher. The critic begins as the teacher."""

    base: Base
    student: nnx.State
    teacher: nnx.State | None


def load(config, preset: Preset, workdir: Path, mesh: Mesh | None = None) -> Actors:
    """What `config` says: `trained` "everything" takes whole networks, "low_rank" pairs on a converted base.

    On a mesh every device has its slices; those of a converted base are all that it ever reads.

    Raises:
      UserError: weights are missing or do not fit; `trained` is unknown, or not for a steady mouth.
    """
    if config.trained == "everything":
        return devices.place(whole_networks(config, preset, workdir), mesh)
    if config.trained == "low_rank":
        if config.steady_mouth:
            raise UserError(
                'steady_mouth=True is for networks trained whole (trained="everything"): converted weights can\'t say '
                "that they were trained so."
            )
        return low_rank_parts(config, preset, workdir, mesh)
    raise UserError(f'trained={config.trained!r} is unknown; it is "low_rank" or "everything".')


def preset_of(config) -> Preset:
    """The preset of a run, at the sizes of its converted base where it has one.

    Raises:
      UserError: there is no such preset, or the base is another's or of another rank.
    """
    preset = networks.find(config.preset)
    if config.trained != "low_rank":
        return preset
    return training_parts.fitted(preset, weights_folder(config), lora_of(config))


def lora_of(config) -> LoRAConfig:
    """Rank and scale of all pairs of a run."""
    return LoRAConfig(config.lora_rank, config.lora_alpha)


def weights_folder(config) -> Path:
    """The converted weights of a run on a frozen base."""
    if not config.weights:
        raise UserError(
            "Low-rank training needs a base: give weights=DIR, made by lipforcing convert --unmerged --base FILE "
            "--adapter FILE --out DIR."
        )
    return Path(config.weights)


def low_rank_parts(config, preset: Preset, workdir: Path, mesh: Mesh | None) -> Actors:
    """The release's trained parts on a converted base. The teacher is the adapter, and so is a student if `start` is
    empty."""
    folder = weights_folder(config)
    backend = best_backend(jax.default_backend())
    places = None if mesh is None else partial(sharding.shardings, mesh=mesh)
    base = training_parts.load_base(folder, jnp.dtype(config.dtype), places, backend)
    adapter = training_parts.load_adapter(folder, places)
    if not config.start:
        return Actors(base, adapter, adapter)
    student = trained_part.read(workdir / config.start, preset.dit, lora_of(config))
    return Actors(base, devices.place(jax.tree.map(jnp.asarray, student), mesh), adapter)


def whole_networks(config, preset: Preset, workdir: Path) -> Actors:
    """Networks all of whose parameters are trained, from files in the work folder; a student from nothing if
    `start` is empty."""
    make = networks.makers(preset)["dit"]
    student = store.load_module(workdir / config.start, make) if config.start else networks.new_dit(preset, config.seed)
    base, trained = split(student, EVERYTHING)
    teacher = split(store.load_module(workdir / config.teacher, make), EVERYTHING)[1] if config.teacher else None
    return Actors(base, trained, teacher)


def load_judge(config, preset: Preset, workdir: Path) -> Judge:
    """Decoder and SyncNet of the reward."""
    folder = weights_folder(config) if config.trained == "low_rank" else workdir
    return Judge(load_decoder(config, preset, workdir), networks.load_sync_net(preset, folder))


def load_decoder(config, preset: Preset, workdir: Path) -> TinyVAE:
    """The tiny autoencoder, which draws the student's latents."""
    if config.trained == "low_rank":
        return training_parts.load_decoder(weights_folder(config), jnp.dtype(config.dtype))
    return store.load_module(workdir / networks.FILES["vae"], networks.makers(preset)["vae"])


def negative_text(config, preset: Preset) -> Float[Array, "1 l d"]:
    """The text that guidance leads away from: the embedding in the file `negative_prompt`, zeros where none is named.

    Raises:
      UserError: the file is missing or holds no array [l, d] of the network's size.
    """
    shape = (preset.dit.text_len, preset.dit.text_dim)
    if not config.negative_prompt:
        return jnp.zeros((1, *shape))
    try:
        found = np.load(config.negative_prompt)
    except (OSError, ValueError) as error:
        raise UserError(f"negative_prompt={config.negative_prompt} is no readable .npy file: {error}.") from error
    if found.shape != shape:
        raise UserError(f"The embedding in {config.negative_prompt} is {found.shape}, the network takes {shape}.")
    return jnp.asarray(found, jnp.float32)[None]


def dataset_folder(config, workdir: Path) -> Path:
    """The data set that `config` names, or that of the work folder."""
    return Path(config.dataset) if config.dataset else workdir / "dataset"


def open_data(
    config, workdir: Path, split: str = "train", mesh: Mesh | None = None, **changes
) -> grain.DatasetIterator:
    """Batches as `config` wants them: of several processes each reads its share."""
    part = devices.share(mesh)
    fields = {"batch": config.batch // part["hosts"], "frames": config.frames, "chunk": config.chunk,
              "seed": config.seed, "workers": config.workers, **part}  # fmt: skip
    return reader.read(dataset_folder(config, workdir), split, Reading(**fields | changes))


def first_batch(config, workdir: Path, split: str, batch: int, frames: int | None = None) -> Batch:
    """The first clips of a split in stored order, as many as there are up to `batch`; of each as many whole chunks as
    it has, or `frames` latent frames."""
    folder = dataset_folder(config, workdir)
    stored = read_facts(folder).latent_frames
    frames = frames or max(1, stored // config.chunk) * config.chunk
    size = min(batch, reader.count(folder, split))
    all_of_it = {"shuffle": False, "workers": 0}
    return next(open_data(config, workdir, split, batch=size, frames=frames, **all_of_it))


def export(config, base: Base, trained: nnx.State, workdir: Path) -> Path:
    """Writes the student beside the other stages' weights: the whole network, or the trained part alone where the base
    is shared. A stopped run leaves a usable one."""
    path, trained = workdir / f"{config.name}.safetensors", devices.whole(trained)
    if not devices.first_process():
        return path
    if config.trained == "low_rank":
        return trained_part.write(path, trained, base.join(trained).cfg)
    facts = {"stage": config.stage, "name": config.name}
    facts |= {networks.STEADY_MOUTH: "true"} if config.steady_mouth else {}
    return store.save_module(path, base.join(trained), np.float16, facts)
