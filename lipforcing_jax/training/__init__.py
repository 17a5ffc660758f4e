"""The host loop: batches, checkpoints, metrics, and a clean stop."""
