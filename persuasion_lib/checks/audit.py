"""Which checks do somebody's files allow, and what do they say? The command `persuasion audit`.

A file is known by what is in it, not by its name: only the two sides of a split, and what belongs
together, go by names.
"""

import re
import textwrap
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persuasion_lib.checks import training
from persuasion_lib.checks.belonging import (
    is_part,
    known,
    labels_of_logs,
    labels_of_pools,
    parts_of,
    splits_of,
)
from persuasion_lib.checks.check import Check, Finding, look
from persuasion_lib.checks.material import (
    Kinds,
    is_by_judge,
    of_evaluation,
    of_labels,
    of_outcomes,
    of_pool,
    of_targets,
    together,
)
from persuasion_lib.checks.people import of_two_models
from persuasion_lib.checks.registry import KINDS, REGISTRY, checks_of
from persuasion_lib.core.brought import ENDINGS, MADE_BY, PARSERS, read_brought
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError, MissingInput
from persuasion_lib.core.foreign import read_each
from persuasion_lib.core.forms import as_ours
from persuasion_lib.core.reading import read_text
from persuasion_lib.core.records import Example, LabeledPair, Pair
from persuasion_lib.core.store import read_json
from persuasion_lib.labeling.agreement import judge_against_annotator
from persuasion_lib.reporting.evaluated import tabulated
from persuasion_lib.reporting.evaluation_file import parse

WIDTH = 100
COLUMN = 38
APART = {"runs", "trial", "given"}      # folders of other experiments below our own
# A field by which one knows a row, and the kind of file that it is a row of.
_ROWS = {"per_example": "evaluation", "chosen": "labels", "response_1": "pairs",
         "ranks": "people's rankings", "input_text": "examples", "event": "event log",
         "verdict": "judgment log", "history": "DPO log"}
_OUR_OWN = set(_ROWS) - {"chosen"}


@dataclass
class Given:
    """What files hold, by kind and name; `notes` are the files that could not be read, and why."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def of(self, kind: str) -> dict[str, Any]:
        """Everything of a kind, by file."""
        return self.files.setdefault(kind, {})


def gather(paths: Sequence[Path]) -> Given:
    """Read every file that is one of ours by its fields, in folders and below.

    Raises:
        MissingInput: a path is not there.
    """
    given = Given()
    for path in paths:
        if not path.exists():
            raise MissingInput(f"{path} is missing. Give a folder, or files, to look at.")
        found = _own_files(path) if path.is_dir() else [path]
        for file in found:
            if file.is_file() and file.suffix in ENDINGS:
                name = str(file.relative_to(path)) if path.is_dir() else file.name
                _read(given, file, name)
    for kind, files in given.files.items():
        short = _short(files)
        given.files[kind] = {short[name]: content for name, content in files.items()}
    return given


def _own_files(folder: Path) -> list[Path]:
    """All files below a folder but those of runs with a name, trials and foreign evaluations.

    They share conversations with the project's own by design; such a folder may be named itself.
    """
    return sorted(file for file in folder.rglob("*")
                  if not APART & set(file.relative_to(folder).parts))


def _read(given: Given, file: Path, name: str) -> None:
    """Read one file into `given`; what is not of ours is left alone, what is broken is noted."""
    try:
        content = _content(file)
    except DataError as error:
        given.notes.append(str(error))
        return
    rows = [row for row in content if isinstance(row, dict)]
    first = next((row for row in rows if "chosen" in row), rows[0] if rows else {})
    kind = next((kind for key, kind in _ROWS.items() if key in first), None)
    if not content and re.search(r"_(?:train|val)\.", name):
        kind = "labels"         # a side of a split that nothing is on
    if kind is None:
        return
    try:
        given.of(kind)[name] = parsed = _parsed(kind, file, content)
        if kind == "DPO log" and training.begins_as_its_reference(file.parent):
            given.of("DPO start")[name] = parsed
    except DataError as error:
        given.notes.append(f"{name}: {error}" if name not in str(error) else str(error))


def _content(file: Path) -> list[dict[str, Any]]:
    """Its rows, those of other tools in our form; one document is one row."""
    if file.suffix == ".json" and not read_text(file, made_by=MADE_BY).lstrip().startswith("["):
        return [read_json(file, made_by=MADE_BY)]
    return read_each(file, lambda r: r if _OUR_OWN & set(r) else as_ours(r), made_by=MADE_BY)


def _parsed(kind: str, file: Path, content: list[dict[str, Any]]) -> Any:
    if kind in PARSERS:
        return read_brought(file, kind)
    if kind == "evaluation":
        return tabulated(parse(content[0]))
    return training.steps_of(content[0]) if kind == "DPO log" else content


def _short(names: Iterable[str]) -> dict[str, str]:
    """A file's own name where no other file has it; else with its folders."""
    names = list(names)
    own = Counter(Path(name).name for name in names)
    return {name: Path(name).name if own[Path(name).name] == 1 else name for name in names}


def material(given: Given, config: Config) -> Kinds:
    """What the checks look at: the files, and what belongs together."""
    pairs = given.of("pairs")
    minds = {name: rows for name, rows in given.of("labels").items() if of_outcomes(rows)}
    labels = {name: rows for name, rows in given.of("labels").items() if name not in minds}
    logs = {name: rows for name, rows in given.of("judgment log").items() if _compares(rows)}
    dpo, starts = ({name: log for name, log in given.of(kind).items() if training.is_of_dpo(log)}
                   for kind in ("DPO log", "DPO start"))
    whole = {name: rows for name, rows in labels.items() if not is_part(name, rows, labels)}
    judges = {name: rows for name, rows in whole.items() if is_by_judge(rows)}
    people = {name: rows for name, rows in whole.items() if name not in judges}
    # Comparisons of final replies teach nobody: they are no pool.
    texts = {name: [label.pair for label in rows] for name, rows in whole.items()
             if not of_two_models(rows)}
    pools = pairs | {name: rows for name, rows in texts.items() if not known(rows, pairs.values())}
    examples = given.of("examples")
    return together(
        *(of_pool(name, rows) for name, rows in pools.items()),
        *(of_labels(name, rows) for name, rows in whole.items()),
        *(of_targets(name, rows) for name, rows in examples.items() if "sft" in name),
        *(of_evaluation(name, data, config.analysis.primary)
          for name, data in given.of("evaluation").items()),
        {"split": splits_of(labels), "split and labels": parts_of(labels),
         "event log": given.of("event log"), "judgment log": logs,
         "minds": minds, "people's rankings": given.of("people's rankings"),
         "DPO log": dpo, "DPO start": starts, "pool and labels": labels_of_pools(pairs, whole),
         "labels and log": labels_of_logs(judges, logs), "sets": _sets(examples, pools),
         "agreement": _agreements(people, judges, config.seed)})


def _compares(log: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a log holds verdicts on replies, and not replies of an oracle or tactics."""
    verdict = log[0]["verdict"]
    return isinstance(verdict, dict) and ("choice" in verdict or "ranking" in verdict)


def _agreements(people: Mapping[str, list[LabeledPair]], judges: Mapping[str, list[LabeledPair]],
                seed: int) -> dict[str, Any]:
    found = {f"{person} and {judge}": judge_against_annotator(judged, labels, seed=seed)
             for person, labels in people.items() for judge, judged in judges.items()}
    of_each = {f"{files}, {name}": one for files, result in found.items()
               for name, one in result.get("people", {}).get("judge", {}).items()}
    return {name: result for name, result in (found | of_each).items() if result["both"]}


def _sets(examples: Mapping[str, list[Example]],
          pools: Mapping[str, list[Pair]]) -> dict[str, Any]:
    """All rows by set, once each: prompts of a pool are in its pairs."""
    sets: dict[str, Any] = {name: rows for name, rows in examples.items()
                            if "_pool_prompts" not in name}
    for name, rows in sorted(pools.items(), key=lambda item: -len(item[1])):
        if not known(rows, [known for known in sets.values()
                             if known and isinstance(known[0], Pair)]):
            sets[name] = rows
    return {"all sets": sets} if len(sets) > 1 else {}


def audit(given: Given, config: Config,
          rankings: Mapping[str, Any]) -> tuple[list[Finding], list[str]]:
    """Every check on everything there, and what could not be read or checked.

    Args:
        rankings: the analyses of the evaluations, by file.
    """
    things = material(given, config) | {"rankings": dict(rankings), "panel": {
        name: result["panel"] for name, result in rankings.items() if result["panel"]}}
    return look(REGISTRY, things, config), given.notes + missing(things)


def missing(things: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A sentence for each kind of file that is not there: what it would show."""
    lacking: dict[str, list[Check]] = {}
    for kind, needed in KINDS.items():
        if not things.get(kind):
            lacking.setdefault(needed, []).extend(checks_of(kind))
    return [f"{needed} is missing: {', '.join(check.name for check in checks)}"
            for needed, checks in lacking.items() if checks]


_ORDER = {"stop": "FOUND, STOPS", "warn": "FOUND", "allowed": "FOUND, ALLOWED",
          "not checked": "NOT CHECKED", "fine": "FINE"}


def as_table(findings: Sequence[Finding], notes: Sequence[str] = ()) -> str:
    """One table: what was found, what could not be checked because …, what is fine."""
    lines = []
    for state, title in _ORDER.items():
        rows = [found for found in findings if found.state == state]
        more = notes if state == "not checked" else ()
        if rows or more:
            lines += ["", title, *map(_wrapped, [*lines_of(state, rows), *more])]
    return "\n".join([*lines[1:], "", summary(findings, notes)])


def lines_of(state: str, findings: Sequence[Finding]) -> list[str]:
    """A line for each thing found; else one for each check: what kept it, or the worst figure."""
    if state not in ("fine", "not checked"):
        return [f"{found.check}: {found.text}" for found in findings]
    same: dict[tuple[str, str], list[Finding]] = defaultdict(list)
    for found in findings:
        same[found.check, "" if state == "fine" else found.text].append(found)
    if state == "fine":
        return [f"{check:{COLUMN}s} {_worst(alike)}" for (check, _), alike in same.items()]
    return [f"{check}: {why} [{'; '.join(found.subject for found in alike)}]"
            for (check, why), alike in same.items()]


def _worst(alike: Sequence[Finding]) -> str:
    """What one check says of the file or set that comes nearest to its limit."""
    worst = max(alike, key=lambda found: found.figure)
    which = "worst" if worst.figure else "each"
    return worst.text if len(alike) == 1 else f"{worst.text} ({which} of {len(alike)})"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent="  ", subsequent_indent="      ",
                         break_on_hyphens=False)


def summary(findings: Sequence[Finding], notes: Sequence[str] = ()) -> str:
    """How many of each, in a line."""
    count = {state: sum(found.state == state for found in findings) for state in _ORDER}
    return (f"{count['stop']} that stop, {count['warn']} warnings, {count['fine']} checked and "
            f"fine, {count['not checked'] + len(notes)} could not be checked"
            + (f", {count['allowed']} allowed (checks.allow)." if count["allowed"] else "."))
