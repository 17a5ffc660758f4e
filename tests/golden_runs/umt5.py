"""The text encoder: buckets, position bias, every layer's activations, output. Tolerance 3e-4, the goldens' suggestion.

The reference's own float32 error is 2e-5: attention has no scaling, so its logits are large.
"""

import jax
import numpy as np
from flax import nnx

from golden_runs.component import Checks, Component, moments, stated
from lipforcing_jax.models.presets import UMT5Config
from lipforcing_jax.models.umt5 import Layer, UMT5Encoder, bucket
from lipforcing_jax.weights import umt5_names

INPUTS = ("ids_", "mask_")
TOLERANCE = 3e-4


def network(case: Component) -> UMT5Encoder:
    facts = case.facts["config"]
    assert not facts["shared_pos"] and facts["norm_eps"] == 1e-6, "not the release's encoder"
    cfg = UMT5Config(
        facts["vocab"], facts["dim"], facts["dim_ffn"], facts["num_heads"], facts["dim_attn"] // facts["num_heads"],
        facts["num_layers"], facts["num_buckets"], facts["max_distance"],
    )  # fmt: skip
    return case.build(UMT5Encoder, cfg, umt5_names)


def run(case: Component) -> Checks:
    model, golden = network(case), case.arrays
    far = len(golden["bucket"]) // 2
    yield "bucket", [bucket(distance, model.cfg) for distance in range(-far, far + 1)], golden["bucket"], 0.0
    yield from position_bias_checks(case, model.cfg)
    for name, facts in case.facts["cases"].items():
        ids, mask = golden[f"ids_{name}"], golden[f"mask_{name}"]
        assert ids.shape[1] == facts["length"] and (mask.sum(1) == facts["lengths"]).all()
        output = np.asarray(jax.jit(UMT5Encoder.__call__)(model, ids, mask == 1))
        stored = f"encoder_output_{name}"
        step = int(facts["stored_columns"].strip("[]:"))
        yield stored, output[..., ::step], golden[stored], TOLERANCE
        yield f"{stored}: mean, spread, extremes", moments(output), stated(facts["stats"]), TOLERANCE
        zeroed = f"encoder_output_zeroed_mean_{name}"
        yield zeroed, (output * mask[..., None]).mean(-1, dtype=np.float64), golden[zeroed], TOLERANCE
    yield from activation_checks(case, model)


def position_bias_checks(case: Component, cfg: UMT5Config) -> Checks:
    """Stored as position_bias_block<layer>_<length>."""
    for name, stored in case.arrays.items():
        if name.startswith("position_bias_block"):
            index, length = map(int, name.removeprefix("position_bias_block").split("_"))
            state = umt5_names.layer_from_reference(case.weight, cfg, index)
            layer = nnx.merge(nnx.graphdef(nnx.eval_shape(lambda: Layer(cfg, rngs=nnx.Rngs(0)))), state)
            yield name, layer.position_bias(length), stored, TOLERANCE


def activation_checks(case: Component, model: UMT5Encoder) -> Checks:
    """Mean, spread and extremes after the embedding and after every layer, for the first case."""
    first, listed = next(iter(case.facts["cases"])), case.facts["activations_first_case"]
    ids, mask = case.arrays[f"ids_{first}"], case.arrays[f"mask_{first}"] == 1
    states = jax.jit(UMT5Encoder.states)(model, ids, mask)
    found = {"token_embedding": model.embedding(ids)}
    found |= {f"blocks.{i}": state for i, state in enumerate(states)}
    assert {entry["after"] for entry in listed} == found.keys()
    ours, theirs = [moments(found[entry["after"]]) for entry in listed], [stated(entry) for entry in listed]
    yield f"activations of {len(listed)} modules", ours, theirs, TOLERANCE
