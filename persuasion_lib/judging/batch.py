"""The same questions through Message Batches: half the price, done within a day.

A batch that is created but whose reply is lost would be paid for twice if it were simply created
again. So the intent is on disk first, creating never retries by itself, and after a lost reply the
account's list of batches is searched before anything is sent again. Results come in any order and
are matched by key; they go into the same log as online judgments.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from persuasion_lib.core.errors import ConfigError, JudgingStopped
from persuasion_lib.core.lazy import Lazy
from persuasion_lib.core.progress import Progress
from persuasion_lib.core.records import content_id
from persuasion_lib.core.store import AppendLog, KeyedLog
from persuasion_lib.judging.ask import Answers, N, ask_all
from persuasion_lib.judging.clients import AnthropicJudge, Judge
from persuasion_lib.judging.connect import LARGEST_RESULTS
from persuasion_lib.judging.faults import Fault, classify
from persuasion_lib.judging.pace import ITEM_TRIES, Budget, patiently, wait
from persuasion_lib.judging.plan import BATCH_PRICE
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.rows import Cost, Paid, errors_path, failure, judgment

T = TypeVar("T")
POLL_S = 60.0
ROUNDS = 2                  # batches for the same questions before the online loop takes the rest
LARGEST = 10_000            # questions a batch; the API takes 100,000 and 256 MB
READ_TRIES = 10             # of a call that costs nothing
CLOCK_SLACK = timedelta(minutes=10)


def ask_in_batches(asked: Mapping[N, Question], judge: Judge, *, log: Path) -> Answers[N]:
    """Like `ask_all`, through batches; what they leave open is asked online.

    Raises:
        ConfigError: the judge has no batches.
        JudgingStopped: a batch cannot be made or paid; open batches are collected by the next run.
    """
    if not isinstance(judge, AnthropicJudge):
        raise ConfigError(f"{judge.name} has no batches. Set label_ai.mode=online.")
    cost = Cost()
    with (KeyedLog(log, agree_on="verdict", each=cost.add) as judgments,
          AppendLog(errors_path(log), each=cost.add) as failures,
          AppendLog(log.with_name(log.name + ".batches")) as state,
          judge.line(largest=LARGEST_RESULTS).client(blocking=True) as client):
        before = replace(cost)
        name_of = {judge.key_of(question, judgments.by_key): name
                   for name, question in asked.items()}
        by_key = Lazy(name_of, asked.__getitem__)
        batches = Batches(judge, client, judgments, failures, state, by_key, cost)
        batches.collect()
    answers = ask_all(asked, judge, log=log, given_up=batches.final)
    answers.ledger.run_calls = answers.ledger.calls - before.calls
    answers.ledger.run_usd = answers.ledger.usd - before.usd
    return answers


@dataclass
class Batches:
    """Batches of one log. `final` holds the questions that have no verdict and no second try."""

    judge: AnthropicJudge
    client: Any
    judgments: KeyedLog
    failures: AppendLog
    state: AppendLog
    by_key: Mapping[str, Question]
    cost: Cost                  # of the log, kept up to date
    final: dict[str, str] = field(default_factory=dict)

    def collect(self) -> None:
        """Finish the batches of earlier runs, then ask the rest in new ones."""
        ended = {row["intent"] for row in self.state.rows if row["event"] == "ended"}
        begun = [row for row in self.state.rows if row["event"] == "intent"]
        for intent in [row for row in begun if row["intent"] not in ended]:
            name = self._created().get(intent["intent"]) or self._find(intent)
            if name:
                self._harvest(intent, name)
            else:
                self._note("ended", intent)
        for _ in range(ROUNDS):
            todo = [key for key in self.judgments.missing(self.by_key) if key not in self.final]
            while todo:
                chunk = self._affordable(todo)
                intent = self._intend(chunk)
                self._harvest(intent, self._create(intent))
                todo = todo[len(chunk):]

    def _created(self) -> dict[str, str]:
        """The batches that are known to exist, by intent."""
        return {row["intent"]: row["batch"] for row in self.state.rows
                if row["event"] == "created"}

    def _note(self, event: str, intent: Mapping[str, Any], **more: Any) -> None:
        self.state.append({"event": event, "intent": intent["intent"], **more})

    def _affordable(self, todo: Sequence[str]) -> list[str]:
        """As many questions as the rest of the budget can pay in the worst case."""
        budget = Budget(self.judge.budget_usd, self.cost.at_most_usd)
        chunk: list[str] = []
        for key in todo[:LARGEST]:
            worst_usd = BATCH_PRICE * self.judge.worst_usd(self.by_key[key])
            if not budget.take(worst_usd):
                break
            chunk.append(key)
        if not chunk:
            raise JudgingStopped(f"{len(todo)} questions are open: {budget.refusal(worst_usd)}")
        return chunk

    def _intend(self, keys: Sequence[str]) -> dict[str, Any]:
        at = datetime.now(UTC).isoformat()
        intent = {"intent": content_id(at, list(keys)), "keys": list(keys), "at": at}
        self._note("intent", intent, keys=intent["keys"], at=at)
        return intent

    def _create(self, intent: dict[str, Any]) -> str:
        """Create the batch of an intent, exactly once even if a reply is lost."""
        requests = [{"custom_id": key, "params": self.judge.batch_request(self.by_key[key])}
                    for key in intent["keys"]]
        for failures in range(1, ITEM_TRIES + 1):
            try:
                name = str(self.client.messages.batches.create(requests=requests).id)
                self._note("created", intent, batch=name)
                return name
            except Exception as error:
                fault = classify(error)
            if fault.action in ("stop", "item"):
                self._note("ended", intent)
                raise JudgingStopped(f"the batch was refused: {fault.message}")
            wait(fault, failures)
            # The batch may exist although its reply was lost: look before it is made again.
            found = self._find(intent) if fault.unknown_cost else None
            if found:
                return found
        raise JudgingStopped(f"no batch could be made: {fault.message}. Run again later.")

    def _find(self, intent: dict[str, Any]) -> str | None:
        """The batch of an intent in the account's list: of its size, made after it, not claimed."""
        claimed = set(self._created().values())
        since = datetime.fromisoformat(intent["at"]) - CLOCK_SLACK

        def look() -> str | None:
            for batch in self.client.messages.batches.list(limit=100):
                if batch.created_at < since:
                    return None
                size = sum(v for v in batch.request_counts.model_dump().values() if v)
                if size == len(intent["keys"]) and batch.id not in claimed:
                    return str(batch.id)
            return None

        name = _read(look)
        if name:
            self._note("created", intent, batch=name)
        return name

    def _harvest(self, intent: dict[str, Any], name: str) -> None:
        """Wait for a batch and put its results on disk."""
        with Progress(len(intent["keys"]), f"batch {name} at {self.judge.name}") as progress:
            while True:
                batch = _read(lambda: self.client.messages.batches.retrieve(name))
                if batch.processing_status == "ended":
                    break
                progress.update(0, f"waiting, until {batch.expires_at:%d %b %H:%M} UTC at most")
                time.sleep(POLL_S)
            if batch.results_url is None:
                raise JudgingStopped(f"the results of batch {name} are not kept any more (29 days)."
                                     f" Delete {self.state.path} to ask its questions again.")
            self._save(_read(lambda: list(self.client.messages.batches.results(name))))
            progress.update(len(intent["keys"]))
        self._note("ended", intent)

    def _save(self, results: Sequence[Any]) -> None:
        by_key = {result.custom_id: result for result in results
                  if result.custom_id in self.by_key and result.custom_id not in self.final}
        rows = [self._row(by_key[key]) for key in self.judgments.missing(by_key)]
        self.judgments.extend([row for row in rows if "verdict" in row])
        self.failures.extend([row for row in rows if "verdict" not in row])

    def _row(self, result: Any) -> dict[str, Any]:
        """One result as a row of the log, or of `.errors`."""
        key = result.custom_id
        question = self.by_key[key]
        ended = result.result.type
        paid = Paid()
        try:
            if ended != "succeeded":
                raise Fault(f"batch: {ended}", "retry", f"the batch left this question {ended}")
            reply = self.judge.reply_of(result.result.message)
            paid.add_reply(reply, self.judge, BATCH_PRICE * self.judge.worst_usd(question),
                           share=BATCH_PRICE)
            return judgment(self.judge, key, question, reply, paid)
        except Fault as fault:
            if fault.action == "item":
                self.final[key] = f"{fault.kind}: {fault.message}"
            return failure(self.judge, key, question, fault, paid)


def _read(call: Callable[[], T]) -> T:
    """The result of a call that costs nothing; what is paid for is kept for 29 days."""
    return patiently(call, "reading the batches", tries=READ_TRIES)
