"""What abet needs to compute, from pyproject.toml: its dependencies and those of the extra `full`, one per line."""

import sys
import tomllib
from pathlib import Path

project = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["project"]
print("\n".join([*project["dependencies"], *project["optional-dependencies"]["full"]]))
