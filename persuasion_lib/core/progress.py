"""Progress with time left: a bar for people, a line every ten seconds for logs."""

import os
import sys
import time
from contextlib import AbstractContextManager

from tqdm.auto import tqdm

SECONDS_BETWEEN_LINES = 10.0
LINE_MARK = "» "       # the runner shows lines that begin so in the terminal, and no others


def in_batch() -> bool:
    """Whether the headless runner started this process (no widgets, no bars)."""
    return os.environ.get("PERSUASION_BATCH") == "1"


class Progress(AbstractContextManager):
    """Counts work done out of `total`.

    A notebook that runs headless would store every tick of a bar as an output, so there it is
    one printed line in ten seconds and one at the end.
    """

    def __init__(self, total: int, desc: str) -> None:
        self.total = total
        self.desc = desc
        self.done = 0
        self.note = ""
        self._began = self._last = time.monotonic()
        # Nothing left to do is no bar of 0/0, and a single thing no bar of 1/1.
        self._bar = None if in_batch() or total < 2 else tqdm(
            total=total, desc=desc, file=sys.stdout, dynamic_ncols=True)

    def update(self, n: int = 1, note: str | None = None) -> None:
        """Record `n` more items; `note` replaces the text at the end of the line."""
        self.done += n
        self.note = self.note if note is None else note
        if self._bar is not None:
            self._bar.set_postfix_str(self.note, refresh=False)
            self._bar.update(n)
        elif time.monotonic() - self._last >= SECONDS_BETWEEN_LINES:
            self._print(f", {self._left()}")

    def close(self) -> None:
        """Print the final count and the time it took."""
        if self._bar is not None:
            self._bar.close()
        elif self.total > 1:
            self._print(f" in {duration(time.monotonic() - self._began)}")

    def _left(self) -> str:
        elapsed = time.monotonic() - self._began
        left = elapsed / max(self.done, 1) * (self.total - self.done)
        return f"{duration(left)} left" if self.done else "starting"

    def _print(self, timing: str) -> None:
        self._last = time.monotonic()
        line = f"{self.desc}: {self.done:,} of {self.total:,}{timing}"
        print("; ".join(filter(None, (f"{LINE_MARK}{line}", self.note))), flush=True)

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def duration(seconds: float) -> str:
    """`75` -> `1 min 15 s`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
