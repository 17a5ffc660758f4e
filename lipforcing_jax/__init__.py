"""Lip Forcing in JAX: video-to-video lip synchronisation, chunk by chunk, in two denoising steps."""

__version__ = "0.1.0"
