"""Work in processes: results in order, and no process left behind, whatever ends the work."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from abet.data.parallel import in_processes
from abet.errors import AbetError, DataError

ROOT = Path(__file__).parents[2]


def results_of(work, items, processes):
    with in_processes(work, items, processes, purpose="computes") as results:
        return [result for part in results for result in part]


@pytest.mark.parametrize("processes", [1, 3, 9])
@pytest.mark.parametrize("count", [0, 1, 8, 45])
def test_results_come_in_the_order_of_the_items(processes, count):
    items = list(range(-count, 0))
    assert results_of(abs, items, processes) == [-item for item in items]


def refuse(item, *, from_item):
    if item >= from_item:
        raise DataError(f"item {item}")
    return item


@pytest.mark.parametrize("processes", [1, 2])
def test_the_first_error_in_the_order_of_the_items_is_raised(processes):
    with pytest.raises(DataError, match=r"^item 13$"):
        results_of(partial(refuse, from_item=13), range(40), processes)


def die(item):
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_work():
    with pytest.raises(AbetError, match=r"a process that computes died.*with more memory"):
        results_of(die, range(100), 2)


def test_leaving_early_does_not_wait_for_the_rest():
    with in_processes(time.sleep, [0.0] * 8 + [300.0] * 92, 2, purpose="sleeps") as results:
        assert next(results) == [None] * 8


SLEEPING = """
import time
from abet.data.parallel import in_processes

if __name__ == "__main__":
    with in_processes(time.sleep, [0.0] * 8 + [300.0] * 92, 2, purpose="sleeps") as results:
        for _ in results:
            print("one part is there", flush=True)
"""


def processes_of_group(group):
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    fields = [line.split() for line in listed.splitlines()]
    return [stat for found, stat in fields if int(found) == group and not stat.startswith("Z")]


@pytest.mark.parametrize("ends_with", [signal.SIGINT, signal.SIGKILL])
def test_whatever_ends_the_parent_ends_its_processes_at_once(tmp_path, ends_with):
    script = tmp_path / "sleeping.py"
    script.write_text(SLEEPING)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout.readline() == "one part is there\n"
        if ends_with == signal.SIGINT:
            os.killpg(parent.pid, ends_with)  # as a terminal does
        else:
            parent.kill()
        said = parent.communicate(timeout=60)[1]
    assert parent.returncode == -ends_with
    assert said.count("Traceback") == (ends_with == signal.SIGINT), "the processes have nothing to say"
    deadline = time.monotonic() + 30
    while processes_of_group(parent.pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)
