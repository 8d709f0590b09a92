"""What is installed: the light base, which submits jobs and moves files, or everything that computes."""

from importlib import metadata, util
from typing import Final

FULL_INSTALL: Final = {
    "torch": "torch",
    "numpy": "numpy",
    "pynvml": "nvidia-ml-py",
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "safetensors": "safetensors",
    "matplotlib": "matplotlib",
    "jinja2": "jinja2",
    "markupsafe": "markupsafe",
    "plotly": "plotly",
    "tensorboard": "tensorboard",
}
"""Module -> distribution of what only the extra ``full`` installs."""
FULL_REMEDY: Final = "pip install 'abet-ood[full]' (in a checkout: make setup)"
HDF5_REMEDY: Final = "pip install 'abet-ood[hdf5]' (in a checkout: make setup)"


def missing_modules() -> list[str]:
    """Modules of the full install that are not here; nothing is imported."""
    return [name for name in FULL_INSTALL if util.find_spec(name) is None]


def version_of(distribution: str) -> str | None:
    """The installed version; None when there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
