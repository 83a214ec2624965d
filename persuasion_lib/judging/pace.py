"""How fast and for how much: one pacer and one budget for all calls of a run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from persuasion_lib.judging.faults import Fault

Sleep = Callable[[float], Awaitable[None]]
BURST_S = 0.5        # unused time that may be caught up at once
GUESS_PER_MINUTE = 50.0     # until the provider has said what the account may do


class Pacer:
    """Starts calls evenly at the account's limits, and makes all wait together after a 429.

    Limits are per minute: `requests`, `input_tokens`, `output_tokens`; an absent one is none.
    """

    def __init__(self, limits: dict[str, float], sleep: Sleep) -> None:
        self.limits, self._sleep = dict(limits), sleep
        self._next: dict[str, float] = {}
        self.resume_at = self.paused_at = 0.0

    async def turn(self, **amounts: float) -> None:
        """Wait for this call's turn; `amounts` are what it takes of each limit."""
        while True:
            while (left := self.resume_at - time.monotonic()) > 0:
                await self._sleep(left)
            if (left := self._reserve(amounts) - time.monotonic()) > 0:
                await self._sleep(left)
            if time.monotonic() >= self.resume_at:
                return

    def _reserve(self, amounts: dict[str, float]) -> float:
        earliest = max(time.monotonic() - BURST_S, self.resume_at)
        start = earliest
        for name, amount in amounts.items():
            if name in self.limits:
                free = max(self._next.get(name, time.monotonic()), earliest)
                self._next[name] = free + amount * 60 / self.limits[name]
                start = max(start, free)
        return start

    def pause(self, seconds: float) -> None:
        """Nobody starts a call for this long; then calls start evenly again."""
        self.paused_at = time.monotonic()
        self.resume_at = max(self.resume_at, self.paused_at + seconds)
        self._next.clear()

    def width(self, latency_s: float) -> int:
        """Calls in flight that keep the pace at this latency (Little's law), with a reserve."""
        if "requests" not in self.limits:
            return 64
        return max(2, min(256, int(self.limits["requests"] / 60 * latency_s * 1.2) + 2))


class Budget:
    """Dollars: hold the worst case before a call, settle the real cost after it."""

    def __init__(self, cap_usd: float, spent_usd: float, sleep: Sleep) -> None:
        self.cap_usd, self.spent_usd, self.held_usd, self._sleep = cap_usd, spent_usd, 0.0, sleep

    async def hold(self, usd: float) -> None:
        """Set `usd` aside, waiting for other calls to settle first.

        Raises:
            Fault: (stop) not even with all other calls settled is there enough left.
        """
        while self.spent_usd + self.held_usd + usd > self.cap_usd:
            if self.held_usd < 1e-9:
                raise Fault("budget", "stop", f"${self.spent_usd:.2f} of the "
                            f"${self.cap_usd:.2f} in judging.budget_usd are spent and the next "
                            f"call may cost ${usd:.3f}. Raise it to go on.")
            await self._sleep(0.05)
        self.held_usd += usd

    def settle(self, held_usd: float, spent_usd: float) -> None:
        """Give the held money back and count what was really spent."""
        self.held_usd = max(0.0, self.held_usd - held_usd)
        self.spent_usd += spent_usd
