"""Signals leave a note and nothing else."""

import os
import signal

import pytest

from abet.exits import STOP_SIGNALS
from abet.training.signals import Stopped, stop_on_signals


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_is_noted_and_a_second_one_changes_nothing(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as stop:
        assert not stop()
        os.kill(os.getpid(), number)
        assert stop()
        for other in STOP_SIGNALS:
            os.kill(os.getpid(), other)
        assert stop.signal_name == number.name
    assert signal.getsignal(number) is before


def test_the_exit_code_tells_schedulers_to_run_it_again() -> None:
    assert Stopped.exit_code == 143
