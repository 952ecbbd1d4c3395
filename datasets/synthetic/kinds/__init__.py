"""The kinds of synthetic scenes, one file each."""
