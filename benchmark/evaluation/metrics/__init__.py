"""Metrics: each a small function on batched tensors."""
