"""Lip Forcing in JAX: video-to-video lip synchronisation, chunk by chunk, in two denoising steps."""

__version__ = "0.1.0"
__all__ = ["LipSyncer", "Options"]


def __getattr__(name: str):
    """Loads the networks' machinery only when it is asked for, so that the command line answers quickly."""
    if name in __all__:
        from lipforcing_jax import pipeline

        return getattr(pipeline, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
