"""Scoring models under a pinned protocol: :func:`srbench.evaluation.evaluate.evaluate` from start to end.

Nothing is imported here: the worker's process imports this package before it is confined.
"""
