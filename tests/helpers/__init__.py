"""What several tests share, and tools for who changes the project."""
