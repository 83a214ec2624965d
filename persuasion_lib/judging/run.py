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
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persuasion_lib.errors import DataError, JudgeReplyError, JudgingStopped, PersuasionError
from persuasion_lib.judging.clients import Judge, Reply, input_tokens
from persuasion_lib.judging.faults import Fault, classify
from persuasion_lib.judging.pace import GUESS_PER_MINUTE, Budget, Pacer
from persuasion_lib.judging.questions import Question
from persuasion_lib.progress import Progress
from persuasion_lib.store import AppendLog

BACKOFF_S = (0.5, 30.0)     # the first wait after a failure, doubled each time, and the longest
ITEM_TRIES = 6              # failures of one question before it stays unscored
READ_TRIES = 3              # unreadable replies to one question, which are paid for
OUTAGE = 5                  # failures in a row, over all questions, that make everybody wait
USUAL_OUTPUT = 300          # tokens of a reply, until some have come
BREAKER = 20                # failures in a row that stop the run


@dataclass
class Ledger:
    """What judgments cost, from the usage that the provider reported.

    `unknown_usd` is the worst case of calls whose reply was lost. `run_*` are this run's share.
    """

    purpose: str
    calls: int = 0
    usd: float = 0.0
    unknown_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    run_calls: int = 0
    run_usd: float = 0.0

    def add(self, row: dict[str, Any]) -> None:
        """Count one row of a judgment log or of its `.errors`."""
        self.calls += row["calls"]
        self.usd += row["usd"]
        self.unknown_usd += row["unknown_usd"]
        self.input_tokens += row["input_tokens"]
        self.output_tokens += row["output_tokens"]


@dataclass
class Answers:
    """Verdicts by key, the reason by key where there is none, and what all of it cost."""

    rows: dict[str, dict[str, Any]]
    errors: dict[str, str]
    ledger: Ledger
    faults: Counter[str] = field(default_factory=Counter)


def errors_path(log: Path) -> Path:
    """Where failures are logged: beside the judgments."""
    return log.with_name(log.name + ".errors")


def index(rows: Iterable[dict[str, Any]], path: Path) -> dict[str, dict[str, Any]]:
    """Judgments by key; the same key with two verdicts is damage.

    Raises:
        DataError: a row lacks its fields, or contradicts another one.
    """
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row.get("verdict"), dict) or not isinstance(row.get("key"), str):
            raise DataError(f"{path}:{number} is not a judgment. Restore the file from a copy.")
        if row["key"] in found and found[row["key"]]["verdict"] != row["verdict"]:
            raise DataError(f"{path}:{number} judges {row['id']} a second time, differently. "
                            "Remove one of the two lines.")
        found[row["key"]] = row
    return found


def ask_all(questions: Sequence[Question], judge: Judge, *, log: Path, purpose: str) -> Answers:
    """Ask what the log does not hold yet and return all verdicts.

    Raises:
        JudgingStopped: no further call can succeed or be paid; the message says why.
        KeyboardInterrupt: after what was paid has been saved.
    """
    by_key = {question.key(judge.identity): question for question in questions}
    with AppendLog(log) as judgments, AppendLog(errors_path(log)) as failures:
        known = index(judgments.rows, log)
        run = Run(judge, judgments, failures, purpose)
        run.todo.extend((key, q) for key, q in by_key.items() if key not in known)
        if run.todo:
            run.drive(f"asking {judge.name}")
        rows = index(judgments.rows, log)
        ledger = run.ledger([*judgments.rows, *failures.rows])
    return Answers({key: rows[key] for key in by_key if key in rows},
                   {key: run.errors[key] for key in by_key if key not in rows}, ledger, run.faults)


@dataclass
class Paid:
    """What one question has cost so far, over all its attempts."""

    calls: int = 0
    usd: float = 0.0
    unknown_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0
    faults: list[str] = field(default_factory=list)


def judgment(judge: Judge, key: str, question: Question, reply: Reply,
             paid: Paid) -> dict[str, Any]:
    """The log's row of a reply with a verdict.

    Raises:
        Fault: the judge refused, was cut off, or cannot be read.
    """
    if reply.stop == "refused":
        raise Fault("refusal", "item", f"the judge refused: {reply.text}", paid="yes")
    if reply.stop == "cut":
        raise Fault("cut", "item", "the reply was cut off. Raise max_tokens in "
                    "configs/api_config.yaml.", paid="yes")
    try:
        verdict = question.read(reply.text)
    except JudgeReplyError as error:
        raise Fault("unreadable", "retry", str(error), paid="yes") from None
    return _row(judge, key, question, paid) | {
        "verdict": verdict, "reply": reply.text, "model": reply.model,
        "request_id": reply.request_id}


def failure(judge: Judge, key: str, question: Question, fault: Fault,
            paid: Paid) -> dict[str, Any]:
    """The row in `.errors` of a question without a verdict."""
    return _row(judge, key, question, paid) | {"kind": fault.kind, "reason": fault.message}


def _row(judge: Judge, key: str, question: Question, paid: Paid) -> dict[str, Any]:
    return {"key": key, "id": question.item_id, "task": question.task,
            "order": list(question.order), "sample": question.sample,
            "prompt": question.prompt_hash, "judge": judge.name, "endpoint": judge.endpoint,
            "prices_date": judge.prices_date,
            "at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(paid)}


class Run:
    """One run of the loop over the questions in `todo`."""

    def __init__(self, judge: Judge, judgments: AppendLog, failures: AppendLog,
                 purpose: str) -> None:
        self.judge, self.purpose = judge, purpose
        self.judgments, self.failures = judgments, failures
        self.todo: deque[tuple[str, Question]] = deque()
        self.errors: dict[str, str] = {}
        self.faults: Counter[str] = Counter()
        self.reason: str | None = None
        self.crash: BaseException | None = None
        self.began_rows = len(judgments.rows), len(failures.rows)
        self._done, self._unsaved = 0, list[tuple[AppendLog, dict[str, Any]]]()
        self._in_a_row, self._failed_at, self._failing = 0, 0.0, set[str]()
        self._latency_s, self._output_tokens = 1.0, float(USUAL_OUTPUT)
        self._tasks = set[asyncio.Task[None]]()
        spent = self.ledger([*judgments.rows, *failures.rows])
        self.budget = Budget(judge.budget_usd, spent.usd + spent.unknown_usd, self._sleep)
        limits = {"requests": judge.requests_per_minute or GUESS_PER_MINUTE}
        self.pacer = Pacer({} if judge.provider == "offline" else limits, self._sleep)

    def ledger(self, rows: Iterable[dict[str, Any]]) -> Ledger:
        """The sum over rows; those that this run appended are also its own."""
        total, own = Ledger(self.purpose), Ledger(self.purpose)
        for row in rows:
            total.add(row)
        for log, began in zip((self.judgments, self.failures), self.began_rows, strict=True):
            for row in log.rows[began:]:
                own.add(row)
        total.run_calls, total.run_usd = own.calls, own.usd
        return total

    # ---- the main thread

    def drive(self, desc: str) -> None:
        """Run the loop in a thread until it ends, showing progress and taking interrupts."""
        ended = threading.Event()

        def work() -> None:
            try:
                asyncio.run(self._main())
            except BaseException as error:      # shown by the main thread
                self.crash = self.crash or error
            finally:
                ended.set()

        interrupts, shown, began = 0, 0, time.monotonic()
        with Progress(len(self.todo), desc) as progress:
            thread = threading.Thread(target=work, daemon=True)
            thread.start()
            while not ended.is_set() and interrupts < 2:
                try:
                    ended.wait(0.2)     # not join(): an interrupted join forgets a live thread
                    progress.update(self._done - shown, self._note(time.monotonic() - began))
                    shown = self._done
                except KeyboardInterrupt:
                    interrupts += 1
                    self._stop_from_outside("interrupted", hard=interrupts > 1)
            ended.wait(5)
        if interrupts:
            raise KeyboardInterrupt(self._saved())
        if self.crash:
            raise self.crash
        if self.reason:
            raise JudgingStopped(f"{self.reason} {self._saved()}")

    def _note(self, elapsed_s: float) -> str:
        paused = self.pacer.resume_at - time.monotonic()
        wait = f", all wait {paused:.0f} s" if paused > 0.5 else ""
        return (f"{len(self.errors)} unscored, {sum(self.faults.values())} faults, "
                f"{self._done / max(elapsed_s, 1e-9) * 60:.0f}/min, "
                f"${self.budget.spent_usd:.2f} spent{wait}")

    def _saved(self) -> str:
        return (f"{len(self.judgments.rows)} judgments are saved in {self.judgments.path}; "
                "run again to go on from there.")

    def _stop_from_outside(self, reason: str, *, hard: bool) -> None:
        def stop() -> None:
            self._stop(reason)
            for task in self._tasks if hard else ():
                task.cancel()

        self._loop.call_soon_threadsafe(stop)

    # ---- the loop's thread

    async def _main(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        self._probe = asyncio.Lock()
        await self.judge.open()
        try:
            # The first question alone is the preflight: key, model, schema, and the limits.
            await self._answer(*self.todo.popleft())
            self._widen()
            while self._tasks:
                await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
                finished = {task for task in self._tasks if task.done()}
                self._tasks -= finished
                for task in finished:
                    if not task.cancelled():
                        task.result()
        finally:
            await self.judge.close()

    def _widen(self) -> None:
        width = self.pacer.width(self._latency_s)
        while len(self._tasks) < min(width, len(self._tasks) + len(self.todo)):
            self._tasks.add(asyncio.create_task(self._worker()))

    async def _worker(self) -> None:
        while self.todo and not self._stopping.is_set():
            await self._answer(*self.todo.popleft())
            if len(self._tasks) > self.pacer.width(self._latency_s) * 1.5:
                return
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
        while True:
            fault = await self._attempt(key, question, paid)
            if fault is None:
                return
            if fault.kind != "stopped":
                self.faults[fault.kind] += 1
                paid.faults.append(fault.kind)
            if fault.action == "stop":
                self._stop(fault.message)
                return await self._unscored(key, question, fault, paid, only_if_paid=True)
            unread += fault.kind == "unreadable"
            failed += fault.action == "retry" and not self._outage()
            if fault.action == "item" or failed >= ITEM_TRIES or unread >= READ_TRIES:
                return await self._unscored(key, question, fault, paid)
            try:
                # The pacer holds everybody in a pause; an unreadable reply is asked again at once.
                alone = fault.action == "retry" and fault.kind != "unreadable"
                await self._sleep(min(BACKOFF_S[1], BACKOFF_S[0] * 2 ** (failed - 1))
                                  if alone and failed else 0)
            except Fault as stopped:
                return await self._unscored(key, question, stopped, paid, only_if_paid=True)

    def _failed(self, key: str, started: float, fault: Fault) -> None:
        """Count a failure in a row, and make everybody wait where waiting may help.

        Calls that were under way when the last failure was seen say nothing new: a broken line
        fails all of them at once.
        """
        fresh, first, longest = started >= self._failed_at, *BACKOFF_S
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

    async def _attempt(self, key: str, question: Question, paid: Paid) -> Fault | None:
        """One call. None when the verdict is on disk, else what went wrong."""
        worst, spent, sent = self.judge.worst_usd(question), 0.0, False
        try:
            await self.budget.hold(worst)
        except Fault as fault:
            return fault
        started = time.monotonic()
        try:
            await self._turn(question)
            async with self._probe if self._outage() else nullcontext():
                if self._outage():          # one call at a time finds out whether it is over
                    await self._turn(question)
                started, sent = time.monotonic(), True
                async with asyncio.timeout(self.judge.timeout_s):
                    reply = await self.judge.ask(question)
            spent = self._worked(reply, paid, started, worst)
            await self._save(key, question, reply, paid, started)
            return None
        except asyncio.CancelledError:
            self._lost(paid, worst)
            await self._unscored(key, question, Fault("abandoned", "stop", "interrupted twice"),
                                 paid)
            raise
        except Exception as error:
            fault = classify(error)
            if sent and fault.paid == "unknown":
                spent = self._lost(paid, worst)
            if fault.action in ("retry", "pause") and fault.kind != "unreadable":
                self._failed(key, started, fault)
            return fault
        finally:
            self.budget.settle(worst, spent)

    async def _turn(self, question: Question) -> None:
        await self.pacer.turn(requests=1, input_tokens=input_tokens(question),
                              output_tokens=self._output_tokens)

    def _worked(self, reply: Reply, paid: Paid, started: float, worst: float) -> float:
        """Learn from a reply that arrived: limits, latency, cost in dollars."""
        self._in_a_row = 0
        self._failing.clear()
        self._latency_s += 0.2 * (time.monotonic() - started - self._latency_s)
        paid.calls += 1
        if self.judge.provider != "offline":
            cap = self.judge.requests_per_minute
            self.pacer.limits |= reply.limits
            if cap:
                self.pacer.limits["requests"] = min(cap, reply.limits.get("requests", cap))
        if reply.input_tokens is None or reply.output_tokens is None:
            paid.unknown_usd += worst
            return worst
        usd = self.judge.usd(reply.input_tokens, reply.output_tokens)
        paid.usd += usd
        paid.input_tokens += reply.input_tokens
        paid.output_tokens += reply.output_tokens
        self._output_tokens += 0.1 * (reply.output_tokens - self._output_tokens)
        return usd

    def _outage(self) -> bool:
        """Whether the service fails, not just one question: then one call at a time probes."""
        return (self._in_a_row >= OUTAGE and len(self._failing) > 1
                or len(self._failing) >= 2 * OUTAGE)

    def _lost(self, paid: Paid, worst: float) -> float:
        """A call whose reply was lost may have been paid: count the worst case."""
        paid.calls += 1
        paid.unknown_usd += worst
        return worst

    async def _save(self, key: str, question: Question, reply: Reply, paid: Paid,
              started: float) -> None:
        """Put the verdict on disk; a reply without one is a fault."""
        row = judgment(self.judge, key, question, reply, paid)
        row["seconds"] = round(time.monotonic() - started, 3)
        await self._append(self.judgments, row)

    async def _unscored(self, key: str, question: Question, fault: Fault, paid: Paid, *,
                  only_if_paid: bool = False) -> None:
        """Log that a question has no verdict; the next run asks it again."""
        self.errors[key] = f"{fault.kind}: {fault.message}"
        if paid.calls or not only_if_paid:
            await self._append(self.failures, failure(self.judge, key, question, fault, paid))

    async def _append(self, log: AppendLog, row: dict[str, Any]) -> None:
        """Wait until the row is on disk; rows that arrive together share one wait for the disk."""
        if not self._unsaved:
            self._saved_all = self._loop.create_future()
            self._loop.call_soon(self._flush)
        self._unsaved.append((log, row))
        await asyncio.shield(self._saved_all)       # an abandoned call must not undo the others

    def _flush(self) -> None:
        rows, self._unsaved = self._unsaved, []
        try:
            for log in (self.judgments, self.failures):
                log.extend([row for target, row in rows if target is log])
            self._done += len(rows)
        except PersuasionError as error:        # disk full: no further reply could be kept
            self.crash = self.crash or error
            self._stop("the judgments could not be saved.")
        self._saved_all.set_result(None)
