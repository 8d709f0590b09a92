"""A run that ends below its target mIoU: complete, saved, and a failure unless that is allowed."""

import pytest

from abet.checkpoint import Best
from abet.training.target import BelowTarget, require_target, shortfall
from tests.training.conftest import Tiny, Zygote, final_state
from tests.training.remote import Remote

HIGH = ("--set", "training.target_miou=0.9")


def test_a_target_is_missed_by_less_and_by_nothing_measured() -> None:
    assert shortfall(Best(step=3, miou=0.5), 0.5) is None
    assert shortfall(None, None) is None
    assert shortfall(Best(step=1250, miou=0.42134), 0.5) == (
        "below target: mIoU 0.4213 (best, at step 1250), target 0.5 (training.target_miou)"
    )
    assert shortfall(None, 0.5) == "below target: no mIoU was measured, target 0.5 (training.target_miou)"


def test_only_what_is_allowed_passes() -> None:
    with pytest.raises(BelowTarget, match=r"^below target: .*--allow-below-target.*ALLOW_BELOW_TARGET=1") as caught:
        require_target(Best(step=1, miou=0.1), 0.5, allow_below=False)
    assert caught.value.exit_code == 3
    assert require_target(Best(step=1, miou=0.1), 0.5, allow_below=True) == shortfall(Best(step=1, miou=0.1), 0.5)
    assert require_target(Best(step=1, miou=0.9), 0.5, allow_below=True) is None


@pytest.mark.faults
def test_a_run_below_its_target_is_complete_and_may_be_accepted_later(zygote: Zygote, tiny: Tiny) -> None:
    """The target may change from start to start: it changes no weight."""
    result = zygote.train(*tiny.arguments("weak", *HIGH))
    assert result["codes"] == [3], result["log"]
    assert "abet: error: below target: mIoU 0." in result["log"]
    assert final_state(tiny.runs / "weak")["step"] == "step-00000006"
    again = zygote.train(*tiny.arguments("weak", *HIGH))
    assert again["codes"] == [3], again["log"]
    assert "step" not in again["events"]
    accepted = zygote.train(*tiny.arguments("weak", *HIGH, "--allow-below-target"))
    assert accepted["codes"] == [0], accepted["log"]
    assert "below target: " in accepted["log"]
    assert zygote.train(*tiny.arguments("weak", "--set", "training.target_miou=0"))["codes"] == [0]


@pytest.mark.faults
def test_a_run_in_s3_below_its_target_is_all_there(remote: Remote) -> None:
    result = remote.train("weak", *HIGH)
    assert result["codes"] == [3], result["log"]
    assert "below target: " in result["log"]
    remote.require_sound("weak")
    assert remote.final_state("weak")["step"] == "step-00000006"
