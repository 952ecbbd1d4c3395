"""The command line: one file a command; torch is imported inside the commands, never at the top."""


def main() -> None:
    """Entry point."""
