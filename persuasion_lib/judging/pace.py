"""How fast, for how much, and how long to wait after a failure: the same for all paid calls."""

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from persuasion_lib.core.errors import JudgingStopped, PersuasionError
from persuasion_lib.judging.faults import Fault, classify

T = TypeVar("T")
Sleep = Callable[[float], Awaitable[None]]

BURST_S = 0.5               # unused time that may be caught up at once
BACKOFF_S = (0.5, 30.0)     # the first wait after a failure, doubled each time, and the longest
ITEM_TRIES = 6              # failures of one question before it stays unscored
OUTAGE = 5                  # failures in a row, over several questions, that make everybody wait
BREAKER = 20                # failures in a row that stop the run
LONGEST_OUTAGE_S = 1800.0   # of failures in a row, however long the service asks to wait
LEAST_LIMITS = {"requests": 1.0, "input_tokens": 1000.0, "output_tokens": 1000.0}   # a minute


def backoff_s(failures: int) -> float:
    """Seconds to wait after so many failures in a row."""
    first, longest = BACKOFF_S
    doublings = min(failures - 1, 10)       # an exponent without a bound overflows
    return min(longest, first * 2**doublings)


def wait_s(fault: Fault, failures: int) -> float:
    """Seconds that the service asks for, but no fewer than so many failures in a row suggest."""
    return max(fault.wait_s or 0.0, backoff_s(failures))


def wait(fault: Fault, failures: int) -> None:
    """Wait as long as `wait_s` says."""
    time.sleep(wait_s(fault, failures))


def patiently(call: Callable[[], T], what: str, *, tries: int = ITEM_TRIES) -> T:
    """The result of a blocking call, repeated while its faults say that this may help.

    Raises:
        JudgingStopped: it cannot help, or `tries` calls failed; the message starts with `what`.
    """
    for failures in range(1, tries + 1):
        try:
            return call()
        except PersuasionError:
            raise
        except Exception as error:
            fault = classify(error)
        if fault.action in ("stop", "item"):
            raise JudgingStopped(f"{what}: {fault.message}")
        wait(fault, failures)
    raise JudgingStopped(f"{what} failed {tries} times, the last time: {fault.message}. "
                         "Run again later; what arrived is saved.")


class Pacer:
    """Starts calls evenly at the account's limits, and makes all wait together after a 429.

    Limits are per minute: `requests`, `input_tokens`, `output_tokens`; an absent one is none.
    """

    def __init__(self, limits: dict[str, float], sleep: Sleep) -> None:
        self.limits = dict(limits)
        self.resume_at = 0.0
        self._sleep = sleep
        self._next: dict[str, float] = {}

    async def turn(self, **amounts: float) -> None:
        """Wait for this call's turn; `amounts` are what it takes of each limit."""
        while True:
            while (left := self.resume_at - time.monotonic()) > 0:
                await self._sleep(left)
            if (left := self._reserve(amounts) - time.monotonic()) > 0:
                await self._sleep(left)
            # A pause may have begun while this call slept; then its turn comes after it.
            if time.monotonic() >= self.resume_at:
                return

    def _reserve(self, amounts: dict[str, float]) -> float:
        """When the call may start; the next one waits until its amounts are free again."""
        earliest = max(time.monotonic() - BURST_S, self.resume_at)
        start = earliest
        for name, amount in amounts.items():
            if name in self.limits:
                free = max(self._next.get(name, time.monotonic()), earliest)
                self._next[name] = free + amount * 60 / self.limits[name]
                start = max(start, free)
        return start

    def learn(self, limits: Mapping[str, float], own_requests: float | None) -> None:
        """Take over what a reply says of the account, but never more than `own_requests`.

        A limit that nobody can mean (0.000001, infinite) would stop the run or break it.
        """
        said = {name: limit for name, limit in limits.items()
                if math.isfinite(limit) and limit >= LEAST_LIMITS[name]}
        self.limits |= said
        if said and own_requests:
            self.limits["requests"] = min(own_requests, said.get("requests", own_requests))

    def pause(self, seconds: float) -> None:
        """Nobody starts a call for this long; then calls start evenly again."""
        self.resume_at = max(self.resume_at, time.monotonic() + seconds)
        self._next.clear()

    def width(self, latency_s: float) -> int:
        """Calls in flight that keep the pace at this latency (Little's law), with a reserve."""
        if "requests" not in self.limits:
            return 64
        return 2 + int(min(254.0, self.limits["requests"] / 60 * latency_s * 1.2))


class Budget:
    """Dollars: hold the worst case before a call, settle the real cost after it."""

    def __init__(self, cap_usd: float, spent_usd: float) -> None:
        self.cap_usd = cap_usd
        self.spent_usd = spent_usd
        self.held_usd = 0.0

    def take(self, usd: float) -> bool:
        """Hold `usd` if there is still so much left."""
        if self.spent_usd + self.held_usd + usd > self.cap_usd:
            return False
        self.held_usd += usd
        return True

    async def hold(self, usd: float, sleep: Sleep) -> None:
        """Hold `usd`, waiting for other calls to settle first.

        Raises:
            Fault: (stop) not even with all other calls settled is there enough left.
        """
        while not self.take(usd):
            if self.held_usd < 1e-9:
                raise Fault("budget", "stop", self.refusal(usd))
            await sleep(0.05)

    def refusal(self, usd: float) -> str:
        """Why `usd` cannot be spent any more."""
        return (f"${self.spent_usd:.2f} of the ${self.cap_usd:.2f} in judging.budget_usd are spent "
                f"and the next call may cost ${usd:.3f}. Raise it to go on.")

    def settle(self, held_usd: float, spent_usd: float) -> None:
        """Give the held money back and count what was really spent."""
        self.held_usd = max(0.0, self.held_usd - held_usd)
        self.spent_usd += spent_usd


class Failures:
    """Failures in a row over all questions: does one question fail, or the service?"""

    def __init__(self) -> None:
        self.count = 0
        self.has_ended_before = False
        self._questions: set[str] = set()
        self._began_at = 0.0
        self._last_seen_at = 0.0

    def add(self, key: str, sent_at: float) -> bool:
        """Count a failure of a call; False if it says nothing new of the service.

        A broken line fails all calls under way at once. Only a call that was sent after the last
        failure was seen tells that the service still fails.
        """
        self._questions.add(key)
        is_news = sent_at >= self._last_seen_at
        if is_news:
            self._last_seen_at = time.monotonic()
            self._began_at = self._began_at if self.count else self._last_seen_at
            self.count += 1
        return is_news

    def end(self) -> None:
        """A reply has come: the service works."""
        self.count = 0
        self.has_ended_before = True
        self._questions.clear()

    @property
    def are_outage(self) -> bool:
        """Whether the service fails, not just one question."""
        one_after_another = self.count >= OUTAGE and len(self._questions) > 1
        many_at_once = len(self._questions) >= 2 * OUTAGE
        return one_after_another or many_at_once

    @property
    def are_of_one_question(self) -> bool:
        """Whether the service has answered others, so that it may be this question that fails."""
        return self.has_ended_before and len(self._questions) == 1

    def are_hopeless(self, last: Fault) -> bool:
        """Whether to give up; a service that says how long to wait gets more patience."""
        most = BREAKER if last.wait_s is None else 3 * BREAKER
        lasts_s = self._last_seen_at - self._began_at
        return self.count >= most or (self.count >= OUTAGE and lasts_s > LONGEST_OUTAGE_S)
