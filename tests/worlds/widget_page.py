"""A widget of ours in a browser page of its own: the real screen and the real session behind it."""

from __future__ import annotations

import json
from typing import Any

BOOT = """async ([esm, state]) => {
  const url = URL.createObjectURL(new Blob([esm], { type: "text/javascript" }));
  const widget = await import(url), handlers = {};
  const model = {
    get: (name) => state[name],
    on: (event, act) => (handlers[event] ??= []).push(act),
    off: () => {},
    send: async (message) => {
      Object.assign(state, JSON.parse(await toPython(JSON.stringify(message))));
      for (const act of handlers["change:state"]) act();
    },
  };
  widget.default.render({ model, el: document.getElementById("here") });
}"""


class WidgetPage:
    """The page, and everything that was ever sent to it."""

    def __init__(self, browser: Any, widget: Any, *, width: int = 1400, height: int = 1000) -> None:
        self.widget = widget
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.expose_function("toPython", self._receive)
        self.page.set_content(f"<style>{widget._css}</style><div id='here'></div>")
        self.sent = [json.dumps(self._traits())]
        self.page.evaluate(BOOT, [str(widget._esm), self._traits()])
        self.page.wait_for_selector(".plab.plab-on")

    def _traits(self) -> dict[str, Any]:
        names = self.widget.trait_names(sync=True)
        own = {name: getattr(self.widget, name) for name in names if not name.startswith("_")}
        return {name: value for name, value in own.items() if isinstance(value, str | dict)}

    def _receive(self, message: str) -> str:
        self.widget._receive(None, json.loads(message))
        self.sent.append(json.dumps(self._traits()))
        return self.sent[-1]

    def press(self, *keys: str) -> None:
        """Keys, the first not so soon that it is meant for what stood there before."""
        self.page.wait_for_timeout(170)
        for key in keys:
            self.page.keyboard.press(key)
        self.page.wait_for_timeout(30)
        self.page.wait_for_selector(".plab-status:not([data-kind=wait])")

    def boxes(self, selector: str) -> list[tuple[float, ...]]:
        """Where each element is, and how large."""
        return [tuple(box) for box in self.page.evaluate(
            "selector => [...document.querySelectorAll(selector)].map(node => {"
            "const box = node.getBoundingClientRect();"
            "return [box.x, box.width, box.height].map(Math.round)})", selector)]
