"""Several annotators of one pool: what each is asked, what each said, and the labels that follow.

A panel answers the questions that a `Session` answers, of all of them together.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.progress import in_batch
from persuasion_lib.core.records import LabeledPair, Pair
from persuasion_lib.core.rehearsal import is_stand_in
from persuasion_lib.labeling.events import Event, EventLog
from persuasion_lib.labeling.opening import Asked, labels_of, refuse
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.shares import assigned
from persuasion_lib.labeling.votes import joined, majority

ADJUDICATION = " adjudication"      # nobody's name begins with a blank
Rows = Callable[[str], Sequence[Event]]     # an annotator's events, as they are now


class Panel:
    """The sessions of several annotators, read afresh whenever labels are made.

    They may be at work in other kernels, so these sessions only read; `work` opens one to write.

    Args:
        read: every annotator's session by name.
        settle: the session that settles disagreements on pairs; the same for everybody.
        rule: which label of several reaches training (`label_human.labels_from`).
        annotator: whose labels count by the rule "annotator".
        left: who labels no more, and is waited for no longer.
        who: the grader of labels that do not say theirs.
        work: opens an annotator's own session; None where nobody labels here.
    """

    def __init__(self, pairs: Sequence[Pair], read: Callable[[], dict[str, Session]],
                 settle: Callable[[Sequence[Pair]], Session], *, rule: str, annotator: str,
                 left: Collection[str] = (), who: str = "human",
                 work: Callable[[str], Session] | None = None) -> None:
        self.pool = list(pairs)     # to label, each once
        self.rule = rule
        self.annotator = annotator
        self.left = left
        self.who = who
        self.work = work
        self._read = read
        self._settle = settle
        self.read_again()
        if rule == "annotator" and annotator not in self.sessions:
            raise ConfigError(f"label_human.labels_from=annotator takes the labels of {annotator}, "
                              f"who is not among {', '.join(self.sessions)}. Name one of them in "
                              "label_human.annotator.")

    def read_again(self) -> None:
        """Read what everybody said until now."""
        self.sessions = self._read()
        self.votes: dict[str, dict[str, LabeledPair]] = {pair.pair_id: {} for pair in self.pool}
        for name, session in self.sessions.items():
            for label in labels_of(session, self.who):
                self.votes[label.pair.pair_id][name] = label

    @property
    def disputed(self) -> list[Pair]:
        """The pairs on which people gave different labels, in the order of the pool."""
        return [pair for pair in self.pool
                if len({vote.label for vote in self.votes[pair.pair_id].values()}) > 1]

    def adjudication(self) -> Session:
        """The session that settles the disagreements that there are now.

        It shows the labels and notes that were given without the names: who decides between two
        readings should weigh the texts, and not the people. It is for when nobody labels any more,
        since it shows what others said.
        """
        return self._settle(self.disputed)

    @property
    def is_labelled(self) -> bool:
        """Whether nobody has an answer left to give, repeats included."""
        return all(session.current is None for name, session in self.sessions.items()
                   if name not in self.left)

    @property
    def is_settled(self) -> bool:
        """Whether no disagreement waits for somebody to settle it."""
        return self.rule != "adjudicated" or self.adjudication().current is None

    @property
    def missing_of(self) -> dict[str, list[str]]:
        """By annotator, the ids of the pairs that they are asked about and have not answered."""
        counted = [self.annotator] if self.rule == "annotator" else self.sessions
        lacking = {name: self.sessions[name].missing for name in counted}
        return {name: ids for name, ids in lacking.items() if ids}

    @property
    def missing(self) -> list[str]:
        """Ids of the pairs that lack somebody's answer, or that nobody is asked about."""
        lacking = {pair_id for ids in self.missing_of.values() for pair_id in ids}
        if self.rule != "annotator":
            asked = {item.key for session in self.sessions.values() for item in session.pool}
            lacking |= {pair.pair_id for pair in self.pool} - asked
        return [pair.pair_id for pair in self.pool if pair.pair_id in lacking]

    @property
    def left_out(self) -> int:
        """How many pairs have no label because everybody who was asked skipped them twice."""
        lacking = set(self.missing)
        return sum(not votes for pair_id, votes in self.votes.items() if pair_id not in lacking
                   and (self.rule != "annotator" or self._was_asked(pair_id)))

    def _was_asked(self, pair_id: str) -> bool:
        return any(item.key == pair_id for item in self.sessions[self.annotator].pool)

    @property
    def foreign(self) -> int:
        """Answers on texts that the pool does not have."""
        return sum(session.foreign for session in self.sessions.values())

    def labels(self) -> list[LabeledPair]:
        """A label for each pair that has one by the rule."""
        settled = {}
        if self.rule == "adjudicated":
            settled = {label.pair.pair_id: label
                       for label in labels_of(self.adjudication(), self.who)}
        how = {"labeled_by": self._grader(), "labels_from": self.rule}
        found = [self._label(pair.pair_id, settled.get(pair.pair_id), how) for pair in self.pool]
        return [label for label in found if label]

    def _grader(self) -> str:
        """Who gave the labels; a stand-in among them is always named."""
        names = {vote.labeled_by for votes in self.votes.values() for vote in votes.values()}
        first, *others = sorted(names, key=lambda name: (not is_stand_in(name), name)) or [self.who]
        more = f" and {len(others)} more" if others else ""
        rule = f"{self.annotator}, one" if self.rule == "annotator" else self.rule
        return f"{first}{more} ({rule} of {len(self.sessions)})"

    def _label(self, pair_id: str, settled: LabeledPair | None,
               how: Mapping[str, Any]) -> LabeledPair | None:
        votes = self.votes[pair_id]
        if self.rule == "annotator":
            own = votes.get(self.annotator)
            return joined(votes, own.label, own=own, **how) if own else None
        labels = [vote.label for vote in votes.values()]
        if not labels:
            return None
        if self.rule == "adjudicated" and len(set(labels)) > 1:
            if settled is None:
                return joined(votes, None, **how)
            return joined(votes, settled.label, adjudicated=True, **how)
        return joined(votes, majority(labels), **how)


@dataclass(frozen=True)
class Shared:
    """Pairs that several annotators share out among them; each has a log that `rows` reads."""

    asked: Asked
    names: Sequence[str]
    rows: Rows
    overlap: float
    left: Sequence[str] = ()

    def read(self) -> dict[str, Session]:
        """What each annotator has answered of their share; nothing can be written."""
        shares = self._shares()
        return {name: _session(self.asked, shares[name], name, self.rows(name))
                for name in self.names}

    def write(self, name: str, log: EventLog) -> Session:
        """One annotator's session on their share, to be continued in their log."""
        return _session(self.asked, self._shares()[name], name, log.rows, log.append)

    def _shares(self) -> dict[str, list[Pair]]:
        whole = replace(self.asked, repeat_fraction=0, checks=0)
        everything = {name: _session(whole, whole.pairs, name, self.rows(name))
                      for name in self.names}
        answered = {name: {item.key for item in session.pool if session.answered(item.key)}
                    for name, session in everything.items()}
        return assigned(self.asked.pairs, self.names, seed=self.asked.seed, overlap=self.overlap,
                        answered=answered, left=self.left)


def settling(asked: Asked, pairs: Sequence[Pair], log: EventLog,
             known: Sequence[LabeledPair] = ()) -> Session:
    """The session of whoever settles disagreements on these pairs, each shown once; a file may
    bring what is settled already."""
    plain = replace(asked, repeat_fraction=0, checks=0)
    rows = [*plain.as_events(ADJUDICATION, known), *log.rows]
    return _session(plain, pairs, ADJUDICATION, rows, log.append)


def _session(asked: Asked, pairs: Sequence[Pair], name: str, rows: Sequence[Event],
             save: Callable[[Event], None] = refuse) -> Session:
    """A session on some of the pairs, with the events on what it shows.

    A pair that has moved to somebody else, or is not shown twice any more, is no foreign text.
    """
    own = replace(asked, pairs=pairs)
    shown = {item.key for item in own.session(name).items}
    pool = {pair.pair_id for pair in asked.pairs}
    kept = [row for row in rows if row.get("key") in shown or row.get("pair_id") not in pool]
    return own.session(name, kept, save)


def panel_screen(panel: Panel, source: str, **widget: Any) -> Any:
    """The widget, in which an annotator says who they are, or somebody settles disagreements; a
    sentence where nobody is to label now."""
    from IPython.display import Markdown

    to_settle = panel.rule == "adjudicated" and source != "simulated"
    if (source == "widget" or to_settle) and not in_batch():
        from persuasion_lib.labeling.chooser import PanelWidget

        return PanelWidget(panel, **widget)
    who = "simulated annotators (stand-ins)" if source == "simulated" else "annotators"
    return Markdown(f"No widget: {len(panel.labels())} labels of {len(panel.sessions)} {who}, "
                    f"{len(panel.missing)} are missing.")
