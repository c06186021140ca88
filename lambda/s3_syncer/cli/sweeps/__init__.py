"""Sweeps from start to exit code: in this process, over several, or by the workers of a queue."""
