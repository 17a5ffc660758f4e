"""What a student in training makes of clips it isn't trained on: numbers, and videos to look at."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from lipforcing_jax.data.batch import Batch
from lipforcing_jax.distill import reward
from lipforcing_jax.distill.base import Base
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.distill.rollout import draw_noise, rollout
from lipforcing_jax.distill.self_forcing import Judge, Recipe
from lipforcing_jax.media.comparison import contact_sheet, write_picture
from lipforcing_jax.media.video_writer import VideoWriter
from lipforcing_jax.models.presets import WindowConfig
from lipforcing_jax.models.tiny_vae import TinyVAE
from lipforcing_jax.options import FPS, SAMPLE_RATE
from lipforcing_jax.sampling.plan import LEAD
from lipforcing_jax.training import devices


@partial(jax.jit, static_argnames="window")
def generate(
    base: Base, student: nnx.State, condition: Condition, key: Array, window: WindowConfig, t_list: tuple[float, ...]
) -> Float[Array, "b t h w c"]:
    """Clips of the student's own, all denoising steps taken."""
    steps = len(t_list) - 1
    noise = draw_noise(key, condition.masked_video, window.chunk, steps)
    model = base.join(student)
    return rollout(model, condition, noise, window=window, t_list=t_list, exit_step=steps - 1).x0


@jax.jit
def mouth_error(x0: Float[Array, "b t h w c"], target: Float[Array, "b t h w c"], mask: Float[Array, "h w"]):
    """Mean squared error of the generated cells."""
    generated = 1 - mask[:, :, None]
    return jnp.mean(jnp.mean((x0 - target) ** 2 * generated, axis=(1, 2, 3, 4))) / jnp.mean(generated)


sync_scores = jax.jit(reward.sync_scores)


@jax.jit
def decode(vae: TinyVAE, latents: Float[Array, "1 t h w c"]) -> Float[Array, "1 v s s 3"]:
    """The pictures of one clip, its lead-in too."""
    return vae.decode(latents)[0]


class Validation:
    """The first clips of the validation split, the same at every look.

    Without a judge there is no Sync-C; `vae` draws the pictures, and every device has all of it.
    """

    def __init__(
        self, batch: Batch, condition: Condition, recipe: Recipe, vae: TinyVAE, judge: Judge | None, folder: Path
    ):
        self.batch, self.recipe, self.vae, self.judge, self.folder = batch, recipe, vae, judge, folder
        self.condition, self.key = condition, jax.random.key(0)

    def made(self, base: Base, student: nnx.State) -> Float[Array, "b t h w c"]:
        """The clips in latents, of the same noise at every look."""
        return generate(base, student, self.condition, self.key, self.recipe.window, self.recipe.t_list)

    def measure(self, base: Base, student: nnx.State) -> dict[str, float]:
        """Error of the mouth against the target, and Sync-C and Sync-D with the sound."""
        x0 = self.made(base, student)
        numbers = {"val_mouth_error": float(mouth_error(x0, self.batch.target, self.condition.mask))}
        if self.judge is not None:
            scores = sync_scores(self.judge.vae, self.judge.net, x0, self.batch.cepstra)
            numbers |= {"val_sync_c": float(scores.confidence.mean()), "val_sync_d": float(scores.distance.mean())}
        return numbers

    def draw(self, base: Base, student: nnx.State, step: int, count: int = 2, moments: int = 8) -> None:
        """Writes source, target and result of `count` clips side by side as a video with the first one's sound, and as
        a sheet of moments. All of several processes decode the clips, and the first one writes them."""
        x0 = devices.whole(self.made(base, student))
        shown = (self.batch.ref_sequence, self.batch.target, x0)
        clips = [
            [pictures(decode(self.vae, latents[i : i + 1])) for latents in shown]
            for i in range(min(count, x0.shape[0]))
        ]
        if not devices.first_process():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        frames = np.concatenate([np.concatenate(row, axis=2) for row in clips], axis=1)
        sound = self.batch.waveform[0].astype(np.float32) / 32768
        path = self.folder / f"{step:06d}.mp4"
        with VideoWriter(path, frames.shape[2], frames.shape[1], FPS, sound, SAMPLE_RATE) as video:
            for frame in frames:
                video.write(frame)
        chosen = np.linspace(0, len(frames) - 1, moments).round().astype(int)
        rows = [[clip[i] for i in chosen] for row in clips for clip in row]
        sheet = contact_sheet(rows, ["source", "target", "result"] * len(clips), [f"{i / FPS:.2f} s" for i in chosen])
        write_picture(self.folder / f"{step:06d}.png", sheet)


def pictures(pixels: Float[Array, "1 v s s 3"]) -> np.ndarray:
    """uint8 frames of a decoded clip, without its lead-in."""
    return np.asarray(jnp.round(255 * jnp.clip(pixels[0, LEAD:], 0, 1))).astype(np.uint8)
