"""Prepared datasets: memory-mapped shards with an index and a manifest."""
