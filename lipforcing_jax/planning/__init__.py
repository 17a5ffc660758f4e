"""What a job would need of a TPU topology, by the compiler that would build it there; no TPU takes part."""
