"""Batches: the same whoever decodes them, named faults, waits and ends that never hang."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from abet.batching import BatchPlan
from abet.config import AugmentationConfig
from abet.data.epochs import EpochLists
from abet.data.index import Dataset
from abet.data.loader import TrainingBatches
from abet.data.sampling import CropSource, micro_batches, sample_rng
from abet.data.transforms import augment
from abet.data.workers import LoaderError
from abet.errors import DataError
from tests.data.scenes import COUNT, until_error

AUGMENTATION = AugmentationConfig(
    scale_min=0.5,
    scale_max=2.0,
    crop_height=24,
    crop_width=32,
    flip_probability=0.5,
    brightness=0.25,
    contrast=0.25,
    saturation=0.25,
    hue=0.25,
    blur_sigma_min=0.15,
    blur_sigma_max=1.3,
)
PLAN = BatchPlan(global_batch=4, batch_per_gpu=2, processes=2, accumulation=1)
LISTS = EpochLists(seed=5, images=COUNT)
SOLO = BatchPlan(global_batch=1, batch_per_gpu=1, processes=1, accumulation=1)


def never():
    return False


def batches_of(dataset, plan=PLAN, **options):
    skip_corrupt = options.pop("skip_corrupt", False)
    source = CropSource(dataset=dataset, augmentation=AUGMENTATION, seed=5, skip_corrupt=skip_corrupt)
    return TrainingBatches(source, LISTS, **{"plan": plan, "rank": 0, **options})


def taken(dataset, number, **options):
    with batches_of(dataset, **options) as batches:
        return [batches.next_batch(never) for _ in range(number)]


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
def test_batches_hold_the_crops_of_their_keys_for_any_number_of_workers(dataset, workers):
    got = taken(dataset, 7, rank=1, start_step=1, workers=workers)  # 2 steps an epoch: from the first into the fourth
    for batch, keys in zip(got, micro_batches(PLAN, 1, LISTS, 1), strict=False):
        assert batch.images.dtype == batch.labels.dtype == torch.uint8
        assert batch.images.shape == (2, 24, 32, 3)
        assert batch.labels.shape == (2, 24, 32)
        assert batch.names == tuple(dataset.pairs[key.image].name for key in keys)
        assert batch.faults == ()
        for place, key in enumerate(keys):
            image, label = augment(*dataset.read(dataset.pairs[key.image]), sample_rng(5, key), AUGMENTATION)
            np.testing.assert_array_equal(batch.images[place].numpy(), image)
            np.testing.assert_array_equal(batch.labels[place].numpy(), label)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_corrupt_image_is_named_when_its_turn_comes(dataset, workers):
    dataset.pairs[3].image.write_bytes(b"no image")
    with batches_of(dataset, SOLO, workers=workers) as batches:
        seen, caught = until_error(DataError, lambda: batches.next_batch(never))
        assert str(dataset.pairs[3].image) in str(caught)
        assert "Traceback" not in str(caught)
        with pytest.raises(DataError, match="not an image"):  # and again for those who ask again
            batches.next_batch(never)
    order = [dataset.pairs[keys[0].image].name for keys in islice(micro_batches(SOLO, 0, LISTS, 0), COUNT)]
    assert [batch.names[0] for batch in seen] == order[: order.index("images/3.png")]


def test_a_corrupt_image_is_replaced_and_reported_alike_for_any_number_of_workers(dataset):
    dataset.pairs[3].image.write_bytes(b"no image")
    dataset.pairs[6].label.write_bytes(b"")
    runs = [taken(dataset, 3 * COUNT, plan=SOLO, workers=workers, skip_corrupt=True) for workers in (0, 2)]
    for first, second in zip(*runs, strict=True):
        assert torch.equal(first.images, second.images)
        assert (first.names, first.faults) == (second.names, second.faults)
    names = [name for batch in runs[0] for name in batch.names]
    assert not {"images/3.png", "images/6.png"} & set(names)
    faults = [fault for batch in runs[0] for fault in batch.faults]
    assert len(faults) == 6  # two in each of three epochs
    for batch in runs[0]:
        for fault in batch.faults:
            assert str(dataset.pairs[3].image) in fault or str(dataset.pairs[6].label) in fault
            assert f"(replaced by {batch.names[0]})" in fault


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_readable_is_an_error_even_when_corrupt_images_are_skipped(dataset, workers):
    for pair in dataset.pairs:
        pair.image.unlink()
    with (
        batches_of(dataset, workers=workers, skip_corrupt=True) as batches,
        pytest.raises(DataError, match=r"no such file.*None of the images tried in its place.*abet data check scenes"),
    ):
        batches.next_batch(never)


def test_fewer_images_than_a_batch_are_an_error_before_anything_starts(dataset):
    with pytest.raises(DataError, match="10 crops of an epoch are fewer than one global batch of 16"):
        batches_of(dataset, BatchPlan(global_batch=16, batch_per_gpu=16, processes=1, accumulation=1))


def children():
    return {process.pid for process in multiprocessing.active_children()}


def test_a_killed_loader_process_is_a_readable_error(dataset):
    before = children()
    with batches_of(dataset, workers=2) as batches:
        batches.next_batch(never)
        victim = min(children() - before)
        os.kill(victim, signal.SIGKILL)  # as the kernel does when memory ends
        _, caught = until_error(LoaderError, lambda: batches.next_batch(never))
        assert f"loader process {victim} died (killed by SIGKILL)" in str(caught)
        assert "data.workers_per_process" in str(caught)
        assert caught.exit_code == 1  # memory may be there next time
    assert children() == before


def test_loader_processes_outlive_the_signals_that_ask_the_trainer_to_save(dataset):
    before = children()
    with batches_of(dataset, workers=2) as batches:
        batches.next_batch(never)
        for pid in children() - before:
            for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
                os.kill(pid, number)
        assert len([batches.next_batch(never) for _ in range(20)]) == 20


def test_a_mistake_of_ours_in_a_loader_process_comes_with_its_traceback(dataset, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("made for this test")

    monkeypatch.setattr(Dataset, "read", broken)
    with batches_of(dataset, workers=1) as batches, pytest.raises(RuntimeError, match=r"(?s)in broken.*made for this"):
        batches.next_batch(never)


@pytest.fixture
def slow_reads(monkeypatch):
    """Reads that do not end before the test lets them."""
    release, read = threading.Event(), Dataset.read

    def slow(dataset, pair):
        release.wait(30)
        return read(dataset, pair)

    monkeypatch.setattr(Dataset, "read", slow)
    yield release
    release.set()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_wait_ends_when_a_stop_is_asked_for_and_is_counted(dataset, slow_reads, workers):
    asked = []

    def stop():
        asked.append(time.monotonic())
        return len(asked) == 3

    with batches_of(dataset, workers=workers) as batches:
        started = time.monotonic()
        assert batches.next_batch(stop) is None
        took = time.monotonic() - started
        assert max(np.diff([started, *asked])) < 5
        assert 0 < batches.take_waited_seconds() <= took
        assert batches.take_waited_seconds() == 0
        slow_reads.set()  # the forked ones never see it, and are closed while they read


def test_a_batch_that_is_ready_is_given_out_also_to_those_who_stop(dataset):
    with batches_of(dataset) as batches:
        first = batches.next_batch(never)
        while batches._ready.empty():
            time.sleep(0.01)
        assert batches.next_batch(lambda: True).names != first.names


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", [0, 1, 5])
def test_closing_leaves_no_process_and_no_thread(dataset, workers, number):
    processes, threads = children(), set(threading.enumerate())
    taken(dataset, number, workers=workers)
    assert children() == processes
    assert set(threading.enumerate()) == threads


def test_closing_after_an_error_and_closing_twice_are_fine(dataset):
    before = children()
    batches = batches_of(dataset, workers=2)
    with pytest.raises(ZeroDivisionError), batches:
        raise ZeroDivisionError
    batches.close()
    assert children() == before


def test_processes_that_cannot_be_started_are_an_error_that_says_what_to_do(dataset, monkeypatch):
    def refuse():
        raise OSError(12, "Cannot allocate memory")

    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(LoaderError, match=r"process 1 of 2 .*Cannot allocate memory.*workers_per_process"):
        taken(dataset, 1, workers=2)


def test_loader_processes_end_when_their_trainer_is_killed(dataset):
    def trainer():
        batches_of(dataset, workers=2).__enter__().next_batch(never)
        writer.send_bytes(b"working")
        os.kill(os.getpid(), signal.SIGKILL)

    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=trainer)
    process.start()
    writer.close()
    assert reader.recv_bytes() == b"working"
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert reader.poll(60)  # the end of the pipe: nobody is left who holds it
    with pytest.raises(EOFError):
        reader.recv_bytes()


FORGETFUL = """
import pickle, sys
from tests.data.test_loader import batches_of
batches = batches_of(pickle.load(open(sys.argv[1], "rb")), workers=2)
batches.__enter__().next_batch(bool)
"""


@pytest.mark.faults
def test_a_program_that_never_closes_its_batches_ends_all_the_same(dataset, tmp_path):
    (tmp_path / "dataset.pickle").write_bytes(pickle.dumps(dataset))
    command = [sys.executable, "-c", FORGETFUL, str(tmp_path / "dataset.pickle")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert result.returncode == 0, result.stderr
