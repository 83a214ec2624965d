"""What a check found: a figure, or why none could be had."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Measured:
    """A figure that a limit is compared with.

    value: the figure itself; a share lies between 0 and 1.
    n: rows, pairs or prompts that it was measured on.
    example: the worst place, to be shown: an id or file:line and a few words.
    """

    value: float
    n: int
    example: str = ""


class NotMeasured(Exception):
    """A check could not look, and why; that is shown, never taken for "fine"."""


def need(there: object, why: str) -> None:
    """Look no further where something that a check needs is not there.

    Raises:
        NotMeasured: says `why`.
    """
    if not there:
        raise NotMeasured(why)
