"""The convergence of two buckets: single keys, ranges of keys, and the copying of objects."""
