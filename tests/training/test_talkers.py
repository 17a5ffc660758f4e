import shutil
from dataclasses import replace

import ml_collections
import pytest
from clip_samples import FACTS, PROMPTS, clips

from lipforcing_jax.data import builder, encoding
from lipforcing_jax.data.sample import Facts
from lipforcing_jax.errors import UserError
from lipforcing_jax.models import presets
from lipforcing_jax.training import talkers
from lipforcing_jax.weights import networks

NANO = presets.by_name("nano")
CONFIG = ml_collections.ConfigDict({"stage": "talkers", "preset": "nano"})


def test_a_data_set_that_is_there_is_kept_or_refused(tmp_path):
    for part in ("vae", "ear"):
        shutil.copy(networks.bundled_folder(NANO) / networks.FILES[part], tmp_path)
    builder.build(tmp_path / "dataset", replace(FACTS, weights="other"), PROMPTS, {"train": clips([0])})
    with pytest.raises(UserError, match="does not fit the preset nano: .*weights other instead of"):
        talkers.train(CONFIG, tmp_path)

    facts = replace(FACTS, **vars(Facts.of(NANO, 2, encoding.weights_hash(NANO, tmp_path))))
    (tmp_path / "dataset" / "metadata.json").unlink()
    facts.metadata().save_metadata(tmp_path / "dataset")
    before = sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "dataset").iterdir())
    assert talkers.train(CONFIG, tmp_path) == tmp_path / "dataset"
    assert sorted((p.name, p.stat().st_mtime_ns) for p in (tmp_path / "dataset").iterdir()) == before
