"""The screen of a `RankingSession`: what is sent to the browser, and what its keys do."""

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.records import render_text
from persuasion_lib.labeling.ranking import RankingSession
from persuasion_lib.labeling.widget import MARKDOWN, pace_of, pane

_HERE = Path(__file__).parent


class RankingWidget(anywidget.AnyWidget):
    """Replies in lettered places, to be put in order. No name of a model is ever sent.

    As in `LabelWidget` every change of `state` carries the id of the message that it answers, and
    "Saved" is sent after the order is on disk.
    """

    _esm = "\n".join((_HERE / name).read_text("utf-8") for name in ("screen.js", "ranking.js"))
    _css = "".join((_HERE / name).read_text("utf-8") for name in ("widget.css", "ranking.css"))
    state = traitlets.Dict().tag(sync=True)
    guidelines = traitlets.Unicode().tag(sync=True)

    def __init__(self, session: RankingSession, *, break_every: int) -> None:
        super().__init__(guidelines=MARKDOWN.render(session.guidelines))
        self._session = session
        self._break_every = break_every
        self._view = "label"
        self._show("ready", f"Ready. {session.done} of {len(session.items)} ranked so far.")
        self.on_msg(self._receive)

    def _receive(self, _: Any, message: dict[str, Any], buffers: Any = None) -> None:
        try:
            kind, text = self._do(message)
        except PersuasionError as error:
            kind, text = "error", f"NOT SAVED: {error}"
        self._show(kind, text, ack=message.get("id", ""))

    def _do(self, message: dict[str, Any]) -> tuple[str, str]:
        do, token = message.get("do"), str(message.get("token"))
        self._view = "quit" if do == "quit" else "label"
        if do in ("quit", "resume"):
            return "saved", "Every order given so far is saved."
        if do == "undo":
            undone = self._session.undo()
            return ("saved", "Saved: taken back.") if undone else ("ready", "Nothing to take back.")
        if do == "skip" and self._session.skip(token):
            return "saved", "Saved: skipped."
        if do == "rank" and self._session.rank(token, message.get("places"),
                                               float(message.get("seconds", 0.0))):
            return "saved", f"Saved: ranked. {self._session.done} done."
        return "ready", "Not counted: those replies are no longer on screen."

    def _show(self, kind: str, text: str, *, ack: str = "") -> None:
        session, item = self._session, self._session.current
        view = "done" if self._view == "label" and item is None else self._view
        self.state = {
            "ack": ack, "status": {"kind": kind, "text": text}, "view": view,
            "done": session.done, "total": len(session.items), "made": session.made,
            "pace": pace_of(session), "pause": session.break_due(self._break_every),
            "item": None if view != "label" else {
                "token": session.token(item),
                "prompt": pane(render_text(item.asked.prompt)),
                "replies": [pane(text) for text in item.texts]}}
