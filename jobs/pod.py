"""The entry of a pod: `jobs.kubernetes.pod` is what it does.

    python -m jobs.pod --name finetune --processes 8 --run s3://models/abet/finetune -- train cityscapes_finetune

It is process 1, for which the kernel drops a stop signal that nobody listens for yet; so it listens before anything
that takes time to import, with the standard library and `jobs.supervisor` alone.
"""

import sys

from jobs.signals import listening


def main() -> int:
    """Entry point of ``python -m jobs.pod``."""
    with listening() as received:
        from jobs.kubernetes.pod import run_command_line

        return run_command_line(sys.argv[1:], received)


if __name__ == "__main__":
    sys.exit(main())
