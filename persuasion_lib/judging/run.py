"""The loop that asks: paced, within a budget, every reply on disk before it counts.

The event loop has its own thread, so that asking works the same in a script, in Jupyter and under
papermill. An interrupt stops new calls, waits for the ones that are paid, and saves them; a second
interrupt does not wait.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from typing import Any

from persuasion_lib.core.errors import JudgingStopped
from persuasion_lib.core.progress import Progress
from persuasion_lib.core.store import AppendLog, KeyedLog
from persuasion_lib.judging.clients import Judge, Reply, input_tokens
from persuasion_lib.judging.faults import Fault, classify
from persuasion_lib.judging.pace import ITEM_TRIES, Budget, Failures, Pacer, backoff_s, wait_s
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.rows import Paid, failure, judgment

READ_TRIES = 3              # unreadable replies to one question, which are paid for
USUAL_OUTPUT = 300.0        # tokens of a reply, until some have come


class Run:
    """One run of the loop over the keys of questions in `todo`; its threads meet in `drive`."""

    def __init__(self, judge: Judge, judgments: KeyedLog, failures: AppendLog,
                 spent_usd: float, questions: Mapping[str, Question]) -> None:
        self.judge = judge
        self.judgments = judgments
        self.failures = failures
        self.todo: deque[str] = deque()
        self.questions = questions
        self.errors: dict[str, str] = {}
        self.faults: Counter[str] = Counter()
        self.reason: str | None = None
        self.crash: BaseException | None = None
        self.budget = Budget(judge.budget_usd, spent_usd)
        limits = {} if judge.is_local else {"requests": judge.starts_per_minute}
        self.pacer = Pacer(limits, self._sleep)
        self.in_a_row = Failures()
        self._ready = threading.Event()
        self._ended = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stopping = asyncio.Event()
        self._probe = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._latency_s = 0.0
        self._output_tokens = USUAL_OUTPUT
        self._unsaved: list[tuple[AppendLog, dict[str, Any]]] = []
        self._saved: asyncio.Future[None]
        self._done = 0

    # ---- the main thread

    def drive(self, desc: str) -> None:
        """Run the loop in a thread until it ends, showing progress and taking interrupts."""
        interrupts = 0
        shown = 0
        began = time.monotonic()
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
        saved = (f"{len(self.judgments.by_key)} judgments are saved in {self.judgments.path}; "
                 "run again to go on from there.")
        if interrupts:
            raise KeyboardInterrupt(saved)
        if self.crash:
            raise self.crash
        if self.reason:
            raise JudgingStopped(f"{self.reason} {saved}")

    def _note(self, elapsed_s: float) -> str:
        paused_s = self.pacer.resume_at - time.monotonic()
        wait = f", all wait {paused_s:.0f} s" if paused_s > 0.5 else ""
        bad = {"unscored": len(self.errors), "faults": sum(self.faults.values())}
        said = [f"{count} {what}" for what, count in bad.items() if count]
        said.append(f"{self._done / max(elapsed_s, 1e-9) * 60:,.0f} a minute")
        if self.budget.spent_usd:
            said.append(f"${self.budget.spent_usd:.2f} spent")
        return ", ".join(said) + wait

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
                self._ready.set()
                runner.run(self._main())
        except BaseException as error:      # the main thread raises it
            self.crash = self.crash or error
        finally:
            self._ended.set()

    async def _main(self) -> None:
        await self.judge.open()
        try:
            self._widen()       # to one: the first question is the preflight for all others
            while self._tasks:
                finished, _ = await asyncio.wait(
                    self._tasks, return_when=asyncio.FIRST_COMPLETED)
                self._tasks -= finished         # workers have added others meanwhile
                for task in finished:
                    if not task.cancelled() and (error := task.exception()):
                        self.crash = self.crash or error
                        self._stop("a call crashed.")   # the others are paid and end first
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
            key = self.todo.popleft()
            question = self.questions[key]
            paid = Paid()
            try:
                await self._answer(key, question, paid)
            except asyncio.CancelledError:
                fault = Fault("abandoned", "stop", "interrupted")
                await self._unscored(key, question, fault, paid)
                raise
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

    async def _answer(self, key: str, question: Question, paid: Paid) -> None:
        """One question to its end: a row in the log, a row in `.errors`, or a stopped run."""
        failed = 0
        unread = 0
        while fault := await self._attempt(key, question, paid):
            if fault.kind != "stopped":
                self.faults[fault.kind] += 1
                paid.faults.append(fault.kind)
            if fault.action == "stop":
                self._stop(fault.message)
            unread += fault.action == "reread"
            # In an outage it is not the question that fails, so it keeps its tries.
            failed += fault.action == "retry" and not self.in_a_row.are_outage
            is_given_up = fault.action == "item" or failed >= ITEM_TRIES or unread >= READ_TRIES
            if is_given_up or self._stopping.is_set():
                return await self._unscored(key, question, fault, paid)
            # This question waits alone; in a pause or an outage the pacer holds everybody.
            if fault.action == "retry" and failed:
                with suppress(Fault):           # stopped: the next attempt says so
                    await self._sleep(backoff_s(failed))

    async def _attempt(self, key: str, question: Question, paid: Paid) -> Fault | None:
        """One call within the budget. None when the verdict is on disk, else what went wrong."""
        worst_usd = self.judge.worst_usd(question)
        before_usd = paid.at_most_usd
        try:
            await self.budget.hold(worst_usd, self._sleep)
        except Fault as fault:
            return fault
        sent_at = None
        reply = None
        try:
            async with self._in_turn(question), asyncio.timeout(self.judge.timeout_s):
                sent_at = time.monotonic()
                reply = await self.judge.ask(question)
            self._learn(reply, paid, worst_usd, took_s=time.monotonic() - sent_at)
            await self._save(self.judgments, judgment(self.judge, key, question, reply, paid))
            return None
        except asyncio.CancelledError:
            if sent_at:
                paid.add_lost(worst_usd)
            raise
        except Exception as error:
            fault = self._fault_of(error)
            fault.reply = reply.text if reply else ""
            if sent_at and fault.unknown_cost:
                paid.add_lost(worst_usd)
            if sent_at:
                self._count_failure(key, sent_at, fault)
            return fault
        finally:
            self.budget.settle(worst_usd, paid.at_most_usd - before_usd)

    def _fault_of(self, error: Exception) -> Fault:
        """`classify`; a bug of ours stops the run, which still saves what the others pay for."""
        try:
            return classify(error)
        except Exception as bug:
            self.crash = self.crash or bug
            return Fault("crash", "stop", f"{type(bug).__name__}: {bug}", unknown_cost=True)

    @asynccontextmanager
    async def _in_turn(self, question: Question) -> AsyncIterator[None]:
        """Wait for a turn; in an outage one call at a time finds out whether it is over."""
        await self._turn(question)
        async with self._probe if self.in_a_row.are_outage else nullcontext():
            if self.in_a_row.are_outage:
                await self._turn(question)
            yield

    async def _turn(self, question: Question) -> None:
        await self.pacer.turn(requests=1, input_tokens=input_tokens(question),
                              output_tokens=self._output_tokens)

    def _learn(self, reply: Reply, paid: Paid, worst_usd: float, *, took_s: float) -> None:
        """What a reply that arrived says about limits, latency and cost."""
        self.in_a_row.end()
        self._latency_s += 0.2 * (took_s - self._latency_s) if self._latency_s else took_s
        self.pacer.learn(reply.limits, self.judge.requests_per_minute)
        if paid.add_reply(reply, self.judge, worst_usd):
            self._output_tokens += 0.1 * (reply.output_tokens - self._output_tokens)

    def _count_failure(self, key: str, sent_at: float, fault: Fault) -> None:
        """Count a failure in a row, and make everybody wait where that may help."""
        if fault.action not in ("retry", "pause"):
            return      # a reply that is refused or cannot be read says that the service works
        is_news = self.in_a_row.add(key, sent_at)
        if self.in_a_row.are_hopeless(fault):
            if self.in_a_row.are_of_one_question:
                fault.action = "item"
                return
            self._stop(f"{self.in_a_row.count} calls in a row failed, the last one: "
                       f"{fault.message}.")
        may_help = is_news and (fault.action == "pause" or self.in_a_row.are_outage)
        if may_help or fault.wait_s is not None:
            self.pacer.pause(wait_s(fault, self.in_a_row.count))

    async def _unscored(self, key: str, question: Question, fault: Fault, paid: Paid) -> None:
        """Log that a question has no verdict; the next run asks it again."""
        self.errors[key] = f"{fault.kind}: {fault.message}"
        if paid.calls or not self._stopping.is_set():
            await self._save(self.failures, failure(self.judge, key, question, fault, paid))

    async def _save(self, log: AppendLog, row: dict[str, Any]) -> None:
        """Wait until the row is on disk; rows that arrive together share one wait for the disk."""
        if not self._unsaved:
            self._saved = self._loop.create_future()
            self._loop.call_soon(self._flush)
        self._unsaved.append((log, row))
        await asyncio.shield(self._saved)       # an abandoned call must not undo the others

    def _flush(self) -> None:
        rows, self._unsaved = self._unsaved, []
        try:
            for log in (self.judgments, self.failures):
                if own := [row for target, row in rows if target is log]:
                    log.extend(own)
            self._done += len(rows)
        except Exception as error:      # disk full, say: no further reply could be kept
            self.crash = self.crash or error
            self._stop("the judgments could not be saved.")
        finally:
            self._saved.set_result(None)
