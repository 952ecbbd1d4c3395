"""``python -m srbench`` is the command line."""

from srbench.cli import main

main()
