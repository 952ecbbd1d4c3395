"""Loss functions, each a small tested function on one- or three-channel batches in [0, 1]."""
