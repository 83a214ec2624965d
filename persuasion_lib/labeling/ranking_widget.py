"""The screen of a `RankingSession`: what is sent to the browser, and what its keys do."""

from pathlib import Path
from typing import Any

from persuasion_lib.core.records import render_text
from persuasion_lib.labeling.ranking import RankItem
from persuasion_lib.labeling.widget import Screen, Status, pane

_HERE = Path(__file__).parent


class RankingWidget(Screen):
    """Replies in lettered places, to be put in order. No name of a model is ever sent."""

    _esm = "\n".join((_HERE / name).read_text("utf-8") for name in ("screen.js", "ranking.js"))
    _css = "".join((_HERE / name).read_text("utf-8") for name in ("widget.css", "ranking.css"))

    def _about_item(self, do: str, message: dict[str, Any], token: str) -> Status | None:
        if do == "skip" and self._session.skip(token):
            return "saved", "Saved: skipped."
        if do == "rank" and self._session.rank(token, message.get("places"),
                                               float(message.get("seconds", 0.0))):
            return "saved", f"Saved: ranked. {self._session.done} done."
        return None

    def _item(self, item: RankItem) -> dict[str, Any]:
        return {"token": self._session.token(item), "prompt": pane(render_text(item.asked.prompt)),
                "replies": [pane(text) for text in item.texts]}
