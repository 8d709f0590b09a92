"""The command line. ``abet --help`` imports no torch: each command imports what it needs when it runs."""

from abet.cli.main import main

__all__ = ["main"]
