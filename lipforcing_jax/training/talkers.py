"""Stage "talkers": draws talkers and writes them, encoded, as the data set that the later stages read."""

from dataclasses import fields
from pathlib import Path

from lipforcing_jax.data import encoding
from lipforcing_jax.data.sample import check_fits
from lipforcing_jax.data.talker_samples import Talkers, build_talkers
from lipforcing_jax.weights import networks


def train(config, workdir: Path) -> Path:
    """Runs the stage described by `config` (see configs/nano_talkers.py); returns the data set's folder.

    A data set that the workdir holds already is kept where it fits the autoencoder and ear beside it.

    Raises:
      UserError: it does not fit; the autoencoder or ear is missing.
    """
    preset = networks.find(config.preset)
    out = workdir / "dataset"
    if out.exists():
        check_fits(out, preset, encoding.weights_hash(preset, workdir))
        return out
    talkers = Talkers(**{field.name: config[field.name] for field in fields(Talkers)})
    return build_talkers(workdir, encoding.load(preset, workdir), talkers, config.workers)
