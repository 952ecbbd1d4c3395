"""Benchmarks of many runs: one file of what is trained and scored, as tasks, here or on a cluster."""
