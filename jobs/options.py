"""Options of the abet command that a job runs, as far as the job has to know them."""

from collections.abc import Sequence


def told(options: Sequence[str], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The values of those options that are among ``names``, by name without the hyphens; and the other words."""
    words, found, others = list(options), dict[str, str](), list[str]()
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if name in names and (equals or words):
            found[name.removeprefix("--")] = value if equals else words.pop(0)
        else:
            others.append(word)
    return found, others
