"""What a model's process may read: only what it needs, never HR."""
