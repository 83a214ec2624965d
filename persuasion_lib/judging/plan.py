"""What a run would cost, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persuasion_lib.core.progress import duration
from persuasion_lib.core.store import AppendLog
from persuasion_lib.judging.clients import Judge, check_model, input_tokens
from persuasion_lib.judging.pace import GUESS_PER_MINUTE
from persuasion_lib.judging.questions import Question

REPLY_TOKENS = (80, 600)    # a short verdict, and one with a lot of thinking before it
BATCH_PRICE = 0.5           # of the normal price
LARGE = 500                 # calls from which a batch is proposed


@dataclass(frozen=True)
class Plan:
    """Calls, tokens, dollars (low, high) and time of a run; a notebook shows it as a table."""

    judge: str
    endpoint: str
    calls: int
    known: int
    tokens_in: int
    usd: tuple[float, float]
    budget_usd: float
    time: str
    measured: bool
    mode: str
    note: str

    def _repr_markdown_(self) -> str:
        low, high = self.usd
        basis = "measured on earlier replies" if self.measured else "a guess before the first reply"
        rows = {"judge": f"`{self.judge}` at `{self.endpoint}`, {self.mode}",
                "calls to make": f"{self.calls:,} ({self.known:,} more are answered already)",
                "tokens to send": f"about {self.tokens_in:,}",
                "dollars": f"{low:.2f} to {high:.2f} ({basis}); the budget stops at "
                           f"{self.budget_usd:.2f}",
                "time": self.time}
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        note = f"\n\n**Note:** {self.note}" if self.note else ""
        return f"| plan | |\n|---|---|\n{table}{note}"


class Plans(dict[str, Plan]):
    """The plans of one notebook by what they are for; shown as one table with a sum."""

    @property
    def usd(self) -> tuple[float, float]:
        """Dollars in all, (low, high)."""
        return sum(p.usd[0] for p in self.values()), sum(p.usd[1] for p in self.values())

    def _repr_markdown_(self) -> str:
        rows = [f"| {name} | `{p.judge}` | {p.calls:,} | {p.known:,} | {p.usd[0]:.2f} to "
                f"{p.usd[1]:.2f} | {p.budget_usd:.2f} | {p.time} |" for name, p in self.items()]
        calls, known = (sum(getattr(p, n) for p in self.values()) for n in ("calls", "known"))
        total = f"| **in all** | | {calls:,} | {known:,} | {self.usd[0]:.2f} to {self.usd[1]:.2f} "
        about: dict[str, list[str]] = {}
        for name, one in self.items():
            about.setdefault(one.note, []).append(name)
        notes = "".join(f"\n\n**Note** ({', '.join(names)}): {note}"
                        for note, names in about.items() if note)
        return "\n".join(["| plan | who answers | calls to make | answered already | dollars | "
                          "stops at | time |", "|---|---|---|---|---|---|---|", *rows,
                          total + "| | |"]) + notes


def plan(questions: Sequence[Question], judge: Judge, *, log: Path, mode: str = "online",
         batches: bool = False) -> Plan:
    """What asking the questions that `log` does not answer yet would take.

    `batches` says that the caller can also ask in batches, so that they are proposed.
    """
    rows: list[dict[str, Any]] = []
    if log.exists():
        with AppendLog(log) as judgments:       # which sets a torn last line aside
            rows = judgments.rows
    known = {row.get("key") for row in rows}
    asked = {q.key(judge.identity): q for q in questions}
    todo = {key: q for key, q in asked.items() if key not in known}
    seen = [row["output_tokens"] / row["calls"] for row in rows
            if row.get("judge") == judge.name and row.get("output_tokens")]
    mean = sum(seen) / len(seen) if seen else 0.0
    out = (0.8 * mean, 1.3 * mean) if seen else REPLY_TOKENS
    sent = sum(input_tokens(q) for q in todo.values())
    share = BATCH_PRICE if mode == "batch" else 1.0
    usd = (share * judge.usd(0.7 * sent, out[0] * len(todo)),
           share * judge.usd(sent, out[1] * len(todo)))
    return Plan(judge.name, judge.endpoint, len(todo), len(asked) - len(todo), sent, usd,
                judge.budget_usd, _time(judge, len(todo), mode), bool(seen), mode,
                _note(judge, usd[1], batches and mode == "online" and len(todo) >= LARGE))


def _time(judge: Judge, calls: int, mode: str) -> str:
    if judge.provider == "offline":
        return "seconds"
    if mode == "batch":
        return "within a day"
    rate = judge.requests_per_minute or GUESS_PER_MINUTE
    basis = "" if judge.requests_per_minute else (
        "; the first reply tells what the account really may do")
    return f"about {duration(calls / rate * 60)} at {rate:.0f} calls a minute{basis}"


def _note(judge: Judge, high_usd: float, propose_batch: bool) -> str:
    notes = [check_model(judge.model)] if judge.provider == "anthropic" else []
    if high_usd > judge.budget_usd:
        notes.append("The budget may not be enough; it stops the run and keeps what was answered.")
    if judge.provider == "anthropic" and propose_batch:
        notes.append("label_ai.mode=batch asks the same for half the price, within a day.")
    if judge.provider == "offline":
        notes.append("The judge is a stand-in without a model; its answers show the method only.")
    return " ".join(note for note in notes if note)
