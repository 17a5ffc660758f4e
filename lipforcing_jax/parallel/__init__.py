"""Many devices: meshes, where arrays lie on them, and what the compiler says of a job on a topology."""
