"""One line of the doctor's findings."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

from abet.text import printable

State = Literal["ok", "problem", "not set"]


@dataclass(frozen=True)
class Check:
    """What was looked at, how it stands, and for anything but ``ok`` what to do."""

    name: str
    state: State
    found: str
    fix: str = ""

    @classmethod
    def ok(cls, name: str, found: str) -> "Check":
        """As it should be."""
        return cls(name, "ok", found)

    @classmethod
    def problem(cls, name: str, found: str, fix: str) -> "Check":
        """Jobs will fail."""
        return cls(name, "problem", found, fix)

    @classmethod
    def unset(cls, name: str, found: str, fix: str = "") -> "Check":
        """Not there, and not needed by everyone."""
        return cls(name, "not set", found, fix)

    def __str__(self) -> str:
        """One line, whatever stands in the names of files."""
        text = f"{self.found}  ->  {self.fix}" if self.fix else self.found
        return f"{self.state:<8} {self.name:<22} {printable(text, limit=2000)}"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
