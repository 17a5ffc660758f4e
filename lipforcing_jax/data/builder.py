"""Writes encoded clips as a data set: a TFDS folder of ArrayRecord files, all at once or not at all.

Two ways fill the same folder. `build` streams samples from this process through TFDS's sequential writer: its usual
generator path gathers a gigabyte and then sorts on disk by TensorFlow, which is not needed here, and readers shuffle
anyhow. `build_by_beam` lets the workers of Apache Beam encode and write, for sets that are too big for one process.
"""

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Float

from lipforcing_jax.data.new_folder import DONE, new_folder
from lipforcing_jax.data.sample import METADATA, NAME, PROMPTS, Facts, Sample
from lipforcing_jax.errors import UserError

Keyed = tuple[str, Sample]
"""A sample with a name that no other of its split has."""
SHARD_BYTES = 256 * 2**20


class Prompts(NamedTuple):
    """The texts of a data set and what the text encoder makes of them."""

    texts: list[str]
    embeddings: Float[np.ndarray, "p l d"]


class Clips(tfds.core.GeneratorBasedBuilder):
    """The data set as TFDS knows it, and how Beam fills it: `encode` makes samples of each of a split's sources."""

    name = NAME
    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        facts: Facts,
        folder: Path,
        sources: Mapping[str, Sequence[Any]] | None = None,
        encode: Callable[[Any], Iterable[Keyed]] | None = None,
    ):
        self.facts, self.sources, self.encode = facts, sources, encode
        super().__init__(data_dir=str(folder), file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self, features=self.facts.features(), metadata=self.facts.metadata(),
            description="Aligned faces encoded for the distillation of a lip-sync student.",
        )  # fmt: skip

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(sources) for split, sources in self.sources.items()}

    def _generate_examples(self, sources: Sequence[Any]):
        import apache_beam as beam

        return beam.Create(sources) | beam.FlatMap(self.encode)


def build(
    out: Path, facts: Facts, prompts: Prompts, splits: Mapping[str, Iterable[Keyed]], overwrite: bool = False
) -> dict[str, int]:
    """Writes samples as they come into a data set at `out`; returns the number of clips of each split.

    Memory holds one sample at a time.

    Raises:
      UserError: `out` is there already, a split gets no sample or names one twice, or the disk becomes full. Nothing of
        the new data set is left behind, and what was there before stays.
    """
    with new_folder(out, overwrite, METADATA) as folder:
        info = Clips(facts, folder).info
        place = Path(info.data_dir)
        place.mkdir(parents=True)
        writer = tfds.core.SequentialWriter(info, max(1, SHARD_BYTES // facts.bytes), file_format="array_record")
        writer.initialize_splits(list(splits))
        names = {split: set() for split in splits}
        for split, samples in splits.items():
            for name, sample in samples:
                if name in names[split]:
                    raise UserError(f"Two clips of the split {split} are called {name}; give each its own name.")
                names[split].add(name)
                writer.add_examples({split: [sample]})
        counts = {split: len(found) for split, found in names.items()}
        _check_filled(counts, out)
        writer.close_all()
        _finish(place, prompts, folder)
    return counts


def build_by_beam(
    out: Path,
    facts: Facts,
    prompts: Prompts,
    sources: Mapping[str, Sequence[Any]],
    encode: Callable[[Any], Iterable[Keyed]],
    overwrite: bool = False,
    options: Sequence[str] = (),
) -> dict[str, int]:
    """The same by Beam: its workers call `encode` on the sources and write what it yields.

    Args:
      sources: of each split, whatever `encode` takes; small, since Beam sends them around.
      encode: a callable that can be pickled; heavy state belongs behind its first call.
      options: of Beam, as on its command line, such as `--runner=...`; its own runner on this machine by default.

    Raises:
      UserError: as `build`; Beam is not installed.
    """
    try:
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError as error:
        raise UserError('Building by Beam needs it: pip install "lipforcing-jax[beam]".') from error
    with new_folder(out, overwrite, METADATA) as folder:
        builder = Clips(facts, folder, sources, encode)
        _check_filled({split: len(found) for split, found in sources.items()}, out)
        settings = tfds.download.DownloadConfig(beam_options=PipelineOptions(list(options)))
        with redirect_stdout(io.StringIO()):  # TFDS tells of downloads, of which there are none
            builder.download_and_prepare(download_config=settings)
        _finish(Path(builder.data_dir), prompts, folder)
    return {split: info.num_examples for split, info in builder.info.splits.items()}


def _check_filled(counts: Mapping[str, int], out: Path) -> None:
    empty = [split for split, number in counts.items() if not number]
    if empty:
        raise UserError(f"The split {empty[0]} of {out} would be empty; give it at least one clip.")


def _finish(place: Path, prompts: Prompts, folder: Path) -> None:
    """Puts the prompts beside the records and makes both the result."""
    embeddings = np.asarray(prompts.embeddings, np.float16)
    np.savez(place / PROMPTS, texts=np.array(prompts.texts), embeddings=embeddings)
    place.rename(folder / DONE)
