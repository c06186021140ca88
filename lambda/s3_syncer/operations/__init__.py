"""The work of an operator on an applied module: its state, its queues, its tasks and its image."""
