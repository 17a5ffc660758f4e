import dataclasses

import pytest

from lipforcing_jax.data.identity import SPLITS, sample_identity
from lipforcing_jax.errors import UserError


def _numbers(identity):
    record = dataclasses.asdict(identity)
    del record["seed"], record["split"]
    return repr(record)


def test_same_seed_gives_the_same_talker():
    assert sample_identity(7) == sample_identity(7)


def test_two_hundred_seeds_of_both_pools_are_all_distinct():
    seen = {_numbers(sample_identity(seed, split)) for split in SPLITS for seed in range(200)}
    assert len(seen) == 2 * 200


def test_noise_seeds_differ_between_pools():
    train = {sample_identity(seed, "train").noise_seed for seed in range(200)}
    heldout = {sample_identity(seed, "heldout").noise_seed for seed in range(200)}
    assert not train & heldout


@pytest.mark.parametrize(("seed", "split"), [(-1, "train"), (0, "other")])
def test_bad_arguments_are_named(seed, split):
    with pytest.raises(UserError, match="other" if split == "other" else "-1"):
        sample_identity(seed, split)


def test_many_kinds_of_people_are_drawn():
    people = [sample_identity(seed) for seed in range(200)]
    assert {p.hair.style for p in people} == {0, 1, 2, 3, 4}
    assert 20 < sum(p.hair.beard > 0 for p in people) < 100
    assert 20 < sum(p.glasses.kind > 0 for p in people) < 100
    brightness = [sum(p.skin.color) for p in people]
    assert max(brightness) > 6 * min(brightness)
