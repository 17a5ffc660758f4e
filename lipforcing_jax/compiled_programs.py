"""How long programs take to compile, and where they are kept between runs."""

import os
from importlib.metadata import version
from pathlib import Path

EMITTERS = "--xla_cpu_use_fusion_emitters"
KNOWN_TO = (0, 10)
"""The last jaxlib that is known to have `EMITTERS`; XLA ends a process at a flag that it does not know."""


def cache_folder() -> Path:
    """The folder of this program in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lipforcing_jax"


def keep_compiled_programs(folder: Path | None = None) -> None:
    """Compiled programs outlive the process; where the folder can't be used, every run compiles anew.

    They go to JAX_COMPILATION_CACHE_DIR where that is set, else to `folder`, else to the user's cache.
    """
    folder = Path(os.environ.get("JAX_COMPILATION_CACHE_DIR") or folder or cache_folder() / "compiled")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK):
        return
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def compiling_quickly(flags: str) -> str:
    """XLA's `flags` with one more, by which code for a CPU is made in half the time; it runs about as fast.

    It takes effect where XLA_FLAGS is set to the result before JAX is used. A jaxlib that may not know it gets none;
    what `flags` says of it already is left.
    """
    have = tuple(int(part) for part in version("jaxlib").split(".")[:2])
    return flags if EMITTERS in flags or have > KNOWN_TO else f"{flags} {EMITTERS}=false".strip()
