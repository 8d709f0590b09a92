"""``python -m abet``: the same as the console script ``abet``."""

from abet.cli import main

main()
