"""Synthetic SEM scenes whose geometry is known exactly."""
