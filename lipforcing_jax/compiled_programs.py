"""Where compiled programs are kept between runs."""

import os
from pathlib import Path


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
