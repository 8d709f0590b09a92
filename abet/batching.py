"""How the crops of an optimiser step are shared out over processes. No numpy import: whoever submits asks here too."""

from collections.abc import Sequence
from dataclasses import dataclass

from abet.config import BatchConfig
from abet.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class BatchPlan:
    """How a global batch is shared out: ``global_batch`` = ``batch_per_gpu`` x ``processes`` x ``accumulation``."""

    global_batch: int
    batch_per_gpu: int
    processes: int
    accumulation: int

    def __post_init__(self) -> None:
        assert self.global_batch == self.batch_per_gpu * self.processes * self.accumulation, self


def plan_batches(config: BatchConfig, processes: int, sync_batch_norm: bool) -> BatchPlan:
    """Share ``config.global_batch`` out over ``processes``; accumulation is derived where the recipe says null.

    Raises:
        UsageError: the numbers do not multiply up, or batch statistics would see a single crop; lists what works.
    """
    assert processes >= 1, processes
    total, per_gpu = config.global_batch, config.batch_per_gpu
    accumulation = config.accumulation or max(1, total // (per_gpu * processes))
    if per_gpu * processes * accumulation != total:
        found = f"batch_per_gpu {per_gpu} x {processes} processes x accumulation {accumulation}"
        if config.accumulation is None:
            found = f"a multiple of batch_per_gpu {per_gpu} x {processes} processes = {per_gpu * processes}"
        raise UsageError(f"batch.global_batch {total} is not {found}. {_choices(config, processes, sync_batch_norm)}")
    if not _has_statistics(per_gpu, processes, sync_batch_norm):
        raise UsageError(
            "batch statistics need two crops at least (ASPP's image pooling has one value per crop and channel), and "
            f"batch_per_gpu 1 {f'on {processes} process' if sync_batch_norm else 'without sync_batch_norm'} gives one. "
            + _choices(config, processes, sync_batch_norm)
        )
    return BatchPlan(global_batch=total, batch_per_gpu=per_gpu, processes=processes, accumulation=accumulation)


def _choices(config: BatchConfig, processes: int, sync_batch_norm: bool) -> str:
    """What works instead, as sentences: for this number of processes, else other numbers and other batches."""
    total, per_gpu = config.global_batch, config.batch_per_gpu
    pairs = _pairs(total, processes, sync_batch_norm)
    if pairs:
        listed = ", ".join(f"{batch} x {turns}" for batch, turns in pairs)
        return f"On {_processes(processes)} batch_per_gpu x accumulation can be: {listed}"
    counts = [other for other in _divisors(total) if _pairs(total, other, sync_batch_norm)]
    elsewhere = f"A global_batch of {total} works on {_listed(counts)} processes. " if counts else ""
    unit = per_gpu if _has_statistics(per_gpu, processes, sync_batch_norm) else 2
    step = unit * processes
    nearest = [batch for batch in (total // step * step, (total // step + 1) * step) if batch]
    return (
        f"{elsewhere}On {_processes(processes)}, with batch_per_gpu {unit} and accumulation null, the nearest "
        f"global_batch is {_listed(nearest)}"
    )


def _has_statistics(per_gpu: int, processes: int, sync_batch_norm: bool) -> bool:
    return per_gpu * (processes if sync_batch_norm else 1) >= 2


def _pairs(total: int, processes: int, sync_batch_norm: bool) -> list[tuple[int, int]]:
    """(batch_per_gpu, accumulation) that make ``total`` on so many processes and give batch statistics."""
    share, rest = divmod(total, processes)
    fitting = [] if rest else _divisors(share)
    return [(batch, share // batch) for batch in fitting if _has_statistics(batch, processes, sync_batch_norm)]


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _processes(count: int) -> str:
    return "1 process" if count == 1 else f"{count} processes"


def _listed(numbers: Sequence[int]) -> str:
    *most, last = map(str, numbers)
    return f"{', '.join(most)} or {last}" if most else last
