"""Ask a judge: what its log holds already is not asked again."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.lazy import Lazy
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import AppendLog, KeyedLog
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import Question
from persuasion_lib.judging.rows import Cost, Ledger, errors_path
from persuasion_lib.judging.run import Run

N = TypeVar("N", bound=Hashable)


def check_unique(ids: Iterable[str]) -> None:
    """Refuse two things with one id: their answers could not be told apart."""
    for item_id, count in Counter(ids).items():
        if count > 1:
            raise DataError(f"the id {item_id!r} occurs {count} times; ids must be unique")


@dataclass
class Answers(Generic[N]):
    """Rows of the log by the question's name, the reason where there is none, and the cost."""

    rows: Mapping[N, dict[str, Any]]
    errors: dict[N, str]
    ledger: Ledger
    faults: Counter[str]

    def verdicts(self, field: str) -> dict[N, Any]:
        """One field of every verdict, by the question's name."""
        return {name: row["verdict"][field] for name, row in self.rows.items()}


def ask_all(asked: Mapping[N, Question], judge: Judge, *, log: Path,
            given_up: Mapping[str, str] | None = None) -> Answers[N]:
    """Ask what the log does not hold yet and return all verdicts; equal questions are asked once.

    `given_up` has the reason by key of questions that will not be asked.

    Raises:
        JudgingStopped: no further call can succeed or be paid; the message says why.
        KeyboardInterrupt: after what was paid has been saved.
    """
    cost = Cost()
    keys: dict[N, str] = {}
    with (KeyedLog(log, agree_on="verdict", each=cost.add) as judgments,
          AppendLog(errors_path(log), each=cost.add) as failures):
        for name, question in asked.items():
            keys[name] = key = judge.key_of(question, judgments.by_key)
            if key in judgments.by_key:
                _refuse_damage(judgments.by_key[key], question, log)
        name_of = {key: name for name, key in keys.items()}
        before = replace(cost)
        run = Run(judge, judgments, failures, before.at_most_usd,
                  Lazy(name_of, asked.__getitem__))
        run.errors |= given_up or {}
        run.todo.extend(key for key in judgments.missing(name_of) if key not in run.errors)
        if run.todo:
            run.drive(f"asking {judge.name}")
        found = judgments.by_key
    ledger = Ledger(**asdict(cost), run_calls=cost.calls - before.calls,
                    run_usd=cost.usd - before.usd)
    errors = {name: run.errors[key] for name, key in keys.items() if key not in found}
    for name in errors:
        del keys[name]
    return Answers(Lazy(keys, found.__getitem__), errors, ledger, run.faults)


def _refuse_damage(row: Mapping[str, Any], question: Question, log: Path) -> None:
    """A verdict of the log counts for the rest of the project, so it must be one."""
    verdict = row["verdict"]
    is_sound = (isinstance(verdict, dict) and question.accepts(verdict)
                and row.get("order") == list(question.order)
                and all(isinstance(row.get(name), str) for name in ("model", "prompt")))
    if not is_sound:
        raise DataError(f"{log}: the judgment {row['key']} is damaged. Remove its line, and the "
                        "question is asked again; or restore the file from a copy.")


def ask_for(run: StageRun, asked: Mapping[N, Question], judge: Judge, *, log: str,
            lacking: str) -> Answers[N]:
    """`ask_all` for a stage; what stays open is in its manifest as "3 " and `lacking`."""
    answers = ask_all(asked, judge, log=run.path(log))
    note_open(run, lacking, answers.errors.values(), asked=len(asked), log=log)
    return answers


def kinds_of(errors: Iterable[str]) -> dict[str, int]:
    """Why questions have no answer, the most frequent reason first."""
    return dict(Counter(reason.partition(":")[0] for reason in errors).most_common())


def note_open(run: StageRun, what: str, errors: Iterable[str], *, asked: int, log: str) -> None:
    """Record in a stage's manifest what has no answer; `log` names the file of the answers."""
    run.note_open(what, kinds_of(errors), of=asked, see=errors_path(run.path(log)))
