"""What decides how a network's float32 sums are rounded: equal on two machines, they give equal bits.

    arithmetic(detector)    # cpu AVX2, 2 threads, torch 2.13.0+cpu, bits 5f0c1d3a9e27

The libraries beneath torch (oneDNN, MKL) choose their kernels for themselves, by the processor's model, its caches and
environment variables such as ``ONEDNN_MAX_CPU_ISA`` and ``MKL_CBWR``. They do not say what they chose; but the bits
that come of it can be compared.
"""

import hashlib
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from abet.detector import Detector, Image
from abet.models.kernel_choice import kernels_on

PATCH: Final = (256, 512)
"""Rows and columns. Smaller ones than 256x512 do not show all choices: with oneDNN held to AVX2, a patch of 128x256 had
the bits of AVX-512."""
DIGITS: Final = 12
"""Of the hash, hexadecimal."""

_BITS: Final[WeakKeyDictionary[nn.Module, dict[int, str]]] = WeakKeyDictionary()
"""By network and number of threads: a pass is not made twice."""


def arithmetic(detector: Detector) -> str:
    """In words. A GPU goes by its name: kernels may be chosen by timing there, so one pass does not speak for others.

    On a CPU the first call for a network makes a pass over `PATCH` pixels.
    """
    if detector.device.type == "cpu":
        capability, threads = torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
        return f"cpu {capability}, {threads} threads, torch {torch.__version__}, bits {bits(detector)}"
    kernels = "kernels" if kernels_on(detector.device) else "no kernels"
    name = torch.cuda.get_device_name(detector.device)
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, {kernels}"


def bits(detector: Detector) -> str:
    """The first `DIGITS` of the SHA-256 of all that scores read of a fixed image: equal where all bits of it are."""
    known = _BITS.setdefault(detector.network, {})
    threads = torch.get_num_threads()
    if threads not in known:
        known[threads] = _bits(detector)
    return known[threads]


def _bits(detector: Detector) -> str:
    seen = detector.observe(_patch(), ("knn",))  # a score that needs the features, which come with all else
    digest = hashlib.sha256()
    for values in (seen.features, seen.logits, seen.cosine, seen.temperature):
        if values is not None:
            digest.update(values.contiguous().numpy().tobytes())
    return digest.hexdigest()[:DIGITS]


def _patch() -> Image:
    """(H, W, 3) bytes of PCG64, whose stream no version of numpy changes; torch's generator is left alone."""
    size = (*PATCH, 3)
    raw = np.random.PCG64(0).random_raw(np.prod(size) // 8)
    return np.asarray(raw, "<u8").view(np.uint8).reshape(size)
