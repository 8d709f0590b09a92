"""Making a page fit: maps become smaller, then fewer, until the whole is no larger than it may be."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from abet.errors import UsageError
from abet.report.maps import Budget, Choice, Kept, keep, largest_map, sampled
from abet.report.runs import RunResults

SMALLEST_PIXELS: Final = 2**14
"""Of a map (180x90) before maps or images are left out."""
_ESTIMATED_FROM: Final = 4  # images

Render = Callable[[Mapping[str, Kept]], str]
"""The page with these pictures, by data set."""


def fit(runs: Sequence[RunResults], chosen: Mapping[str, Sequence[Choice]], render: Render, max_bytes: int) -> str:
    """The page with the largest maps for which it has at most ``max_bytes`` in UTF-8.

    chosen: of every data set, by name.

    Raises:
        UsageError: the page is larger without any map.
        DataError: a sample is damaged.
    """
    without = Budget(pixels=SMALLEST_PIXELS, choices=0, images=0)
    bare = _size(render(_keep(runs, chosen, without)))
    if bare > max_bytes:
        raise UsageError(
            f"the page has {bare / 1e6:.1f} MB before any image is in it: allow more than --max-megabytes "
            f"{max_bytes / 1e6:g}, or show fewer runs"
        )
    budget: Budget | None = Budget(
        pixels=max(largest_map(runs, name) for name in chosen),
        choices=max(map(len, chosen.values())),
        images=max(len(sampled(runs, name)) for name in chosen),
    )
    while budget is not None:
        needed = _estimate(runs, chosen, budget)
        if needed <= max_bytes - bare:  # else not worth making the whole page
            page = render(_keep(runs, chosen, budget))
            needed = _size(page) - bare
            if needed <= max_bytes - bare:
                return page
        budget = _smaller(budget, (max_bytes - bare) / needed)
    return render(_keep(runs, chosen, without))


def _smaller(budget: Budget, share: float) -> Budget | None:
    """What may take that share of the bytes, below 1: smaller maps, then fewer per image, then fewer images."""
    share *= 0.97  # rather one step too far than another try
    if budget.pixels > SMALLEST_PIXELS:
        return replace(budget, pixels=max(SMALLEST_PIXELS, int(budget.pixels * share)))
    if budget.choices > 1:
        return replace(budget, choices=budget.choices - 1)
    if budget.images > 1:
        return replace(budget, images=max(1, int(budget.images * share)))
    return None


def _keep(runs: Sequence[RunResults], chosen: Mapping[str, Sequence[Choice]], budget: Budget) -> dict[str, Kept]:
    return {name: keep(runs, name, choices, budget) for name, choices in chosen.items()}


def _estimate(runs: Sequence[RunResults], chosen: Mapping[str, Sequence[Choice]], budget: Budget) -> float:
    """Bytes of all pictures, from those of a few images per data set."""
    total = 0.0
    for name, choices in chosen.items():
        names = sampled(runs, name)
        few = replace(budget, images=min(budget.images, _ESTIMATED_FROM))
        if blocks := keep(runs, name, choices, few).blocks:
            total += sum(map(_block_size, blocks.values())) * min(budget.images, len(names)) / len(blocks)
    return total


def _block_size(part: Any) -> int:
    """Characters of the pictures in a block, however deep."""
    if isinstance(part, Mapping):
        return sum(map(_block_size, part.values()))
    if isinstance(part, tuple):
        return sum(map(_block_size, part))
    return len(part) if isinstance(part, str) else 0


def _size(page: str) -> int:
    return len(page.encode())
