"""How a job stands, in the same words wherever it runs."""

from dataclasses import dataclass
from typing import Final

ENDED: Final = ("done", "below target", "refused", "failed", "stopped", "cancelled", "lost")
NOT_STARTED: Final = "not started"
"""Of a task of an array alone, which another one's end left undone."""


@dataclass(frozen=True)
class Status:
    """One job, or one task of an array."""

    state: str
    """waiting, running, unknown (the scheduler does not answer), or one of ENDED; of a task also NOT_STARTED."""
    detail: str = ""
    step: int | None = None
    """Newest step that is safely kept, of a training job."""
    attempts: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ENDED
