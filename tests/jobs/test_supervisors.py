"""Supervisors as SLURM runs them: processes of their own, told by the environment, with signals, on several nodes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from abet.exits import STOPPED
from jobs import attempts
from jobs.attempts import ATTEMPTS, Attempt, History, Word
from jobs.cluster import Cluster
from jobs.supervisor import Task, decide, main
from tests.jobs.conftest import HOSTILE, NOTING, ROOT, program
from tests.test_exits import wait_until

HERE = Cluster(job_id="7", node="n1", requeues=True)


@dataclass
class Supervisors:
    """Starts ``python -m jobs.supervisor``; `noted` is what scontrol was asked."""

    folder: Path
    child: str
    noted: Callable[[], list[list[str]]]
    running: "list[subprocess.Popen[str]]"

    def start(
        self,
        *todo: str,
        retries: int = 3,
        patience: float = 90,
        options: tuple[str, ...] = (),
        **environment: object,
    ) -> "subprocess.Popen[str]":
        shortened = f"supervisor.WAIT_FOR_NODES_SECONDS = {patience}"
        code = f"import sys; from jobs import supervisor; {shortened}; sys.exit(supervisor.main(sys.argv[1:]))"
        words = ["--name", "job", "--record", str(self.folder / "record"), "--retries", str(retries)]
        words += ["--grace-seconds", "60", "--runner", f"{sys.executable} {self.child}", *options, "--", *todo]
        told = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
        told |= {name: str(value) for name, value in environment.items()}
        process = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            env=os.environ | told,
            cwd=ROOT,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.running.append(process)
        return process

    def end(self, process: "subprocess.Popen[str]") -> tuple[int, str, str]:
        out, err = process.communicate(timeout=20)
        return process.returncode, out, err

    def signalled(self, *numbers: int, todo: tuple[str, ...] = ("exit:143",), **environment: object) -> tuple[int, str]:
        """Ends after so many signals have reached the child; exit code and what the child heard."""
        ready = self.folder / "ready"
        process = self.start(f"ready:{ready}", f"wait:{len(numbers)}", *todo, **environment)  # type: ignore[arg-type]
        wait_until(ready.exists)
        for number in numbers:
            process.send_signal(number)
            time.sleep(0.15)
        code, out, _ = self.end(process)
        return code, out.strip()

    def last(self) -> Attempt:
        return attempts.read(self.folder / "record").attempts[-1]

    def requeued(self) -> bool:
        return ["scontrol", "requeue", "7"] in self.noted()


@pytest.fixture
def supervisors(
    tmp_path: Path, runner: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, noted: Callable[[], list[list[str]]]
) -> Iterator[Supervisors]:
    program(tmp_path / "bin" / "scontrol", NOTING)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    made = Supervisors(tmp_path, runner[1], noted, [])
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_a_polite_end_that_was_a_preemption_goes_on_and_a_cancelled_one_does_not() -> None:
    job = Task(name="j", command=("train",), runner=("abet",), record="/r")
    words = [Word(node=0, code=143, reason="stopped by SIGTERM", signals=(signal.SIGTERM,))]
    history = History(attempts=(Attempt(number=0, first_step=None),), step=None)
    wanted = decide(job, replace(HERE, preempted=True), words, history)
    assert (wanted.again, wanted.cause) == (True, "preempted")
    left = decide(job, HERE, words, history)
    assert (left.again, left.cause) == (False, "stopped")


def test_a_job_that_is_to_end_for_good_does_not_go_on_whatever_else_stopped_it(supervisors: Supervisors) -> None:
    attempts.cancel(supervisors.folder / "record")
    assert supervisors.signalled(signal.SIGUSR2, signal.SIGTERM) == (143, "SIGUSR2 SIGTERM")
    assert (supervisors.last().cause, supervisors.requeued()) == ("stopped", False)


def test_a_runner_that_kills_at_sigterm_gets_sigusr2(supervisors: Supervisors) -> None:
    assert supervisors.signalled(signal.SIGTERM, options=("--term-kills",)) == (143, "SIGUSR2")
    assert (supervisors.last().cause, supervisors.requeued()) == ("stopped", False)


def test_both_stop_signals_are_forwarded(supervisors: Supervisors) -> None:
    assert supervisors.signalled(signal.SIGUSR2, signal.SIGTERM) == (143, "SIGUSR2 SIGTERM")
    assert supervisors.last().cause == "preempted"


def test_sigterm_alone_is_a_stop_that_nobody_goes_on_from(supervisors: Supervisors) -> None:
    assert supervisors.signalled(signal.SIGTERM) == (143, "SIGTERM")
    assert (supervisors.last().cause, supervisors.last().again, supervisors.requeued()) == ("stopped", False, False)


def test_a_child_that_a_stop_signal_ended_before_it_listened_was_stopped(supervisors: Supervisors) -> None:
    ready = supervisors.folder / "ready"
    process = supervisors.start("deaf", f"ready:{ready}", "wait:1")
    wait_until(ready.exists)
    process.send_signal(signal.SIGUSR2)
    assert supervisors.end(process)[0] == 143
    assert (supervisors.last().cause, supervisors.requeued()) == ("preempted", True)


@pytest.mark.parametrize(("seconds_left", "cause"), [(90, "timeout"), (3600, "preempted"), (None, "preempted")])
def test_after_sigusr2_the_job_starts_again(supervisors: Supervisors, seconds_left: int | None, cause: str) -> None:
    told = {} if seconds_left is None else {"SLURM_JOB_END_TIME": int(time.time()) + seconds_left}
    training = {**told, "options": ("--processes", "1")}
    assert supervisors.signalled(signal.SIGUSR2, todo=("keep:5", "say:saved", "exit:143"), **training)[0] == 143
    last = supervisors.last()
    assert (last.cause, last.reason, last.last_step, last.again) == (cause, "saved", 5, True)
    assert supervisors.requeued()


def test_a_failure_while_saving_is_a_failure_like_others(supervisors: Supervisors) -> None:
    assert supervisors.signalled(signal.SIGUSR2, todo=("exit:1",))[0] == 1
    assert (supervisors.last().cause, supervisors.requeued()) == ("failed", True)


def test_what_no_retry_can_change_is_refused_whatever_was_signalled(supervisors: Supervisors) -> None:
    assert supervisors.signalled(signal.SIGUSR2, todo=("exit:3",))[0] == 3
    assert (supervisors.last().cause, supervisors.requeued()) == ("refused", False)


def test_a_failure_is_one_line_of_the_log_and_starts_again(supervisors: Supervisors) -> None:
    code, _, err = supervisors.end(supervisors.start("exit:1"))
    assert (code, err) == (1, "abet job 7: failed, exit code 1, starting again\n")
    assert supervisors.requeued()


def test_outside_of_a_job_nobody_is_asked_to_start_it_again(supervisors: Supervisors) -> None:
    code, _, err = supervisors.end(supervisors.start("exit:1", SLURM_JOB_ID=""))
    assert (code, supervisors.noted(), "starting again" in err) == (1, [], False)


def test_a_scheduler_that_refuses_to_start_it_again(supervisors: Supervisors) -> None:
    (supervisors.folder / "bin" / "scontrol").write_text("#!/bin/sh\nexit 1\n")
    code, _, err = supervisors.end(supervisors.start("exit:1"))
    assert code == 1
    assert "could not be started again" in err
    assert "submit it again" in err


def test_a_record_that_cannot_be_written_is_one_line_of_the_log(supervisors: Supervisors) -> None:
    (supervisors.folder / "record").touch()
    code, _, err = supervisors.end(supervisors.start("exit:0"))
    assert code == 1
    assert err.startswith("abet: error: ")
    assert len(err.splitlines()) == 1


def two(rank: int) -> dict[str, object]:
    """Environment of a node of two."""
    return {"SLURM_JOB_NUM_NODES": 2, "SLURM_NODEID": rank, "SLURM_JOB_NODELIST": "n[1-2]"}


SCONTROL_OF_TWO = """#!/bin/sh
case "$*" in
  "show hostnames"*) printf 'n1\\nn2\\n' ;;
  *"show node"*) echo "NodeName=n1 NodeAddr=127.0.0.1" ;;
  *) exit 1 ;;
esac
"""
LOST = "say:rank 0: another process has ended or fallen silent: connection closed by peer"


def test_the_word_of_a_node_that_knows_why_counts_for_all(supervisors: Supervisors) -> None:
    program(supervisors.folder / "bin" / "scontrol", SCONTROL_OF_TWO.replace("{", "{{").replace("}", "}}"))
    first = supervisors.start(LOST, "exit:1", **two(0))
    second = supervisors.start("say:checkpoint of another run", "exit:3", **two(1))
    assert supervisors.end(first)[0] == 3
    assert supervisors.end(second)[0] == 0  # node 0 speaks for all: srun would take the highest code
    last = supervisors.last()
    assert (last.code, last.cause, last.reason) == (3, "refused", "checkpoint of another run")


def test_a_node_that_never_speaks_counts_as_lost(supervisors: Supervisors) -> None:
    program(supervisors.folder / "bin" / "scontrol", SCONTROL_OF_TWO.replace("{", "{{").replace("}", "}}"))
    assert supervisors.end(supervisors.start(LOST, "exit:1", patience=0.3, retries=0, **two(0)))[0] == 1
    assert supervisors.last().reason == "node 1 ended without a word"


def test_of_several_failures_the_first_that_no_other_caused_is_told() -> None:
    words = [
        Word(node=0, code=1, reason=LOST, at=1.0),
        Word(node=1, code=1, reason="out of memory", at=2.0),
        Word(node=2, code=1, reason="disk full", at=3.0),
    ]
    now = History(attempts=(Attempt(number=0, first_step=None),), step=None)
    job = Task(name="job", command=("x",), runner=("x",), record="x")
    assert decide(job, replace(HERE, nodes=3), words, now).reason == "out of memory"


def test_a_node_that_knows_why_says_more_than_a_silent_one(supervisors: Supervisors) -> None:
    program(supervisors.folder / "bin" / "scontrol", SCONTROL_OF_TWO.replace("{", "{{").replace("}", "}}"))
    supervisors.end(supervisors.start("say:out of memory", "exit:1", patience=0.3, retries=0, **two(0)))
    assert supervisors.last().reason == "out of memory"


def test_a_signal_to_any_node_counts_for_all(supervisors: Supervisors) -> None:
    words = [
        Word(node=0, code=STOPPED, reason="saved"),
        Word(node=1, code=STOPPED, reason="saved", signals=(signal.SIGUSR2,)),
    ]
    now = History(attempts=(Attempt(number=0, first_step=None),), step=None)
    job = Task(name="job", command=("x",), runner=("x",), record="x")
    outcome = decide(job, replace(HERE, nodes=2), words, now)
    assert (outcome.code, outcome.cause, outcome.again) == (143, "preempted", True)


def test_time_limits_too_short_for_a_step_come_to_an_end() -> None:
    past = [
        Attempt(number=number, first_step=None, code=STOPPED, cause="timeout", again=True, reason="saved")
        for number in range(3)
    ]
    history = History(attempts=(*past, Attempt(number=3, first_step=None)), step=None)
    job = Task(name="job", command=("x",), runner=("x",), record="x", retries=3)
    words = [Word(node=0, code=STOPPED, reason="nothing to save", signals=(signal.SIGUSR2,))]
    outcome = decide(job, replace(HERE, end_time=time.time()), words, history)
    assert (outcome.cause, outcome.again) == ("timeout", False)
    assert outcome.reason == (
        "nothing to save; given up after 4 attempts in a row without a new checkpoint: raise the time limit"
    )
    # One that saves goes on for ever
    assert decide(job, replace(HERE, end_time=time.time()), words, replace(history, step=1)).again


@pytest.mark.parametrize("code", [STOPPED, 1, 138])
def test_what_begins_anew_does_not_start_again_after_its_time_limit(code: int) -> None:
    now = History(attempts=(Attempt(number=0, first_step=None),), step=None)
    words = [Word(node=0, code=code, reason="stopped", signals=(signal.SIGUSR2,))]
    remedy = "stopped; its time is over, and nothing of it is kept: raise the time limit (TIME_LIMIT_MINUTES=)"
    parts = ", or begin anew in more parts (SHARDS=)"
    for name, more in (("fit", ""), ("calibrate", ""), ("evaluate", parts), ("components", parts)):
        alone = Task(name="j", command=(name, "x"), runner=("x",), record="x", launch=False)
        late = decide(alone, replace(HERE, end_time=time.time()), words, now)
        assert (late.cause, late.again, late.reason) == ("timeout", False, remedy + more)
        # To make room for others is no fault: it begins anew
        moved = decide(alone, replace(HERE, end_time=time.time(), preempted=True), words, now)
        assert (moved.cause, moved.again) == ("preempted" if code == STOPPED else "failed", True)
    training = Task(name="j", command=("train", "x"), runner=("x",), record="x")
    assert decide(training, replace(HERE, end_time=time.time()), words, now).again


def test_without_a_scheduler_sigusr2_is_a_stop_like_any_other() -> None:
    now = History(attempts=(Attempt(number=0, first_step=None),), step=None)
    words = [Word(node=0, code=STOPPED, reason="saved", signals=(signal.SIGUSR2,))]
    outcome = decide(
        Task(name="job", command=("x",), runner=("x",), record="x"), replace(HERE, requeues=False), words, now
    )
    assert (outcome.cause, outcome.again) == ("stopped", False)


def test_the_words_of_a_lost_peer_are_those_of_training() -> None:
    assert Word(node=0, code=1, reason=LOST).follows
    assert LOST.split(": ")[1] in (ROOT / "abet" / "distributed.py").read_text()


def test_the_runner_is_one_line_of_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    words = ["--name", "job", "--record", str(tmp_path / HOSTILE), "--runner", f'{sys.executable} -c "{show}"']
    assert main([*words, "--", "evaluate", HOSTILE, "--", "--name", "x"]) == 0
    assert json.loads(capfd.readouterr().out) == ["evaluate", HOSTILE, "--", "--name", "x"]
    assert (tmp_path / HOSTILE / ATTEMPTS).exists()


def test_a_child_is_stopped_when_its_supervisor_is_killed(supervisors: Supervisors) -> None:
    ready = supervisors.folder / "ready"
    process = supervisors.start(f"ready:{ready}", "wait:1", f"ready:{supervisors.folder / 'stopped'}", "exit:143")
    wait_until(ready.exists)
    process.kill()
    wait_until((supervisors.folder / "stopped").exists)
