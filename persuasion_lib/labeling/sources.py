"""Whose labels notebook 02 works with: of logs, stand-ins or files, of one person or of several."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from persuasion_lib.core.brought import brought_labels, read_brought
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.fields import notes_on_roles
from persuasion_lib.core.records import LabeledPair, Pair, content_id
from persuasion_lib.core.stage import StageRun
from persuasion_lib.demo.standins import ANNOTATOR_NAME, SimulatedAnnotator
from persuasion_lib.labeling.events import EventLog, read_events
from persuasion_lib.labeling.opening import Asked, Fitting, read_guidelines
from persuasion_lib.labeling.panel import ADJUDICATION, Panel, Shared, settling
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.shares import assigned, shared_pairs

FIRST, SECOND = "simulated", "second stand-in"
_TASTE = (0.3, 0.1)     # of the second: as steady as the first, with a liking for the longer reply


def asked_of(run: StageRun, pairs: Sequence[Pair]) -> Asked:
    """What annotators of this run are asked about."""
    settings = run.config.label_human
    return Asked(pairs, read_guidelines(run.config), seed=run.config.seed,
                 repeat_fraction=settings.repeat_fraction, checks=settings.checks)


def logs_of(run: StageRun, *names: str) -> dict[str, Path]:
    """The logs of all annotators who have one, and those that these names will have."""
    own = run.path("human_events")
    prefix = own.name.removesuffix(f"{run.config.label_human.annotator}.jsonl")
    there = {log.name.removeprefix(prefix).removesuffix(".jsonl"): log
             for log in sorted(own.parent.glob(f"{prefix}*.jsonl"))}
    return {name: own.with_name(f"{prefix}{name}.jsonl") for name in names} | there


def _log_of(run: StageRun, name: str) -> Path:
    """The log of an annotator.

    Raises:
        ConfigError: a log is there under another spelling of the name, so whose is it?
    """
    logs = logs_of(run, name)
    for spelling, other in logs.items():
        if spelling != name and spelling.casefold() == name.casefold():
            raise ConfigError(f"{other} is the log of {spelling}. If {name} is the same person, "
                              f"write {spelling} in label_human; if not, take another name.")
    return logs[name]


def _panel(run: StageRun, asked: Asked, read: Callable[[], dict[str, Session]],
           **options: Any) -> Panel:
    settings = run.config.label_human
    unknown = {*settings.left, *settings.stand_ins} - {*settings.annotators}
    if unknown and settings.annotators:
        raise ConfigError(f"label_human.left or stand_ins names {', '.join(sorted(unknown))}, who "
                          "is not in label_human.annotators. Correct the name.")
    log = run.path("adjudications")
    options = {"settle": lambda pairs: settling(asked, pairs, EventLog(log)),
               "annotator": settings.annotator} | options
    return Panel(asked.pairs, read, rule=settings.labels_from, **options)


def of_logs(run: StageRun, asked: Asked, people: Sequence[str]) -> Session | Panel:
    """What people answer in the widget; one person's session can be written to at once."""
    settings = run.config.label_human
    if len(people) < 2:
        name = people[0] if people else settings.annotator
        return asked.by_log(name, _log_of(run, name))
    logs = {name: _log_of(run, name) for name in people}
    shared = Shared(asked, people, lambda name: read_events(logs[name]),
                    settings.overlap, settings.left)
    return _panel(run, asked, shared.read, left=settings.left,
                  work=lambda name: shared.write(name, EventLog(logs[name])))


def of_stand_ins(run: StageRun, asked: Asked, people: Sequence[str]) -> Session | Panel:
    """The stand-in's answers; of several, with a noise and a bias each, on shares as people have.

    With `label_human.second_stand_in` the one that labels everything has a second one beside it.
    """
    settings = run.config.label_human
    if len(people) < 2 and not settings.second_stand_in:
        return asked.by_stand_in(SimulatedAnnotator(seed=run.config.seed))
    options: dict[str, Any] = {"settle": lambda pairs: replace(
        asked, pairs=pairs, repeat_fraction=0, checks=0).by_stand_in(
        _stand_in(asked, ADJUDICATION), ADJUDICATION), "who": ANNOTATOR_NAME}
    if len(people) < 2:
        return _panel(run, asked, lambda: _two_stand_ins(run, asked), annotator=FIRST, **options)
    shares = assigned(asked.pairs, people, seed=asked.seed, overlap=settings.overlap,
                      answered={}, left=settings.left)
    return _panel(run, asked, lambda: {
        name: replace(asked, pairs=shares[name]).by_stand_in(
            _stand_in(asked, name, *settings.stand_ins.get(name, ())), name)
        for name in people}, left=settings.left, **options)


def _stand_in(asked: Asked, name: str, noise: float = 0.3, bias: float = 0.0) -> SimulatedAnnotator:
    return SimulatedAnnotator(int(content_id(asked.seed, name, length=8), 16), noise=noise,
                              bias=bias)


def _two_stand_ins(run: StageRun, asked: Asked) -> dict[str, Session]:
    """The stand-in that labels everything, as it does alone, and a second one on the overlap."""
    overlap = shared_pairs(asked.pairs, seed=asked.seed, overlap=run.config.label_human.overlap)
    shared = replace(asked, pairs=[pair for pair in asked.pairs if pair.pair_id in overlap])
    return {FIRST: asked.by_stand_in(SimulatedAnnotator(seed=run.config.seed), FIRST),
            SECOND: shared.by_stand_in(_stand_in(asked, SECOND, *_TASTE), SECOND)}


def of_files(run: StageRun, asked: Asked, people: Sequence[str]) -> Session | Panel:
    """A session that knows the labels of files as if they had been given in it; one for each of
    several people, who were asked about what they labelled."""
    files = _label_files(run)
    fitting = Fitting(asked.pairs)
    for path in files:
        read_brought(path, "labels", fitting)
        run.warnings += notes_on_roles(path.name, fitting.roles)
        fitting.roles.clear()
    votes = [label for own in fitting.people.values() for label in own]
    run.warnings += _who_labelled(votes, files)
    found = _chosen(run, fitting.people, people)
    if len(found) > 1:
        log = run.path("adjudications")
        panel = _panel(run, asked, lambda: {
            name: _asked_about(asked, labels).by_labels(name, labels)
            for name, labels in found.items()},
            settle=lambda pairs: settling(asked, pairs, EventLog(log), fitting.settled))
        run.warnings += _other_rule(fitting.of_votes, panel)
        return panel
    labels = next(iter(found.values()), [])
    return asked.by_labels(run.config.label_human.annotator, labels)


def _other_rule(given: Sequence[LabeledPair], panel: Panel) -> list[str]:
    """A note where the votes of a file give other labels than its rows have."""
    rows = {label.pair.pair_id: label.label for label in given}
    made = {label.pair.pair_id: label.label for label in panel.labels()}
    others = [pair_id for pair_id, label in rows.items() if made.get(pair_id, label) != label]
    if not others:
        return []
    return [f"{len(others)} pairs have another label in the file than its votes give by "
            f"label_human.labels_from={panel.rule} (first: {others[0]}): what the votes give "
            "counts. Name the rule that made the file to have its labels."]


def _asked_about(asked: Asked, labels: Sequence[LabeledPair]) -> Asked:
    """Whoever labelled elsewhere was asked about what they labelled."""
    ids = {label.pair.pair_id for label in labels}
    return replace(asked, pairs=[pair for pair in asked.pairs if pair.pair_id in ids])


def _chosen(run: StageRun, found: dict[str, list[LabeledPair]],
            people: Sequence[str]) -> dict[str, list[LabeledPair]]:
    """The labels of those people of a file who are in `label_human.annotators`, or of all."""
    found = dict(sorted(found.items()))     # whoever stands in the first row
    wanted = [name.casefold() for name in people]
    if not wanted or not found:
        return found
    kept = {name: found[name] for name in found if name.casefold() in wanted}
    if missing := set(wanted) - set(map(str.casefold, kept)):
        raise ConfigError(f"no label of the file was given by {', '.join(sorted(missing))}, who "
                          "stands in label_human.annotators. It names "
                          f"{', '.join(map(repr, found))[:300]}.")
    if others := found.keys() - kept:
        run.warnings.append(f"The labels of {len(others)} other people in the file do not count "
                            "(label_human.annotators).")
    return kept


def _label_files(run: StageRun) -> list[Path]:
    """The file of `label_human.path`, or those of the folder `data.path`; both belong to the run.

    Raises:
        ConfigError: there is none, or it is the one that this notebook writes.
    """
    files = brought_labels(run.config, "human_pool")
    if not files:
        raise ConfigError("label_human.source=file needs label_human.path, a labelled JSONL file.")
    run.config.named_file("label_human.path" if run.config.label_human.path else "data.path")
    if run.path("human_pool_labeled") in [path.resolve() for path in files]:
        raise ConfigError(f"{files[0]} is the file that this notebook writes. Copy it elsewhere "
                          "and set label_human.path to the copy.")
    return files


def _who_labelled(given: Sequence[LabeledPair], files: Sequence[Path]) -> list[str]:
    """A note where the labels of a person's file say that something else gave them."""
    others = Counter(label.labeled_by for label in given)
    for person in ("human", "unknown"):
        del others[person]
    if not others:
        return []
    named = ", ".join(f"{count} by {name!r:.60}" for name, count in others.items())
    return [f"{files[0].name}: of {len(given)} labels the file says that they were given "
            f"{named}. They are used as it says, in the place of a person's."]
