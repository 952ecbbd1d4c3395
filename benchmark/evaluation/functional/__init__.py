"""The arithmetic of the metrics: pure functions on batched tensors ``(N, H, W)``, on a CPU or a GPU.

Nothing here knows a protocol, a dataset or a file; ``srbench.evaluation.metrics`` gives each its name.
"""
