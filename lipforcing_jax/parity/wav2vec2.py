"""wav2vec2 beside transformers' `Wav2Vec2Model`.

The reference brings the convolutions' rows to the video's frames before the transformer, which the peer's own forward
doesn't; so the peer's parts are called one by one, with PyTorch's interpolation between them.
"""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import torch
import transformers
from flax import nnx

from lipforcing_jax.models import wav2vec2
from lipforcing_jax.models.presets import Wav2Vec2Config
from lipforcing_jax.models.wav2vec2 import Wav2Vec2
from lipforcing_jax.parity.row import Row, compare
from lipforcing_jax.weights import wav2vec2_names
from lipforcing_jax.weights.recipe import component_weight, normal

PEER = "transformers"
SMALL = Wav2Vec2Config(
    hidden_size=64, num_layers=3, num_heads=4, intermediate_size=128, conv_dim=(32,) * 7, position_taps=16,
    position_groups=4,
)  # fmt: skip
FLOAT32 = 1e-5
"""Seven convolutions and up to twelve layers; measured 1e-6."""


def rows(full_width: bool = False) -> Iterator[Row]:
    """A narrow network in float32; with `full_width` also wav2vec2-base whole."""
    yield from compare_network("wav2vec2", SMALL, frames=30)
    if full_width:
        yield from compare_network("wav2vec2, base whole", Wav2Vec2Config(), frames=60)


def sound(cfg: Wav2Vec2Config, frames: int) -> np.ndarray:
    """Noise that swells and fades, and half a frame short of its frames."""
    samples = int((frames - 0.5) * cfg.samples_per_frame)
    swell = 0.2 + np.sin(np.arange(samples) / 3000) ** 2
    return (0.1 * swell * normal("input:parity.wave", (samples,))).astype(np.float32)


def recipe(cfg: Wav2Vec2Config):
    """The recipe's weights by their reference names."""
    shapes = wav2vec2_names.manifest(cfg)
    return lambda name: component_weight(name, shapes[name])


def build_peer(cfg: Wav2Vec2Config) -> transformers.Wav2Vec2Model:
    """The peer on the recipe's weights, without the mask embedding of its training."""
    model = transformers.Wav2Vec2Model(transformers.Wav2Vec2Config(
        hidden_size=cfg.hidden_size, num_hidden_layers=cfg.num_layers, num_attention_heads=cfg.num_heads,
        intermediate_size=cfg.intermediate_size, conv_dim=cfg.conv_dim, conv_kernel=cfg.conv_kernel,
        conv_stride=cfg.conv_stride, num_conv_pos_embeddings=cfg.position_taps,
        num_conv_pos_embedding_groups=cfg.position_groups, mask_time_prob=0.0, mask_feature_prob=0.0,
    ))  # fmt: skip
    names = [name for name in model.state_dict() if not name.startswith(wav2vec2_names.IGNORED)]
    tensors = {name: torch.from_numpy(recipe(cfg)(wav2vec2_names.bare_name(name))) for name in names}
    left = model.load_state_dict(tensors, strict=False)
    if left.unexpected_keys or not all(name.startswith(wav2vec2_names.IGNORED) for name in left.missing_keys):
        raise ValueError(f"the peer's parameters are not ours: {left}")
    return model.eval()


def run_peer(cfg: Wav2Vec2Config, wave: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the convolutions [l, c] and features [frames, k]."""
    model = build_peer(cfg)
    wide = wave.astype(np.float64)
    normalised = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-7)
    padded = np.pad(normalised, (0, frames * cfg.samples_per_frame - len(wave))).astype(np.float32)
    states: list[torch.Tensor] = []
    for module in (model.encoder.layer_norm, *model.encoder.layers):
        # A layer's result is a tuple or bare, by the library's version.
        module.register_forward_hook(lambda _m, _i, out: states.append(out[0] if isinstance(out, tuple) else out))
    with torch.no_grad():
        convolved = model.feature_extractor(torch.from_numpy(padded)[None])
        mixed = torch.nn.functional.interpolate(convolved, size=frames, mode="linear", align_corners=True)
        hidden, _ = model.feature_projection(mixed.transpose(1, 2))
        model.encoder(hidden)
    features = torch.cat([states[-1], *states], dim=-1)
    return convolved[0].T.numpy(), features[0].numpy()


def run_ours(cfg: Wav2Vec2Config, wave: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """The same from our network."""
    state = jax.tree.map(jnp.asarray, wav2vec2_names.from_reference(recipe(cfg), cfg))
    model = nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: Wav2Vec2(cfg, rngs=nnx.Rngs(0)))), state)

    @jax.jit
    def run(model, wave):
        padded = wav2vec2.pad(wav2vec2.normalise(wave), frames, cfg)
        return model.convolve(padded[None])[0], wav2vec2.encode(model, wave, frames)

    convolved, features = run(model, jnp.asarray(wave))
    return np.asarray(convolved), np.asarray(features)


def compare_network(name: str, cfg: Wav2Vec2Config, frames: int) -> Iterator[Row]:
    """Convolutions, and the features of all layers."""
    wave = sound(cfg, frames)
    ours, theirs = run_ours(cfg, wave, frames), run_peer(cfg, wave, frames)
    for i, array in enumerate(("convolutions", "features")):
        yield compare(name, array, PEER, ours[i], theirs[i], FLOAT32)
