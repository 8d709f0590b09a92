"""The mIoU that a run should reach: whatever would go on from weaker weights stops here."""

from abet.checkpoint import Best
from abet.errors import AbetError


class BelowTarget(AbetError):  # noqa: N818
    """The run is complete and saved, but its best mIoU is below what its recipe asks for. Permanent."""

    exit_code = 3


def shortfall(best: Best | None, target: float | None) -> str | None:
    """By what a run misses ``target``, in words; None when it does not, or there is none."""
    if target is None or (best is not None and best.miou >= target):
        return None
    reached = "no mIoU was measured" if best is None else f"mIoU {best.miou:.4f} (best, at step {best.step})"
    return f"below target: {reached}, target {target:g} (training.target_miou)"


def require_target(best: Best | None, target: float | None, *, allow_below: bool) -> str | None:
    """What is to be said of a run that is below its target although that is allowed; None of all others.

    Raises:
        BelowTarget: it is not allowed.
    """
    reason = shortfall(best, target)
    if reason is not None and not allow_below:
        raise BelowTarget(
            f"{reason}. The run is complete and saved; train longer or from better weights, or take it as it is: "
            "--allow-below-target (make: ALLOW_BELOW_TARGET=1)"
        )
    return reason
