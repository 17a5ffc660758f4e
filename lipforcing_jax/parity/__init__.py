"""Every network beside an independent implementation of it, on the same weights, in one process."""
