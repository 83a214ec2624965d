"""The rows of a judgment log and of its `.errors`, and what they cost."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from persuasion_lib.core.errors import DataError, JudgeReplyError
from persuasion_lib.core.fields import is_amount
from persuasion_lib.judging.clients import Judge, Reply
from persuasion_lib.judging.faults import Fault
from persuasion_lib.judging.questions import Question


@dataclass
class Cost:
    """Calls, dollars and tokens by the provider's own count.

    `unknown_usd` is the worst case of calls whose reply, or whose usage, was lost.
    """

    calls: int = 0
    usd: float = 0.0
    unknown_usd: float = 0.0
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def at_most_usd(self) -> float:
        """What a budget must count."""
        return self.usd + self.unknown_usd

    def add(self, row: Mapping[str, Any]) -> None:
        """Add a row of a log; one without costs counts nothing.

        Raises:
            DataError: what it says of costs is no number, or less than nothing.
        """
        for name in ("calls", "usd", "unknown_usd", "input_tokens", "output_tokens"):
            value = row.get(name, 0)
            if not is_amount(value):
                raise DataError(f"its {name} is {value!r:.40}, not a number from 0 on")
            setattr(self, name, getattr(self, name) + value)

    def add_reply(self, reply: Reply, judge: Judge, worst_usd: float, *,
                  share: float = 1.0) -> bool:
        """Add a reply by the provider's own count; False where that is missing or cannot be true.

        `share` is the part of the normal price that is asked; `worst_usd` counts without a count.
        """
        tokens = (reply.input_tokens, reply.output_tokens)
        if not all(map(is_amount, tokens)):
            self.add_lost(worst_usd)
            return False
        self.add({"calls": 1, "usd": share * judge.usd(*tokens), "input_tokens": tokens[0],
                  "output_tokens": tokens[1]})
        return True

    def add_lost(self, worst_usd: float) -> None:
        """Add a call whose reply, or whose cost, did not arrive."""
        self.add({"calls": 1, "unknown_usd": worst_usd})


@dataclass
class Paid(Cost):
    """What one question has cost over all its attempts, and the faults it met."""

    faults: list[str] = field(default_factory=list)


@dataclass
class Ledger(Cost):
    """What everything in a log cost; `run_calls` and `run_usd` are this run's share."""

    run_calls: int = 0
    run_usd: float = 0.0


def errors_path(log: Path) -> Path:
    """Where failures are logged: beside the judgments."""
    return log.with_name(log.name + ".errors")


def judgment(judge: Judge, key: str, question: Question, reply: Reply,
             paid: Paid) -> dict[str, Any]:
    """The log's row of a reply with a verdict.

    Raises:
        Fault: the judge refused, was cut off, or cannot be read.
    """
    if reply.stop == "refused":
        raise Fault("refusal", "item", f"the judge refused: {reply.text}")
    if reply.stop == "cut":
        raise Fault("cut", "item", "the reply was cut off. Raise max_tokens in "
                    "configs/api_config.yaml.")
    try:
        verdict = question.read(reply.text)
    except JudgeReplyError as error:
        raise Fault("unreadable", "reread", str(error)) from None
    return _row(judge, key, question, paid) | {
        "verdict": verdict, "reply": reply.text, "model": reply.model,
        "request_id": reply.request_id}


def failure(judge: Judge, key: str, question: Question, fault: Fault,
            paid: Paid) -> dict[str, Any]:
    """The row in `.errors` of a question without a verdict."""
    return _row(judge, key, question, paid) | {
        "kind": fault.kind, "reason": fault.message, "reply": fault.reply}


def _row(judge: Judge, key: str, question: Question, paid: Paid) -> dict[str, Any]:
    return {"key": key, "id": question.item_id, "task": question.task,
            "order": list(question.order), "sample": question.sample,
            "prompt": question.prompt_hash, "judge": judge.name, "endpoint": judge.endpoint,
            "prices_date": judge.prices_date,
            "at": datetime.now(UTC).isoformat(timespec="seconds"), **asdict(paid)}
