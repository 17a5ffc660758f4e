"""Losses and training steps as jitted pure functions."""
