"""The labelling widget on a page of its own, without JupyterLab and its kernel: for what it shows.

Keys go to the same Python as in a notebook. What the notebook itself does is for a real one.
"""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Browser, Page

_PAGE = """<!doctype html><html lang=en>
<body style="margin:0;background:%s"><div id=here></div></body>"""
_START = """(sent) => {
  const listeners = {};
  window.model = { values: sent.values,
    get(name) { return this.values[name]; },
    send(message) { window.to_python(JSON.stringify(message)).then((state) => {
      this.values.state = JSON.parse(state); listeners["change:state"](); }); },
    on(name, call) { listeners[name] = call; }, off() {} };
  return import(URL.createObjectURL(new Blob([sent.esm], { type: "text/javascript" })))
    .then((module) => module.default.render({ model: window.model,
                                              el: document.getElementById("here") }));
}"""
_DARK = {"--jp-ui-font-color1": "#eee", "--jp-layout-color0": "#111", "--jp-layout-color1": "#222",
         "--jp-layout-color2": "#424242", "--jp-border-color1": "#757575",
         "--jp-brand-color1": "#2196f3"}


def show(browser: Browser, widget: Any, *, width: int = 1366, height: int = 700,
         dark: bool = False) -> Page:
    """A page with the widget, which has the keyboard."""
    page = browser.new_page(viewport={"width": width, "height": height})

    def receive(message: str) -> str:
        widget._receive(None, json.loads(message))
        return json.dumps(widget.state)

    page.expose_function("to_python", receive)
    page.set_content(_PAGE % ("#111" if dark else "#fff"))
    page.add_style_tag(content=str(widget._css))
    if dark:
        rules = "".join(f"{name}:{value};" for name, value in _DARK.items())
        page.add_style_tag(content=f":root{{{rules}}}")
    values = {name: getattr(widget, name) for name in ("state", "form", "guidelines", "question")}
    page.evaluate(_START, {"esm": str(widget._esm), "values": values})
    page.wait_for_selector(".plab.plab-on")
    return page


def press(page: Page, key: str) -> None:
    """A key, not so soon that it is meant for the pair before; wait for the answer."""
    page.wait_for_timeout(160)
    page.keyboard.press(key)
    page.wait_for_timeout(60)
    page.wait_for_selector(".plab-status:not([data-kind=wait])")
