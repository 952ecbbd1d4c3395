"""The command line: one file a command; torch is imported inside the commands, never at the top."""

from srbench.cli.app import main

__all__ = ["main"]
