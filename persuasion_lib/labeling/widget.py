"""The screen of a `Session`: what is sent to the browser, and what its keys do."""

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets
from markdown_it import MarkdownIt

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.progress import duration
from persuasion_lib.core.records import render_text
from persuasion_lib.labeling.difference import difference
from persuasion_lib.labeling.items import Item
from persuasion_lib.labeling.session import Session
from persuasion_lib.labeling.sitting import Sitting
from persuasion_lib.labeling.summary import session_in_words
from persuasion_lib.labeling.votes import PLAIN, Form

_HERE = Path(__file__).parent
# Texts are untrusted: no HTML passes through, and nothing is left that could load or be followed.
MARKDOWN = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(
    ["image", "autolink", "link", "reference", "html_block", "html_inline"])
_NOTE_CHARACTERS = 2000
Status = tuple[str, str]    # its kind ("saved", "ready", "error") and its text
WORDS = {"first": "first better", "second": "second better", "tie": "tie",
         "both_bad": "both bad", "skip": "skipped"}
STRENGTHS = ("slightly", "clearly", "much")
_HURRY = ("The last answers came faster than both replies can be read. There is no hurry; every "
          "key goes on working.")
_HURRY_EVERY = 10       # answers


class Screen(anywidget.AnyWidget):
    """The screen of a sitting. The browser sends one message per key and waits for its answer.

    Every change of `state` carries the id of the message that it answers (`ack`) and a status
    that is true at that moment: "Saved" is sent after the event is on disk, never before.
    """

    state = traitlets.Dict().tag(sync=True)
    guidelines = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Sitting[Any], *, break_every: int, **traits: Any) -> None:
        super().__init__(guidelines=MARKDOWN.render(session.guidelines), **traits)
        self._session = session
        self._break_every = break_every
        self._view = "label"
        self._begin()
        self.on_msg(self._receive)

    def _begin(self) -> None:
        session = self._session
        self._show("ready", f"Ready. {session.done} of {len(session.items)} answered so far.")

    def _receive(self, _: Any, message: dict[str, Any], buffers: Any = None) -> None:
        try:
            kind, text = self._do(message)
        except PersuasionError as error:
            kind, text = "error", f"NOT SAVED: {error}"
        self._show(kind, text, ack=message.get("id", ""))

    def _do(self, message: dict[str, Any]) -> Status:
        do = message.get("do")
        # Whatever else an annotator does after "quit" means that the work goes on.
        self._view = "quit" if do == "quit" else "label"
        if do in ("quit", "resume"):
            return "saved", "Everything answered so far is saved."
        if do == "undo":
            undone = self._session.undo()
            return ("saved", "Saved: taken back.") if undone else ("ready", "Nothing to take back.")
        # The rest is about one item, named by a token. It may have left the screen since the key
        # was pressed: the session then refuses, and the message must not count for the next one.
        status = self._about_item(str(do), message, str(message.get("token")))
        return status or ("ready", "Not counted: that is no longer on screen.")

    def _about_item(self, do: str, message: dict[str, Any], token: str) -> Status | None:
        """What a key did to the item of a token; None if that is no longer on screen."""
        raise NotImplementedError

    def _show(self, kind: str, text: str, *, ack: str = "") -> None:
        session = self._session
        view = self._view
        if view == "label" and session.current is None:
            view = "done"
        self.state = {
            "ack": ack, "status": {"kind": kind, "text": text}, "view": view,
            "done": session.done, "total": len(session.items), "made": session.made,
            "pace": pace_of(session), "pause": session.break_due(self._break_every),
            "item": self._item(session.current) if view == "label" else None,
            **self._lists(labelling=view == "label")}

    def _item(self, item: Any) -> dict[str, Any]:
        """An item as the browser shows it."""
        raise NotImplementedError

    def _lists(self, *, labelling: bool) -> dict[str, Any]:
        """What stands on the screen besides; `labelling` while an item is shown."""
        return {}


class LabelWidget(Screen):
    """The labelling widget, of pairs."""

    _esm = "\n".join((_HERE / name).read_text("utf-8") for name in ("screen.js", "widget.js"))
    _css = _HERE / "widget.css"
    form = traitlets.Dict().tag(sync=True)
    question = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: Session, *, form: Form = PLAIN, **options: Any) -> None:
        self._form = form
        super().__init__(session, question=_first_sentence(session.guidelines), form=asdict(form),
                         **options)

    def _about_item(self, do: str, message: dict[str, Any], token: str) -> Status | None:
        act = {"choose": self._choose, "flag": self._flag, "open": self._open}.get(do)
        return act(message, token) if act else None

    def _choose(self, message: dict[str, Any], token: str) -> Status | None:
        choice = message.get("choice")
        if choice == "both_bad" and not self._form.both_bad:
            return None
        if not self._session.choose(token, choice, float(message.get("seconds", 0.0)),
                                    more=self._more(choice, message)):
            return None
        return "saved", self._after(choice)

    def _more(self, choice: str, message: dict[str, Any]) -> dict[str, Any]:
        """How much better, and the reasons that were ticked, as far as the form asks for them."""
        more: dict[str, Any] = {}
        strength = message.get("strength")
        if self._form.strength and strength in STRENGTHS and choice in ("first", "second"):
            more["strength"] = strength
        ticked = message.get("reasons") or []
        if reasons := [text for text in self._form.reasons if text in ticked]:
            more["reasons"] = reasons
        return more

    def _flag(self, message: dict[str, Any], token: str) -> Status | None:
        flagged = bool(message.get("flagged"))
        note = str(message.get("note", ""))[:_NOTE_CHARACTERS]
        if not self._session.flag(token, flagged=flagged, note=note):
            return None
        said = "flagged" if flagged else "not flagged"
        return "saved", f"Saved: {said}, with a note." if note else f"Saved: {said}."

    def _open(self, message: dict[str, Any], token: str) -> Status:
        if not self._session.open(token):
            return "ready", "That one is not answered yet."
        return "ready", "Answer this one again, or Undo to take the last answer back."

    def _after(self, choice: str) -> str:
        if choice != "skip":
            return f"Saved: {WORDS[choice]}. {self._session.done} answered."
        skipped, _ = self._session.recent(1)[0]
        if self._session.answered(skipped.key):
            return "Saved: left out for good."
        return "Saved: skipped, comes back at the end."

    def _lists(self, *, labelling: bool) -> dict[str, Any]:
        session = self._session
        hurry = session.made and session.made % _HURRY_EVERY == 0 and session.in_a_hurry()
        return {"hurry": _HURRY if hurry and labelling else "",
                "recent": [self._line(item, choice) for item, choice in session.recent()],
                "flagged": [self._line(item, session.answer_of(item)["choice"])
                            for item in session.flagged],
                "summary": [] if labelling else session_in_words(session)}

    def _line(self, item: Item, choice: str) -> dict[str, str]:
        """An answered item in a list."""
        _, note = self._session.flag_of(item)
        return {"token": self._session.token(item), "choice": WORDS[choice],
                "text": _opening(item.pair.prompt), "note": note}

    def _item(self, item: Item) -> dict[str, Any]:
        first, second = item.shown
        flagged, note = self._session.flag_of(item)
        before = self._session.answer_of(item)
        *earlier, answered = item.pair.prompt
        return {"token": self._session.token(item), "flagged": flagged, "note": note,
                "before": WORDS[before["choice"]] if before else "", "given": [],
                "earlier": pane(render_text(earlier)), "prompt": pane(render_text([answered])),
                "first": pane(first), "second": pane(second),
                "difference": difference(first, second)}


def pace_of(session: Sitting[Any]) -> str:
    """The median seconds of an answer, and about how long the rest will take; "" at both ends."""
    seconds = session.median_seconds
    remaining = len(session.items) - session.done
    if seconds is None or not remaining:
        return ""
    left = duration(max(1, round(seconds * remaining / 60)) * 60).removesuffix(" 0 s")
    return f"median {seconds:.0f} s, about {left} left"


def pane(text: str) -> dict[str, str]:
    """A text as it is, and formatted, without any tag or address of its own."""
    return {"raw": text, "html": MARKDOWN.render(text)}


def _first_sentence(guidelines: str) -> str:
    """What is asked, to stay on the screen: the first sentence of the guidelines, unformatted."""
    text = " ".join(guidelines.replace("*", "").replace("#", "").split())
    found = re.match(r".{1,200}?[.?!](?=\s|$)", text)
    return found.group() if found else text[:200]


def _opening(prompt: list[dict[str, str]]) -> str:
    return " ".join(prompt[-1]["content"].split())[:90]
