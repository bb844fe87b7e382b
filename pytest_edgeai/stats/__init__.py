"""Statistics: pure functions from samples to estimates, bounds and evidence; no I/O, no clock, no state."""
