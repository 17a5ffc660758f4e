"""Networks only: parameters and forward functions. No files, no loops, no randomness but the given key."""
