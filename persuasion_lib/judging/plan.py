"""What a run would cost, before anything is spent."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persuasion_lib.core.progress import duration
from persuasion_lib.core.services import BUILT_IN
from persuasion_lib.core.store import KeyedLog
from persuasion_lib.judging.clients import AnthropicJudge, Judge, input_tokens
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.roles import check_model

REPLY_TOKENS = (80, 600)    # a short verdict, and one with a lot of thinking before it
BATCH_PRICE = 0.5           # of the normal price
LARGE = 500                 # calls from which a batch is proposed


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Calls, tokens, dollars (low, high) and time of a run; a notebook shows it as a table.

    `known` calls are answered already; the dollars are `measured` on earlier replies or a guess.
    """

    judge: str
    endpoint: str
    budget_usd: float
    calls: int = 0
    known: int = 0
    tokens_in: int = 0
    usd: tuple[float, float] = (0.0, 0.0)
    time: str = "seconds"
    measured: bool = False
    mode: str = "online"
    note: str = ""

    def _repr_markdown_(self) -> str:
        basis = "measured on earlier replies" if self.measured else "a guess before the first reply"
        batches = ", in batches" if self.mode == "batch" else ""
        spent = f"{_range(self.usd)} ({basis})" if self.usd[1] else "0.00"
        rows = {"judge": f"`{self.judge}` ({self.endpoint}){batches}",
                "calls to make": f"{self.calls:,}",
                "answered already": f"{self.known:,}",
                "tokens to send": f"about {self.tokens_in:,}" if self.tokens_in else "0",
                "dollars": f"{spent}; the budget stops at {self.budget_usd:.2f}",
                "time": self.time}
        table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
        note = f"\n\n**Note:** {self.note}" if self.note else ""
        return f"| plan | |\n|:--|:--|\n{table}{note}"


class Plans(dict[str, Plan]):
    """The plans of one notebook by what they are for; shown as one table with a sum."""

    def _repr_markdown_(self) -> str:
        lines = ["| plan | who answers | calls to make | answered already | dollars | time |",
                 "|---|---|---|---|---|---|"]
        notes: dict[str, list[str]] = {}
        for name, p in self.items():
            lines.append(f"| {name} | `{p.judge}` | {p.calls:,} | {p.known:,} | {_range(p.usd)} | "
                         f"{p.time} |")
            notes.setdefault(p.note, []).append(name)
        calls = sum(p.calls for p in self.values())
        known = sum(p.known for p in self.values())
        usd = (sum(p.usd[0] for p in self.values()), sum(p.usd[1] for p in self.values()))
        lines.append(f"| **in all** | | {calls:,} | {known:,} | {_range(usd)} | |")
        most = {f"{p.budget_usd:.2f}" for p in self.values()}
        lines.append(f"\nThe log of each line stops at {' or '.join(sorted(most))} dollars.")
        return "\n".join(lines) + "".join(f"\n\n**Note** ({', '.join(names)}): {note}"
                                          for note, names in notes.items() if note)


def _range(usd: tuple[float, float]) -> str:
    low, high = (f"{value:.2f}" for value in usd)
    return low if low == high else f"{low} to {high}"


def plan(asked: Mapping[Any, Question], judge: Judge, *, log: Path, mode: str = "online",
         batches: bool = False) -> Plan:
    """What asking the questions that `log` does not answer yet would take.

    `batches` says that the caller can also ask in batches, so that they are proposed.
    """
    seen: list[float] = []
    places: Counter[str] = Counter()

    def look(row: Mapping[str, Any]) -> None:
        if row.get("judge") == judge.name and row.get("output_tokens"):
            seen.append(row["output_tokens"] / max(1, row["calls"]))
        if row.get("judge") == judge.name and not judge.gave(row):
            places[row["endpoint"]] += 1

    rows = KeyedLog.rows_in(log, each=look)
    keys = {name: judge.key_of(question, rows) for name, question in asked.items()}
    name_of = {key: name for name, key in keys.items()}
    todo = [name for key, name in name_of.items() if key not in rows]
    tokens_in = sum(input_tokens(asked[name]) for name in todo)
    short, long = REPLY_TOKENS
    if seen:
        mean = sum(seen) / len(seen)
        short, long = 0.8 * mean, 1.3 * mean
    share = BATCH_PRICE if mode == "batch" else 1.0
    low = share * judge.usd(0.7 * tokens_in, short * len(todo))
    high = share * judge.usd(tokens_in, long * len(todo))
    propose_batch = batches and mode == "online" and len(todo) >= LARGE
    return Plan(judge=judge.name, endpoint=judge.endpoint, budget_usd=judge.budget_usd,
                calls=len(todo), known=len(name_of) - len(todo), tokens_in=tokens_in,
                usd=(low, high), time=_time(judge, len(todo), mode), measured=bool(seen),
                mode=mode, note=" ".join(filter(None, (
                    _note(judge, high, propose_batch), _elsewhere(judge, places) if todo else ""))))


def _elsewhere(judge: Judge, places: Counter[str]) -> str:
    """What a log has of the same name at other addresses, and how to keep it if the server moved.
    """
    if not places:
        return ""
    (place, count), *_ = places.most_common(1)
    said = (f"The log has {count:,} answers of {judge.name} at {place}; another model may have "
            "given them, so they do not count.")
    return said if judge.provider in BUILT_IN else (
        f"{said} If it is the same server, moved, set servers.{judge.provider}.same_as={place}.")


def _time(judge: Judge, calls: int, mode: str) -> str:
    if judge.is_local:
        return "seconds" if judge.provider == "offline" else "as fast as the server answers"
    if mode == "batch":
        return "within a day"
    rate = judge.starts_per_minute
    basis = "the first reply tells what the account really may do"
    return (f"about {duration(calls / rate * 60)} at {rate:.0f} calls a minute"
            + (f"; {basis}" if not judge.requests_per_minute else ""))


def _note(judge: Judge, high_usd: float, propose_batch: bool) -> str:
    is_claude = isinstance(judge, AnthropicJudge)
    notes = [check_model(judge.model)] if is_claude else []
    if high_usd > judge.budget_usd:
        notes.append("The budget may not be enough; it stops the run and keeps what was answered.")
    if is_claude and propose_batch:
        notes.append("label_ai.mode=batch asks the same for half the price, within a day.")
    if judge.provider == "offline":
        notes.append("The judge is a stand-in without a model; its answers show the method only.")
    return " ".join(note for note in notes if note)
