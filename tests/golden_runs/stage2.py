"""Stage 2 by cases of a folder with a config.json: rollout, opinions, losses, rewards and both gradients.

The golden networks train every parameter, so the shared base is empty here; tests/distill has the low-rank form.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from golden_cases import Case, Goldens

from lipforcing_jax import flow
from lipforcing_jax.distill import base, critic, distribution_matching, reward, student
from lipforcing_jax.distill.condition import Condition
from lipforcing_jax.distill.rollout import Rollout, rollout
from lipforcing_jax.models.conditioning import group_audio
from lipforcing_jax.models.dit import DiT
from lipforcing_jax.models.presets import DiTConfig, WindowConfig
from lipforcing_jax.weights.dit_names import export, from_reference, manifest
from lipforcing_jax.weights.recipe import diffusion_weight

Rows = Iterator[tuple[str, float, float]]
EXIT_STEP = 1
"""Of all cases but one, which says so."""
OWN = {"file", "kind", "description", "arrays", "tolerance", "exit_step"}
"""What each case has for itself; all else settles what is computed."""


def network(cfg: DiTConfig, tag: str, dtype) -> nnx.State:
    """All parameters of the golden network that the recipe draws for a tag."""
    shapes = manifest(cfg)
    return from_reference(lambda key: diffusion_weight(key, shapes[key], tag), cfg, dtype)


@dataclass(frozen=True)
class Stage2:
    """The golden setting in one precision. What several cases share is computed once."""

    goldens: Goldens
    facts: str
    dtype: str

    @cached_property
    def spec(self) -> dict:
        return json.loads(self.facts)

    @cached_property
    def base(self) -> base.Base:
        model = nnx.eval_shape(lambda: DiT(self.goldens.dit, rngs=nnx.Rngs(0)))
        return base.split(model, base.EVERYTHING)[0]

    @cached_property
    def nets(self) -> dict[str, nnx.State]:
        return {who: network(self.goldens.dit, tag, self.dtype) for who, tag in self.spec["weights_tag"].items()}

    def array(self, value):
        return jnp.asarray(value, self.dtype)

    def input(self, name: str):
        return self.array(self.goldens.input(name, self.spec["batch"]))

    @property
    def window(self) -> WindowConfig:
        spec = self.spec
        return WindowConfig(spec["chunk_size"], spec["window"], spec["sink"], spec["rope"] == "dynamic")

    @cached_property
    def condition(self) -> Condition:
        assert self.spec["ref_latent"] == "first frame of real" and self.spec["negative_audio"] == "zeros"
        return Condition(
            self.input("text_embeds"), group_audio(self.input("audio_emb")), self.input("real")[:, :1],
            self.input("masked_video"), self.input("ref_sequence"), self.array(self.goldens.mask()),
        )  # fmt: skip

    def roll_out(self, exit_step: int) -> Rollout:
        spec, chunk = self.spec, self.spec["chunk_size"]
        start = self.input(spec["initial_noise"]) * spec["initial_noise_scale"]
        noise = jnp.stack([
            jnp.stack([start[:, k * chunk : (k + 1) * chunk], self.input(spec["renoise"].format(chunk=k))])
            for k in range(spec["latent_frames"] // chunk)
        ])  # fmt: skip
        run = lambda net, condition, noise: rollout(  # noqa: E731
            self.base.join(net), condition, noise, window=self.window, t_list=tuple(spec["t_list"]),
            exit_step=exit_step,
        )  # fmt: skip
        return jax.jit(run)(self.nets["student"], self.condition, noise)

    @cached_property
    def made(self) -> Rollout:
        return self.roll_out(EXIT_STEP)

    @property
    def t(self):
        return self.array(self.spec["t"])

    @cached_property
    def opinions(self) -> distribution_matching.Opinions:
        low, high = self.spec["sync_window"]
        guidance = distribution_matching.SyncWindow(self.spec["guidance_scale"], low, high)
        x_t = flow.add_noise(self.made.x0, self.input(self.spec["student_noise"]), self.t)
        ask = lambda critic, teacher, *given: distribution_matching.opinions(  # noqa: E731
            self.base, critic, teacher, *given, guidance
        )
        negative = self.input(self.spec["negative_text"])
        return jax.jit(ask)(self.nets["critic"], self.nets["teacher"], x_t, self.t, self.condition, negative)

    @cached_property
    def match(self) -> distribution_matching.Match:
        return jax.jit(distribution_matching.match)(self.made.x0, self.opinions.critic, self.opinions.guided)

    @cached_property
    def critic(self) -> tuple[critic.CriticLoss, dict[str, np.ndarray]]:
        learn = lambda net, *given: critic.gradient(self.base, net, *given)  # noqa: E731
        eps = self.input(self.spec["critic_noise"])
        found, gradients = jax.jit(learn)(self.nets["critic"], self.made.x0, self.t, eps, self.condition)
        return found, export(gradients, self.goldens.dit)

    @cached_property
    def student_gradients(self) -> dict[str, dict[str, np.ndarray]]:
        """The true gradient, and the one that the reference's emptied caches give."""
        return {
            kind: self.student_gradient(remat)
            for kind, remat in {"true": True, "recompute": student.zeroed_past}.items()
        }

    def student_gradient(self, remat) -> dict[str, np.ndarray]:
        learn = lambda net, *given: student.gradient(self.base, net, *given, self.window, remat=remat)  # noqa: E731
        cotangent = self.match.gradient / self.spec["batch"]
        gradients = jax.jit(learn)(self.nets["student"], self.made, self.condition, cotangent)
        return export(gradients, self.goldens.dit)


@lru_cache(maxsize=2)
def setting(goldens: Goldens, facts: str, dtype: str) -> Stage2:
    """The setting of the last cases, one for each precision, with what was computed in it."""
    return Stage2(goldens, facts, dtype)


def stage2(case: Case, precision: str) -> Stage2:
    facts = {name: fact for name, fact in case.spec.items() if name not in OWN}
    return setting(case.goldens, json.dumps(facts, sort_keys=True), precision)


def relative(value, golden) -> float:
    """Largest difference over the largest value."""
    value, golden = np.asarray(value, np.float64), np.asarray(golden, np.float64)
    assert value.shape == golden.shape
    return float(np.abs(value - golden).max() / np.abs(golden).max())


def channels_first(video) -> np.ndarray:
    return np.moveaxis(np.asarray(video), -1, 1)


def arrays(case: Case, precision: str, found: dict) -> Rows:
    golden, expected = case.goldens.read(case.spec), case.spec["arrays"]
    assert found.keys() == expected.keys()
    for name, value in found.items():
        yield name, relative(channels_first(value), golden[name]), expected[name]["tolerance"][precision]


def check_rollout(case: Case, precision: str) -> Rows:
    made = stage2(case, precision).roll_out(case.spec["exit_step"])
    yield from arrays(case, precision, {"gen_sample0": made.x0[:1]})


def check_rollout_and_gradient(case: Case, precision: str) -> Rows:
    assert case.spec["exit_step"] == EXIT_STEP
    s = stage2(case, precision)
    yield from arrays(case, precision, {"gen": s.made.x0, "grad": s.match.gradient / s.spec["batch"]})


def check_opinions(case: Case, precision: str) -> Rows:
    found = stage2(case, precision).opinions
    names = {"critic_x0": found.critic, "teacher_x0": found.teacher, "teacher_x0_guided": found.guided}
    yield from arrays(case, precision, names)


def check_gradient(gradients: dict, golden: dict, tolerance: float, label: str = "") -> Rows:
    """The norm and the first numbers of every parameter's gradient."""
    assert gradients.keys() == golden.keys()
    worst = {"l2": 0.0, "first": 0.0}
    for name, facts in golden.items():
        gradient = np.asarray(gradients[name], np.float64)
        worst["l2"] = max(worst["l2"], abs(np.linalg.norm(gradient) - facts["l2"]) / facts["l2"])
        first = np.abs(gradient.ravel()[: len(facts["first"])] - facts["first"]).max()
        worst["first"] = max(worst["first"], first / facts["absmax"])
    for name, found in worst.items():
        yield f"{label}{name} of {len(golden)}", found, tolerance


def check_critic_gradient(case: Case, precision: str) -> Rows:
    _, gradients = stage2(case, precision).critic
    yield from check_gradient(gradients, case.goldens.read(case.spec), case.spec["tolerance"][precision])


def check_student_gradients(case: Case, precision: str) -> Rows:
    golden, tolerance = case.goldens.read(case.spec), case.spec["tolerance"][precision]
    found = stage2(case, precision).student_gradients
    assert found.keys() == golden.keys()
    for kind, gradients in found.items():
        yield from check_gradient(gradients, golden[kind], tolerance, f"{kind}: ")


def check_losses(case: Case, precision: str) -> Rows:
    """All scalars of both steps, then the rewards' weights in their modes."""
    s, golden = stage2(case, precision), case.goldens.read(case.spec)
    tolerance = {name: t for name, t in case.spec["tolerance"].items() if name != "applies_to"}
    rest = tolerance.pop("everything else")[precision]
    batch = s.spec["batch"]
    norms = np.linalg.norm(np.asarray(s.match.gradient / batch, np.float64).reshape(batch, -1), axis=1)
    found = {
        "critic_loss": s.critic[0].loss, "student_loss": s.match.loss.mean(), "vsd_weight": s.match.weight,
        "vsd_abs_mean": s.match.distance, "grad_l2_per_sample": norms,
    }  # fmt: skip
    for kind, gradients in s.student_gradients.items():
        squares = [np.sum(np.square(g, dtype=np.float64)) for g in gradients.values()]
        found[f"student_param_grad_l2_{kind}"] = np.sqrt(np.sum(squares))
    assert found.keys() | {"reward_weighting", "note"} == golden.keys()
    for name, value in found.items():
        yield name, relative(value, golden[name]), tolerance[name][precision] if name in tolerance else rest
    mean = reward.no_rewards_yet()
    for i, row in enumerate(golden["reward_weighting"]):
        assert set(row) <= {"mode", "beta", "rewards", "clamp", "center", "loss", "per_sample_loss", "weights",
                            "running_mean_after", "grad_l2_per_sample", "grad_over_unweighted_grad"}  # fmt: skip
        clamp = tuple(row["clamp"]) if "clamp" in row else None
        cfg = reward.RewardConfig(row["beta"], row["mode"], row.get("center", False), clamp)
        weighted = reward.weigh(jnp.asarray(row["rewards"]), jnp.ones(batch, bool), cfg, mean)
        mean = weighted.mean
        found = {
            "loss": jnp.sum(weighted.factors * s.match.loss), "per_sample_loss": s.match.loss,
            "weights": weighted.weights, "grad_l2_per_sample": norms * np.asarray(weighted.factors) * batch,
            "grad_over_unweighted_grad": weighted.factors * batch,
        }  # fmt: skip
        if row["running_mean_after"] is not None:
            found["running_mean_after"] = mean.value
        worst = max(relative(value, row[name]) for name, value in found.items())
        yield f"reward {i}: {row['mode']}, beta {row['beta']}", worst, rest


def check_unit(case: Case, precision: str) -> Rows:
    """The matching loss alone; where inputs are bfloat16 the reference also rounds on the way, and we do not."""
    golden, g = case.goldens.read(case.spec), case.goldens
    for name, array in case.spec["arrays"].items():
        ((kind, tolerance),) = array["tolerance"].items()
        if (kind == "float64") != (precision == "float64"):
            continue
        inputs = [jnp.asarray(g.input(f"vsd_{n}", case.spec["batch"]), kind) for n in ("gen", "critic", "teacher")]
        found = distribution_matching.match(*inputs)
        value = {"loss": found.loss, "w": found.weight, "grad": channels_first(found.gradient)}[array["quantity"]]
        yield name, relative(value, golden[name]), tolerance


CHECKS = {
    "rollout": check_rollout,
    "rollout_and_gradient": check_rollout_and_gradient,
    "dmd_x0": check_opinions,
    "critic_grads": check_critic_gradient,
    "student_grads": check_student_gradients,
    "dmd_losses": check_losses,
    "vsd_unit": check_unit,
}
