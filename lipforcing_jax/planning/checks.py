"""The short list of programs that must go on compiling for TPUs and fitting there."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lipforcing_jax.planning import asked, report
from lipforcing_jax.planning.chips import topology
from lipforcing_jax.planning.report import Plan
from lipforcing_jax.training.run import load_config, shipped


@dataclass(frozen=True)
class Check:
    """One program of a job on a slice; the job is a preset's serving or a stage by the name of its file."""

    program: str
    slice: str
    preset: str | None = None
    config: str | None = None

    def asked(self) -> asked.Asked:
        """The job with this program alone."""
        job = asked.streaming(self.preset, 1) if self.preset else asked.training(load_config(shipped(self.config), []))
        return replace(job, only=(self.program,))


CHECKS = (
    Check("chunk", "v5e:1x1", preset="1.3b"),
    Check("chunk", "v5e:2x4", preset="14b"),
    Check("student", "v5p:2x2x1", config="stage2_sf_14b"),
)
"""Five minutes of compiling on two cores."""


def run() -> Iterator[Plan]:
    """Compiles the list, one after the other. Raises UserError where the compiler is missing."""
    for check in CHECKS:
        yield report.planned(check.asked(), topology(check.slice), None)
