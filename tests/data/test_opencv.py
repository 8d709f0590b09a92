"""OpenCV comes when it is needed, and starts no thread."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CROP = """
import os, sys
from pathlib import Path
import numpy as np
from abet.config import load_recipe
from abet.data.transforms import augment

def threads():
    return len(list(Path("/proc/self/task").iterdir()))

before, early = threads(), "cv2" in sys.modules
image, label = np.zeros((512, 1024, 3), np.uint8), np.zeros((512, 1024), np.uint8)
augment(image, label, np.random.default_rng(1), load_recipe("mapillary_pretrain").augmentation)
import cv2
print(early, threads() - before, cv2.getNumThreads(), os.environ.get("OPENBLAS_NUM_THREADS"))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted as Linux shows them")
@pytest.mark.parametrize("blas", [None, "2"])
def test_a_crop_starts_no_thread_and_leaves_the_environment_alone(blas):
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    environment |= {"PYTHONPATH": str(ROOT)} | ({} if blas is None else {"OPENBLAS_NUM_THREADS": blas})
    done = subprocess.run([sys.executable, "-c", CROP], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"False 0 1 {blas}\n"
