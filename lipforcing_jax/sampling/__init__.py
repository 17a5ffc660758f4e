"""Chunk plan, attention window, key-value cache and the causal chunk sampler."""
