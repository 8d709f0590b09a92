"""OpenCV without threads of its own: crops are made by many processes at a time, which fill the cores already."""

import os
from functools import cache
from typing import Final

_BLAS_THREADS: Final = "OPENBLAS_NUM_THREADS"


@cache
def keep_to_one_thread() -> None:
    """Import OpenCV, and let it compute in the thread that calls it, for all of this process; called before its use.

    What it computes does not depend on that. It is imported here, and by whoever has called this, rather than with the
    modules: they are also needed where only jobs are submitted, and a loader process is forked before it draws a crop.
    """
    before = os.environ.get(_BLAS_THREADS)
    os.environ[_BLAS_THREADS] = "1"  # read once, at the import: OpenBLAS, which comes along, starts a thread per core
    try:
        import cv2
    finally:
        if before is None:
            del os.environ[_BLAS_THREADS]
        else:
            os.environ[_BLAS_THREADS] = before
    cv2.setNumThreads(1)
