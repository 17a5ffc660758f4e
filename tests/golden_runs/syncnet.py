"""SyncNet: prepared frames, towers layer by layer, heads, embeddings and the whole reward.

Tolerance 2e-3 on values up to 150 (the reference's own error is 1.4e-4), 1e-3 for the resize, as the goldens suggest.
Random weights leave the distances flat, so the place of their minimum is not compared.
"""

import dataclasses
import re
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from golden_runs.component import Checks, Component, moments, stated
from golden_runs.sync_distance import in_range_checks, zero_padded_checks
from lipforcing_jax.media.mfcc import mfcc
from lipforcing_jax.models import syncnet
from lipforcing_jax.models.presets import SyncNetConfig
from lipforcing_jax.models.sync_distance import score, shift_distances
from lipforcing_jax.models.syncnet import SyncNet
from lipforcing_jax.weights import sizes, syncnet_names
from lipforcing_jax.weights.recipe import generator
from lipforcing_jax.weights.source import Source

INPUTS = ("wave",)
TOLERANCE, RESIZE = 2e-3, 1e-3
embed_sound, run_tower = jax.jit(SyncNet.embed_sound), jax.jit(syncnet.Tower.__call__)
FRAMES = re.compile(
    r"integers\((\d+), (\d+), shape=\((\d+),3,(\d+),(\d+)\), dtype=uint8\), each pixel repeated (\d+) times .*"
)


def network(case: Component, face_size: int) -> SyncNet:
    shapes = {name: shape for name, shape in case.shapes.items() if name not in syncnet_names.IGNORED}
    empty = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    _, cepstra, rows = case.arrays["mfcc_windows"].shape
    told = {"face_size": face_size, "cepstra": cepstra, "rows": rows}
    cfg = dataclasses.replace(sizes.syncnet(Source(empty, (case.folder,))), **told)
    return case.build(SyncNet, cfg, syncnet_names)


def resized(case: Component) -> tuple[str, int, int]:
    """The stored resize of a ramp: its name, the size before and after."""
    name = next(a for a in case.arrays if a.startswith("resize_ramp_"))
    before, after = map(int, re.fullmatch(r"resize_ramp_(\d+)_to_(\d+)", name).groups())
    return name, before, after


def picture(facts: dict) -> np.ndarray:
    """The RGB frames [t, h, w, 3] of the file's formula, uint8."""
    low, high, *shape, times = map(int, FRAMES.match(facts["formula"]).groups())
    coarse = generator(facts["key"]).integers(low, high, (shape[0], 3, *shape[1:]), np.uint8)
    assert int(coarse.sum(dtype=np.int64)) == facts["sum_low"]
    return np.moveaxis(coarse, 1, -1).repeat(times, axis=1).repeat(times, axis=2)


def run(case: Component) -> Checks:
    facts, golden = case.facts, case.arrays
    name, before, after = resized(case)
    model = network(case, after)
    ramp = jnp.broadcast_to(jnp.arange(before)[None, None, :, None], (1, before, before, 3))
    yield name, syncnet.prepare_frames(ramp, model.cfg)[0, 0, :, 0], golden[name], RESIZE
    stored = np.asarray(facts["window_indices_stored"])
    frames = picture(facts["inputs"]["frames"])
    assert len(frames) == facts["frames"] and frames.shape[1] == before
    frames = jax.jit(syncnet.prepare_frames, static_argnums=1)(frames, model.cfg)
    part = case.part("video_prepared")
    yield "video_prepared", jnp.moveaxis(frames[stored[0], part, part], -1, 0), golden["video_prepared"], RESIZE
    wave = golden["wave"].astype(np.float32) / 32768
    cepstra = jnp.asarray(mfcc(wave * 32768), jnp.float32)
    yield "mfcc rows", len(cepstra), facts["mfcc_frames"], 0.0
    windows = syncnet.face_windows(frames[: stored.max() + model.cfg.frames], model.cfg)[stored]
    sounds = syncnet.sound_windows(cepstra, model.cfg)[stored]
    yield "mfcc_windows", sounds[..., 0], golden["mfcc_windows"], RESIZE
    yield "face_tower", run_tower(model.face, windows), golden["face_tower"], TOLERANCE
    yield "audio_tower", run_tower(model.sound, sounds), golden["audio_tower"], TOLERANCE
    yield from activation_checks(model, windows[:1], sounds[:1], facts["activations_first_stored_window"])
    shape = tuple(map(int, re.search(r"\((\d+),(\d+)\)", facts["inputs"]["head_input"]["formula"]).groups()))
    drawn = jnp.asarray(generator(facts["inputs"]["head_input"]["key"]).standard_normal(shape), jnp.float32)
    yield "head_lip", model.face_head(drawn), golden["head_lip"], TOLERANCE
    yield "head_audio", model.sound_head(drawn), golden["head_audio"], TOLERANCE
    faces = nnx.jit(lambda m, x: m.embed_faces(x))(model, frames)
    sounds = embed_sound(model, cepstra)
    yield from embedding_checks({"lip": faces, "audio": sounds}, stored, facts, golden)
    rounded = np.asarray(jnp.asarray(wave, jnp.bfloat16), np.float32)
    sounds_rounded = embed_sound(model, jnp.asarray(mfcc(rounded * 32768), jnp.float32))
    yield from reward_checks(model.cfg, faces, sounds, sounds_rounded, facts, golden)


def embedding_checks(found: dict, stored, facts: dict, golden) -> Checks:
    """The stored windows and the mean and length of every window's embedding."""
    for kind, values in found.items():
        name = f"{kind}_embedding"
        yield f"{kind} windows", len(values), facts[f"{kind}_windows"], 0.0
        yield name, values[stored], golden[name], TOLERANCE
        exact = np.asarray(values, np.float64)
        yield f"{name}_mean_per_window", exact.mean(axis=1), golden[f"{name}_mean_per_window"], TOLERANCE
        norms = np.linalg.norm(exact, axis=1)
        yield f"{name}_norm_per_window", norms, golden[f"{name}_norm_per_window"], TOLERANCE


def reward_checks(cfg: SyncNetConfig, faces, sounds, sounds_rounded, facts: dict, golden) -> Checks:
    """The scorer on all windows, the published evaluation on one fewer."""
    expected, reach = facts["reward"], len(golden["distance_in_range"]) // 2
    distances = shift_distances(faces, sounds, reach)
    yield "distance_in_range", distances, golden["distance_in_range"], TOLERANCE
    yield from in_range_checks("reward", distances, expected["in_range"], TOLERANCE, exact=False)
    yield "pairs", min(len(faces), len(sounds)), expected["pairs"], 0.0
    yield "sync_c", score(distances).confidence, expected["sync_c"], TOLERANCE
    found = score(shift_distances(faces, sounds_rounded, reach)).confidence
    yield "sync_c of a bfloat16 wave", found, expected["sync_c_with_bfloat16_rounded_wave"], TOLERANCE
    padded = shift_distances(faces, sounds, reach, zero_padded=True)
    yield from zero_padded_checks("reward", padded, expected["zero_padded"], TOLERANCE, exact=False)
    count = syncnet.evaluated_windows(facts["frames"], golden["wave"].size, cfg)
    yield "evaluated windows", count, facts["joonson_evaluation"]["windows"], 0.0
    padded = shift_distances(faces[:count], sounds[:count], reach, zero_padded=True)
    yield "distance_zero_padded", padded, golden["distance_zero_padded"], TOLERANCE
    ours, stated = score(padded), facts["joonson_evaluation"]
    golden_score = [stated["confidence"], stated["min_distance"]]
    yield "joonson evaluation", [ours.confidence, ours.distance], golden_score, TOLERANCE


def activation_checks(model: SyncNet, faces, sounds, facts: dict) -> Checks:
    """Shape, mean, spread and extremes after every entry of the reference's lists of layers."""
    for name, tower, x in (("netcnnlip", model.face, faces), ("netcnnaud", model.sound, sounds)):
        ours, golden = [], []
        found = walked(tower, x)
        for row in facts[name]:
            value = found.pop(row["index"])
            shape = [n for i, n in enumerate(row["shape"]) if i != 2 or len(row["shape"]) == 4]
            assert [value.shape[i] for i in (0, 3, 1, 2)] == shape, f"{name}.{row['index']}"
            ours.append(moments(value))
            golden.append(stated(row))
        assert not found, f"{name}: layers that the reference does not list: {sorted(found)}"
        # Values reach some hundreds; relative to the largest the tolerance is as tight as the towers'.
        scale = max(1.0, np.abs(golden).max() / 150)
        yield f"{name}: {len(golden)} layers", np.asarray(ours) / scale, np.asarray(golden) / scale, TOLERANCE


@jax.jit
def walked(tower: syncnet.Tower, x) -> dict[int, jax.Array]:
    return dict(walk(tower, x))


def walk(tower: syncnet.Tower, x) -> Iterator[tuple[int, jax.Array]]:
    """Index in the reference's list and output of every convolution, norm, rectifier and pool."""
    numbers = [*syncnet_names.CONVS, syncnet_names.CONVS[-1] + 3]
    for i, (layer, conv, norm) in enumerate(zip(tower.layers, tower.convs, tower.norms, strict=True)):
        for k, step in enumerate((conv, norm, jax.nn.relu, lambda x, kind=layer.pool: syncnet.pool(x, kind))):
            x = step(x)
            if numbers[i] + k < numbers[i + 1]:
                yield numbers[i] + k, x
