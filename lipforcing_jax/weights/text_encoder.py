"""The prompt's embedding: encoded by UMT5 layer by layer from its file, or read where somebody has stored it.

The encoder is larger than most memories (22 GB in float32), and its one prompt is encoded once. So each layer is read,
run and dropped; of the table of tokens only the prompt's rows are read. Padding is not encoded at all: no token sees
it, and its rows are zero in the result.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from lipforcing_jax.errors import UserError
from lipforcing_jax.models.presets import UMT5Config
from lipforcing_jax.models.umt5 import Layer, norm
from lipforcing_jax.weights import tokenizer, umt5_names
from lipforcing_jax.weights.mapping import release
from lipforcing_jax.weights.source import Source, check, open_source

PROMPT = "a person talking"
"""What the released students were trained with and are run with."""
TABLE = "token_embedding.weight"
STORED = ("context", "text_emb", "prompt_emb")
"""Keys of a stored embedding, in the order in which they are looked for."""


def encode_prompt(path: Path, prompt: str = PROMPT) -> Float[np.ndarray, "1 512 d"]:
    """The embedding of `prompt` in float32, zero after its tokens.

    Args:
      path: the encoder's checkpoint with the tokeniser beside it, or a stored embedding, which stands for whatever
        prompt it was made of.

    Raises:
      UserError: the checkpoint or the tokeniser is missing, damaged or of another kind.
    """
    found = open_source(path)
    if not is_encoder(found):
        return stored_embedding(found)
    source, cfg = encoder_source(found)
    states = encode(source, cfg, tokenizer.token_ids(prompt, tokenizer.find(path), cfg.length))
    return np.pad(states, ((0, cfg.length - len(states)), (0, 0)))[None]


def read_embedding(path: Path) -> Float[np.ndarray, "1 512 d"]:
    """A stored embedding in float32: a bare tensor, or a dictionary with one.

    Raises:
      UserError: there is none of the right shape.
    """
    return stored_embedding(open_source(path))


def stored_embedding(source: Source) -> Float[np.ndarray, "1 512 d"]:
    """The same from an open checkpoint."""
    name = next((name for name in STORED if name in source.tensors), next(iter(source.tensors)))
    value = np.asarray(source.read(name))
    value = value[None] if value.ndim == 2 else value
    length = UMT5Config.length
    if value.ndim != 3 or value.shape[:2] != (1, length):
        raise UserError(
            f"The file {source.files[0]} is neither a UMT5 encoder nor a text embedding [1, {length}, width]: "
            f"{name or 'its tensor'} is {list(value.shape)}."
        )
    return _finite(value.astype(np.float32), source)


def is_encoder(source: Source) -> bool:
    """Whether a checkpoint has a table of tokens, under either name."""
    return any(umt5_names.native_name(name) == TABLE for name in source.tensors)


def encoder_source(found: Source) -> tuple[Source, UMT5Config]:
    """A checkpoint under the Wan file's names, and its sizes.

    Raises:
      UserError: it does not hold exactly a UMT5 encoder.
    """
    kept = {name: value for name, value in found.tensors.items() if not name.startswith(umt5_names.IGNORED)}
    if "shared.weight" in kept:
        kept.pop("encoder.embed_tokens.weight", None)  # The same table once more.
    source = Source(kept, found.files).renamed(umt5_names.native_name)
    try:
        cfg = umt5_names.config({name: value.shape for name, value in source.tensors.items()})
    except (KeyError, ValueError, ZeroDivisionError) as error:
        raise UserError(f"The checkpoint {found.files[0]} is not a UMT5 encoder: {error} is missing or odd.") from error
    check(source, umt5_names.manifest(cfg), "a UMT5 encoder")
    return source, cfg


def encode(source: Source, cfg: UMT5Config, ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n d"]:
    """States of the tokens after all layers and the closing norm, in float32. One layer is in memory at a time.

    Parameters keep the file's precision, which is half as large as float32; the arithmetic is float32 as in the
    reference.

    Raises:
      UserError: a token is not in the table, or the result is not finite.
    """
    if ids.max() >= cfg.vocab:
        raise UserError(
            f"The tokeniser does not belong to the text encoder {source.files[0]}: it has a token {ids.max()}, the "
            f"encoder knows {cfg.vocab}."
        )
    run = _runner(lambda rngs: Layer(cfg, dtype=jnp.float32, rngs=rngs))
    finish = _runner(lambda rngs: norm(cfg.dim, dtype=jnp.float32, rngs=rngs))
    states = jnp.asarray(source.read(TABLE)[ids], jnp.float32)[None]
    with jax.default_matmul_precision("highest"):
        for index in range(cfg.num_layers):
            # Waiting keeps the next layer from being read while this one still runs.
            states = run(umt5_names.layer_from_reference(source.read, cfg, index, _placed), states).block_until_ready()
        states = finish(nnx.State({"scale": nnx.Param(_placed(source.read("norm.weight")))}), states)
    return _finite(np.asarray(states[0]), source)


def _runner(make):
    """A compiled call (parameters, states) -> states of the module that `make(rngs)` declares."""
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    return jax.jit(lambda parameters, states: nnx.merge(graphdef, parameters)(states))


def _placed(value: np.ndarray) -> jax.Array:
    """A copy on the device; the file's pages are given back."""
    copied = jnp.array(value).block_until_ready()
    release(value)
    return copied


def _finite(value: np.ndarray, source: Source) -> np.ndarray:
    if not np.isfinite(value).all():
        raise UserError(f"The text embedding of {source.files[0]} has values that are not numbers; download it again.")
    return value
