"""The screen of a `Session`: what is sent to the browser, and what its keys do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets
from markdown_it import MarkdownIt

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.progress import duration
from persuasion_lib.core.records import render_text
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.summary import sentences

_HERE = Path(__file__).parent
# Texts are untrusted: no HTML passes through, and nothing is left that could load or be followed.
_MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(
    ["image", "autolink", "link", "reference", "html_block", "html_inline"])
WORDS = {"first": "first better", "second": "second better", "tie": "tie", "skip": "skipped"}


class LabelWidget(anywidget.AnyWidget):
    """The labelling widget. The browser sends one message per key and waits for its answer.

    Every change of `state` carries the id of the message that it answers (`ack`) and a status
    that is true at that moment: "Saved" is sent after the event is on disk, never before.
    """

    _esm = _HERE / "widget.js"
    _css = _HERE / "widget.css"
    state = traitlets.Dict().tag(sync=True)
    guidelines = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session, *, break_every: int) -> None:
        super().__init__(guidelines=_MARKDOWN.render(session.guidelines))
        self._session, self._break_every, self._view = session, break_every, "label"
        self._show("ready", f"Ready. {session.done} of {len(session.items)} answered so far.")
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], buffers: Any = None) -> None:
        try:
            kind, text = self._do(message)
        except PersuasionError as error:
            kind, text = "error", f"NOT SAVED: {error}"
        self._show(kind, text, ack=message.get("id", ""))

    def _do(self, message: dict[str, Any]) -> tuple[str, str]:
        session, do, token = self._session, message.get("do"), str(message.get("token"))
        self._view = "quit" if do == "quit" else "label"
        if do == "choose":
            choice = message.get("choice")
            if session.choose(token, choice, float(message.get("seconds", 0.0))):
                return "saved", self._after(choice)
        elif do == "flag":
            flagged, note = bool(message.get("flagged")), str(message.get("note", ""))[:2000]
            if session.flag(token, flagged=flagged, note=note):
                return "saved", f"Saved: {'flagged' if flagged else 'not flagged'}" + (
                    ", with a note." if note else ".")
        elif do == "undo":
            return ("saved", "Saved: taken back.") if session.undo() else (
                "ready", "Nothing to take back.")
        elif do == "open":
            return ("ready", "Answer this one again, or Undo to take the last answer back."
                    ) if session.open(token) else ("ready", "That one is not answered yet.")
        elif do in ("quit", "resume"):
            return "saved", "Everything answered so far is saved."
        return "ready", "Not counted: that pair is no longer on screen."

    def _after(self, choice: str) -> str:
        if choice != "skip":
            return f"Saved: {WORDS[choice]}. {self._session.done} answered."
        back = self._session.recent(1)[0][0]
        left_out = self._session.answered(back.key)
        return f"Saved: {'left out for good' if left_out else 'skipped, comes back at the end'}."

    def _show(self, kind: str, text: str, *, ack: str = "") -> None:
        session, item = self._session, self._session.current
        view = self._view if item is not None or self._view == "quit" else "done"
        self.state = {
            "ack": ack, "status": {"kind": kind, "text": text}, "view": view,
            "done": session.done, "total": len(session.items), "pace": self._pace(),
            "pause": session.break_due(self._break_every), "made": session.made,
            "recent": [{"token": session.token(past), "choice": WORDS[choice],
                        "text": _opening(past.pair.prompt)} for past, choice in session.recent()],
            "summary": sentences(session) if view != "label" else [],
            "item": self._item() if view == "label" else None,
        }

    def _item(self) -> dict[str, Any]:
        item = self._session.current
        first, second = item.shown
        flagged, note = self._session.flag_of(item)
        before = self._session.choice_of(item)
        texts = {"prompt": render_text(item.pair.prompt), "first": first, "second": second}
        return {"token": self._session.token(item), "flagged": flagged, "note": note,
                "before": WORDS[before["choice"]] if before else "",
                **{name: {"raw": text, "html": _MARKDOWN.render(text)}
                   for name, text in texts.items()}}

    def _pace(self) -> str:
        seconds = self._session.median_seconds
        remaining = len(self._session.items) - self._session.done
        if seconds is None or not remaining:
            return ""
        left = duration(max(1, round(seconds * remaining / 60)) * 60).removesuffix(" 0 s")
        return f"median {seconds:.0f} s, about {left} left"


def _opening(prompt: list[dict[str, str]]) -> str:
    return " ".join(prompt[-1]["content"].split())[:90]
