"""python -m jobs"""

from jobs.cli import main

main()
