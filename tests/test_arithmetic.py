"""What an evaluation says of its machine tells apart what computes otherwise, and nothing else."""

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from abet import arithmetic as module
from abet.arithmetic import PATCH, arithmetic, bits
from abet.data.index import Dataset
from abet.detector import Detector, load_detector
from abet.evaluate import Evaluation
from abet.run import shard_path
from abet.same_options import ON_CPU
from abet.scores import Observation

MAPS = ("features", "logits", "cosine", "temperature")


def fresh(checkpoint: Path) -> Detector:
    """A network that no pass was made with."""
    return load_detector(checkpoint, device="cpu")


def test_it_is_in_words_that_are_read_again(learned: Detector) -> None:
    match = ON_CPU.fullmatch(arithmetic(learned))
    assert match is not None
    assert match["kind"] == torch.backends.cpu.get_cpu_capability()
    assert int(match["threads"]) == torch.get_num_threads()
    assert match["torch"] == f"torch {torch.__version__}"
    assert match["bits"] == bits(learned)


@pytest.mark.parametrize("name", MAPS)
def test_the_last_bit_of_one_number_of_any_map_makes_other_bits(
    learned: Detector, learned_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    observe = Detector.observe

    def otherwise(self: Detector, image: Any, keys: Sequence[str]) -> Observation:
        seen = observe(self, image, keys)
        values = getattr(seen, name).clone()
        last = (0, *(size - 1 for size in values.shape[1:]))
        values[last] = torch.nextafter(values[last], torch.tensor(torch.inf))
        return replace(seen, **{name: values})

    before = bits(learned)
    assert before == bits(fresh(learned_checkpoint))
    monkeypatch.setattr(Detector, "observe", otherwise)
    assert bits(fresh(learned_checkpoint)) != before


def test_a_head_without_cosine_has_bits_of_what_it_has(plain: Detector, plain_checkpoint: Path) -> None:
    assert bits(plain) == bits(fresh(plain_checkpoint))


def test_one_pass_is_enough_for_a_network_and_a_number_of_threads(
    learned_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    observe, passes = Detector.observe, []

    def counted(self: Detector, image: Any, keys: Sequence[str]) -> Observation:
        passes.append(image.shape)
        return observe(self, image, keys)

    monkeypatch.setattr(Detector, "observe", counted)
    detector = fresh(learned_checkpoint)
    arithmetic(detector)
    arithmetic(replace(detector, uri="elsewhere"))
    assert passes == [(*PATCH, 3)]
    monkeypatch.setattr("torch.get_num_threads", lambda: 64)
    arithmetic(detector)
    assert len(passes) == 2


def test_the_patch_is_the_same_everywhere_and_takes_no_random_numbers_of_torch(learned_checkpoint: Path) -> None:
    """PCG64 by O'Neill's definition, in Python's integers: the bits of another machine are of the same image."""
    state = np.random.PCG64(0).state["state"]
    number, step = state["state"], state["inc"]
    expected = b""
    for _ in range(6):
        number = (number * 0x2360ED051FC65DA44385DF649FCCF645 + step) % 2**128
        mixed, turns = (number >> 64) ^ (number % 2**64), number >> 122
        expected += (((mixed >> turns) | (mixed << (64 - turns))) % 2**64).to_bytes(8, "little")
    patch = module._patch()
    assert patch.ravel()[:48].tobytes() == expected
    assert (patch.dtype, patch.shape) == (np.uint8, (256, 512, 3))
    before = torch.get_rng_state()
    bits(fresh(learned_checkpoint))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_gpu_goes_by_its_name(learned: Detector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "NVIDIA H100")
    monkeypatch.setattr(module, "kernels_on", lambda _: True)
    monkeypatch.setattr(module, "bits", None)
    there = arithmetic(replace(learned, device=torch.device("cuda")))
    assert there == f"NVIDIA H100, torch {torch.__version__}, CUDA {torch.version.cuda}, kernels"


OTHERWISE = {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}


@pytest.mark.parametrize("variable", OTHERWISE)
def test_shards_of_libraries_that_were_told_to_compute_otherwise_do_not_mix(
    learned: Detector, mixed_sizes: Dataset, tmp_path: Path, variable: str
) -> None:
    if torch.backends.cpu.get_cpu_capability() in ("DEFAULT", "NO AVX") or not torch.backends.mkl.is_available():
        pytest.skip("no AVX, or no MKL: the libraries have no other kernels to choose here")
    if variable in os.environ:
        pytest.skip(f"{variable} is set: this process computes otherwise itself")
    run = tmp_path / "run"
    Evaluation(detector=learned, dataset=mixed_sizes, scores=("msp",), shards=2).run_shard(run, 1)
    command = ("evaluate", "--checkpoint", learned.uri, "--dataset", "road_anomaly", "--data-root", mixed_sizes.root)
    more = ("--output", run, "--scores", "msp", "--shard", "2/2", "--device", "cpu")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "COLUMNS": "10000"}
    environment["OMP_NUM_THREADS"] = str(torch.get_num_threads())

    def second(**changed: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "abet", *map(str, (*command, *more))]
        return subprocess.run(words, env=environment | changed, capture_output=True, text=True, check=False)

    refused = second(**{variable: OTHERWISE[variable]})
    assert refused.returncode == 2, refused.stderr
    said = " ".join(refused.stderr.split())
    assert f"a machine that computes as there ({arithmetic(learned)}): all but the bits is the same here" in said
    assert variable in said
    assert not shard_path(run, "road_anomaly", 2, 2).exists()
    assert second().returncode == 0, "the same process without the variable goes on"
