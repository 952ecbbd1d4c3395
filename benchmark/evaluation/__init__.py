"""Scoring models under a pinned protocol."""
