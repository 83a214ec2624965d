"""The loop that asks: paced, within a budget, every reply on disk before it counts.

`ask_all` is an ordinary function with its own event loop in its own thread, so that it works the
same in a script, in Jupyter and under papermill. An interrupt stops new calls, waits for the ones
that are paid, and saves them; a second interrupt does not wait.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import JudgingStopped, PersuasionError
from persuasion_lib.core.progress import Progress
from persuasion_lib.core.store import AppendLog
from persuasion_lib.judging.clients import Judge, Reply, input_tokens
from persuasion_lib.judging.faults import Fault, classify
from persuasion_lib.judging.pace import GUESS_PER_MINUTE, Budget, Pacer
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.rows import (
    Ledger,
    Paid,
    cost_of,
    errors_path,
    failure,
    index,
    judgment,
)

BACKOFF_S = (0.5, 30.0)     # the first wait after a failure, doubled each time, and the longest
ITEM_TRIES = 6              # failures of one question before it stays unscored
READ_TRIES = 3              # unreadable replies to one question, which are paid for
OUTAGE = 5                  # failures in a row, over several questions, that make everybody wait
BREAKER = 20                # failures in a row that stop the run
USUAL_OUTPUT = 300.0        # tokens of a reply, until some have come


@dataclass
class Answers:
    """Verdicts by key, the reason by key where there is none, and what all of it cost."""

    rows: dict[str, dict[str, Any]]
    errors: dict[str, str]
    ledger: Ledger
    faults: Counter[str] = field(default_factory=Counter)


def ask_all(questions: Sequence[Question], judge: Judge, *, log: Path, purpose: str) -> Answers:
    """Ask what the log does not hold yet and return all verdicts.

    Raises:
        JudgingStopped: no further call can succeed or be paid; the message says why.
        KeyboardInterrupt: after what was paid has been saved.
    """
    by_key = {question.key(judge.identity): question for question in questions}
    with AppendLog(log) as judgments, AppendLog(errors_path(log)) as failures:
        known, began = index(judgments.rows, log), (len(judgments.rows), len(failures.rows))
        run = Run(judge, judgments, failures)
        run.todo.extend((key, q) for key, q in by_key.items() if key not in known)
        if run.todo:
            run.drive(f"asking {judge.name}")
        rows = index(judgments.rows, log)
        total = cost_of([*judgments.rows, *failures.rows])
        own = cost_of([*judgments.rows[began[0]:], *failures.rows[began[1]:]])
    ledger = Ledger(**asdict(total), purpose=purpose, run_calls=own.calls, run_usd=own.usd)
    return Answers({key: rows[key] for key in by_key if key in rows},
                   {key: run.errors[key] for key in by_key if key not in rows}, ledger, run.faults)


class Run:
    """One run of the loop over the questions in `todo`; its threads meet only in `drive`."""

    def __init__(self, judge: Judge, judgments: AppendLog, failures: AppendLog) -> None:
        self.judge, self.judgments, self.failures = judge, judgments, failures
        self.todo: deque[tuple[str, Question]] = deque()
        self.errors: dict[str, str] = {}
        self.faults: Counter[str] = Counter()
        self.reason: str | None = None
        self.crash: BaseException | None = None
        self._ready, self._ended = threading.Event(), threading.Event()
        self._tasks = set[asyncio.Task[None]]()
        self._done, self._unsaved = 0, list[tuple[AppendLog, dict[str, Any]]]()
        self._in_a_row, self._failed_at, self._failing = 0, 0.0, set[str]()
        self._latency_s, self._output_tokens = 0.0, USUAL_OUTPUT
        spent = cost_of([*judgments.rows, *failures.rows]).at_most_usd
        self.budget = Budget(judge.budget_usd, spent, self._sleep)
        limits = {"requests": judge.requests_per_minute or GUESS_PER_MINUTE}
        unlimited = judge.provider in ("offline", "server")
        self.pacer = Pacer({} if unlimited else limits, self._sleep)

    # ---- the main thread

    def drive(self, desc: str) -> None:
        """Run the loop in a thread until it ends, showing progress and taking interrupts."""
        interrupts, shown, began = 0, 0, time.monotonic()
        with Progress(len(self.todo), desc) as progress:
            threading.Thread(target=self._work, daemon=True).start()
            while not self._ended.is_set() and interrupts < 2:
                try:
                    self._ended.wait(0.2)   # not join(): an interrupted join forgets a live thread
                    progress.update(self._done - shown, self._note(time.monotonic() - began))
                    shown = self._done
                except KeyboardInterrupt:
                    interrupts += 1
                    self._interrupt(hard=interrupts > 1)
            self._ended.wait(5)
        saved = (f"{len(self.judgments.rows)} judgments are saved in {self.judgments.path}; "
                 "run again to go on from there.")
        if interrupts:
            raise KeyboardInterrupt(saved)
        if self.crash:
            raise self.crash
        if self.reason:
            raise JudgingStopped(f"{self.reason} {saved}")

    def _note(self, elapsed_s: float) -> str:
        paused = self.pacer.resume_at - time.monotonic()
        wait = f", all wait {paused:.0f} s" if paused > 0.5 else ""
        return (f"{len(self.errors)} unscored, {sum(self.faults.values())} faults, "
                f"{self._done / max(elapsed_s, 1e-9) * 60:.0f}/min, "
                f"${self.budget.spent_usd:.2f} spent{wait}")

    def _interrupt(self, *, hard: bool) -> None:
        """Stop asking; `hard` also abandons the calls that are under way."""
        def stop() -> None:
            self._stop("interrupted.")
            for task in self._tasks if hard else ():
                task.cancel()

        if self._ready.wait(5) and not self._ended.is_set():
            self._loop.call_soon_threadsafe(stop)

    # ---- the loop's thread

    def _work(self) -> None:
        try:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                runner.run(self._main())
        except BaseException as error:      # the main thread raises it
            self.crash = self.crash or error
        finally:
            self._ended.set()

    async def _main(self) -> None:
        self._stopping, self._probe = asyncio.Event(), asyncio.Lock()
        self._ready.set()
        await self.judge.open()
        try:
            self._widen()       # to one: the first question is the preflight for all others
            while self._tasks:
                finished, _ = await asyncio.wait(
                    self._tasks, return_when=asyncio.FIRST_COMPLETED)
                self._tasks -= finished         # workers have added others meanwhile
                for task in finished:
                    if not task.cancelled():
                        task.result()
        finally:
            await self.judge.close()

    def _width(self) -> int:
        width = self.pacer.width(self._latency_s) if self._latency_s else 1
        return min(width, self.judge.calls_at_once or width)

    def _widen(self) -> None:
        for _ in range(min(self._width() - len(self._tasks), len(self.todo))):
            self._tasks.add(asyncio.create_task(self._worker()))

    async def _worker(self) -> None:
        while self.todo and not self._stopping.is_set() and len(self._tasks) <= 2 * self._width():
            await self._answer(*self.todo.popleft())
            self._widen()
            await asyncio.sleep(0)

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason
        self._stopping.set()

    async def _sleep(self, seconds: float) -> None:
        """Sleep, or raise at once when the run stops."""
        try:
            await asyncio.wait_for(self._stopping.wait(), max(seconds, 0))
        except TimeoutError:
            return
        raise Fault("stopped", "stop", self.reason or "stopped")

    async def _answer(self, key: str, question: Question) -> None:
        """One question to its end: a row in the log, a row in `.errors`, or a stopped run."""
        paid, failed, unread = Paid(), 0, 0
        while (fault := await self._attempt(key, question, paid)) is not None:
            if fault.kind != "stopped":
                self.faults[fault.kind] += 1
                paid.faults.append(fault.kind)
            if fault.action == "stop":
                self._stop(fault.message)
            unread += fault.kind == "unreadable"
            failed += fault.action == "retry" and not self._outage()
            given_up = fault.action == "item" or failed >= ITEM_TRIES or unread >= READ_TRIES
            if given_up or self._stopping.is_set():
                return await self._unscored(key, question, fault, paid)
            if fault.action == "retry" and fault.kind != "unreadable" and failed:
                first, longest = BACKOFF_S      # alone; in a pause the pacer holds everybody
                with suppress(Fault):           # stopped: the next attempt says so
                    await self._sleep(min(longest, first * 2 ** (failed - 1)))

    async def _attempt(self, key: str, question: Question, paid: Paid) -> Fault | None:
        """One call. None when the verdict is on disk, else what went wrong."""
        worst, began_usd, sent_at = self.judge.worst_usd(question), paid.at_most_usd, None
        try:
            await self.budget.hold(worst)
        except Fault as fault:
            return fault
        try:
            await self._turn(question)
            async with self._probe if self._outage() else nullcontext():
                if self._outage():          # one call at a time finds out whether it is over
                    await self._turn(question)
                sent_at = time.monotonic()
                async with asyncio.timeout(self.judge.timeout_s):
                    reply = await self.judge.ask(question)
            self._learn(reply, paid, time.monotonic() - sent_at, worst)
            row = judgment(self.judge, key, question, reply, paid)
            await self._append(self.judgments, row)
            return None
        except asyncio.CancelledError:
            if sent_at:
                paid.add({"calls": 1, "unknown_usd": worst})
            await self._unscored(key, question, Fault("abandoned", "stop", "interrupted"), paid)
            raise
        except Exception as error:
            fault = classify(error)
            if sent_at and fault.unknown_cost:
                paid.add({"calls": 1, "unknown_usd": worst})
            if sent_at and fault.action in ("retry", "pause") and fault.kind != "unreadable":
                self._count_failure(key, sent_at, fault)
            return fault
        finally:
            self.budget.settle(worst, paid.at_most_usd - began_usd)

    async def _turn(self, question: Question) -> None:
        await self.pacer.turn(requests=1, input_tokens=input_tokens(question),
                              output_tokens=self._output_tokens)

    def _learn(self, reply: Reply, paid: Paid, took_s: float, worst: float) -> None:
        """What a reply that arrived says about limits, latency and cost."""
        self._in_a_row = 0
        self._failing.clear()
        self._latency_s += 0.2 * (took_s - self._latency_s) if self._latency_s else took_s
        if reply.limits:
            self.pacer.limits |= reply.limits
            if cap := self.judge.requests_per_minute:
                self.pacer.limits["requests"] = min(cap, reply.limits.get("requests", cap))
        if reply.input_tokens is None or reply.output_tokens is None:
            return paid.add({"calls": 1, "unknown_usd": worst})
        paid.add({"calls": 1, "usd": self.judge.usd(reply.input_tokens, reply.output_tokens),
                  "input_tokens": reply.input_tokens, "output_tokens": reply.output_tokens})
        self._output_tokens += 0.1 * (reply.output_tokens - self._output_tokens)

    def _count_failure(self, key: str, sent_at: float, fault: Fault) -> None:
        """Count a failure in a row, and make everybody wait where waiting may help.

        Calls that were under way when the last failure was seen say nothing new: a broken line
        fails all of them at once.
        """
        fresh, first, longest = sent_at >= self._failed_at, *BACKOFF_S
        if fresh:
            self._in_a_row, self._failed_at = self._in_a_row + 1, time.monotonic()
        self._failing.add(key)
        fuse = BREAKER if fault.wait_s is None else 3 * BREAKER     # told to wait: patient
        if self._in_a_row >= fuse and len(self._failing) > 1:
            self._stop(f"{self._in_a_row} calls in a row failed, the last one: {fault.message}.")
        if fault.wait_s is not None:
            self.pacer.pause(fault.wait_s)
        elif fresh and (fault.action == "pause" or self._outage()):
            self.pacer.pause(min(longest, first * 2 ** min(self._in_a_row - 1, 10)))

    def _outage(self) -> bool:
        """Whether the service fails, not just one question."""
        return (self._in_a_row >= OUTAGE and len(self._failing) > 1
                or len(self._failing) >= 2 * OUTAGE)

    async def _unscored(self, key: str, question: Question, fault: Fault, paid: Paid) -> None:
        """Log that a question has no verdict; the next run asks it again."""
        self.errors[key] = f"{fault.kind}: {fault.message}"
        if paid.calls or not self._stopping.is_set():
            await self._append(self.failures, failure(self.judge, key, question, fault, paid))

    async def _append(self, log: AppendLog, row: dict[str, Any]) -> None:
        """Wait until the row is on disk; rows that arrive together share one wait for the disk."""
        if not self._unsaved:
            self._saved = self._loop.create_future()
            self._loop.call_soon(self._flush)
        self._unsaved.append((log, row))
        await asyncio.shield(self._saved)       # an abandoned call must not undo the others

    def _flush(self) -> None:
        rows, self._unsaved = self._unsaved, []
        try:
            for log in {id(target): target for target, _ in rows}.values():
                log.extend([row for target, row in rows if target is log])
            self._done += len(rows)
        except PersuasionError as error:        # disk full: no further reply could be kept
            self.crash = self.crash or error
            self._stop("the judgments could not be saved.")
        self._saved.set_result(None)
