"""The screen of a panel: who is there, their own pairs, and disagreements to be settled.

Blind: it knows names and how much is answered, and the labels of others only where somebody
settles what they disagree on, without names, when nobody labels any more.
"""

from collections import Counter
from typing import Any

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.records import Label
from persuasion_lib.labeling.items import Item
from persuasion_lib.labeling.panel import ADJUDICATION, Panel
from persuasion_lib.labeling.widget import WORDS, LabelWidget, Status

_SETTLE = "Settle disagreements"


class PanelWidget(LabelWidget):
    """A labelling widget that begins with the question who is there.

    An annotator whom the settings name (`label_human.annotator`) is not asked.
    """

    def __init__(self, panel: Panel, **options: Any) -> None:
        self._panel = panel
        self._name: str | None = None
        first = next(iter(panel.sessions.values()))
        super().__init__(first, **options)

    def _begin(self) -> None:
        panel = self._panel
        named = panel.annotator in panel.sessions and panel.annotator not in panel.left
        if panel.work and named:
            self._show(*self._enter(panel.annotator))
        else:
            self._show("ready", "Choose who you are.")

    def _do(self, message: dict[str, Any]) -> Status:
        do = message.get("do")
        if do == "people":
            self._name = None
            self._panel.read_again()
            return "ready", "Choose who you are."
        if do == "person":
            return self._enter(str(message.get("name")))
        if self._name is None:
            return "ready", "Not counted: choose first who you are."
        return super()._do(message)

    def _enter(self, name: str) -> Status:
        panel = self._panel
        panel.read_again()
        if name == ADJUDICATION and self._to_settle():
            self._session = panel.adjudication()
        elif name in panel.sessions and panel.work and name not in panel.left:
            self._session = panel.work(name)
        else:
            raise PersuasionError(f"{name[:60]!r} has nothing to answer here.")
        self._name = name
        self._view = "label"
        who = "to settle disagreements" if name == ADJUDICATION else name
        return "ready", (f"Ready, {who}. {self._session.done} of {len(self._session.items)} "
                         "answered so far.")

    def _title(self, name: str) -> str:
        return _SETTLE.lower() if name == ADJUDICATION else name

    def _to_settle(self) -> int:
        """How many disagreements wait; none while somebody labels, who would see others' labels."""
        panel = self._panel
        return len(panel.disputed) if panel.rule == "adjudicated" and panel.is_labelled else 0

    def _show(self, kind: str, text: str, *, ack: str = "") -> None:
        if self._name is not None:
            super()._show(kind, text, ack=ack)
            self.state = {**self.state, "who": self._title(self._name)}
            return
        self.state = {"ack": ack, "status": {"kind": kind, "text": text}, "view": "people",
                      "done": 0, "total": 0, "pace": "", "pause": False, "made": 0, "hurry": "",
                      "recent": [], "flagged": [], "summary": [], "item": None, "who": "",
                      "people": self._people()}

    def _people(self) -> list[dict[str, Any]]:
        panel = self._panel
        found = [{"name": name, "title": name, "open": bool(panel.work) and name not in panel.left,
                  "text": f"{session.done} of {len(session.items)} answered"
                          + (", labels no more" if name in panel.left else "")}
                 for name, session in panel.sessions.items()]
        if panel.rule == "adjudicated":
            found.append({"name": ADJUDICATION, "title": _SETTLE, "open": self._to_settle() > 0,
                          "text": self._settling()})
        return found

    def _settling(self) -> str:
        if not self._panel.is_labelled:
            return "when everybody has answered all"
        session = self._panel.adjudication()
        return f"{len(session.items) - session.done} of {len(session.items)} to settle"

    def _item(self, item: Item) -> dict[str, Any]:
        found = super()._item(item)
        if self._name == ADJUDICATION:
            votes = self._panel.votes[item.pair.pair_id].values()
            # In an order of their own, or the place of a label would tell whose it is.
            words = Counter(self._words(item, vote.label, vote.pair.metadata) for vote in votes)
            found["given"] = [f"{count} × {text}" for text, count in sorted(words.items())]
        return found

    def _words(self, item: Item, label: Label, how: dict[str, Any]) -> str:
        """What one of the annotators said, in the order of the screen."""
        choice = "both_bad" if how.get("both_bad") else item.choice_for(label)
        more = [how.get("strength"), *how.get("reasons", ()), how.get("note")]
        return WORDS[choice] + "".join(f"; {text}" for text in more if text)
