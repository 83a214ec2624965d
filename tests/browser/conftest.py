"""A real JupyterLab on scratch copies of the project, driven by a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from worlds.labeling_pool import make_project

NEWS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
THEME = "@jupyterlab/apputils-extension/themes.jupyterlab-settings"


@dataclass
class Lab:
    """A running server; each project is a folder below `root`."""

    url: str
    root: Path
    settings: Path
    process: subprocess.Popen

    def dark(self, on: bool) -> None:
        """Set the theme for pages that are opened from now on."""
        theme = "JupyterLab Dark" if on else "JupyterLab Light"
        _write(self.settings / THEME, {"theme": theme})

    def kernels(self) -> list[psutil.Process]:
        """The kernel processes of the server."""
        return [p for p in psutil.Process(self.process.pid).children(recursive=True)
                if "ipykernel_launcher" in " ".join(p.cmdline())]


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    base = tmp_path_factory.mktemp("lab")
    folders = {f"JUPYTER_{name}_DIR": str(base / name.lower())
               for name in ("CONFIG", "DATA", "RUNTIME")}
    settings = {"JUPYTERLAB_SETTINGS_DIR": str(base / "settings"), "IPYTHONDIR": str(base / "ipy"),
                "JUPYTERLAB_WORKSPACES_DIR": str(base / "workspaces")}
    _write(base / "settings" / NEWS, {"fetchNews": "false", "checkForUpdates": False})
    (base / "root").mkdir()
    env = {key: v for key, v in os.environ.items() if key != "PERSUASION_BATCH"}
    with (base / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root",
             "--ServerApp.port=0", "--IdentityProvider.token=",
             "--ServerApp.disable_check_xsrf=True", "--LabApp.expose_app_in_browser=True"],
            cwd=base / "root", env=env | folders | settings, stdout=log, stderr=log)
    try:
        yield Lab(_address(base / "runtime"), base / "root", base / "settings", process)
    finally:
        process.terminate()
        process.wait(20)


def _address(runtime: Path) -> str:
    for _ in range(300):
        for file in runtime.glob("jpserver-*.json"):
            return json.loads(file.read_text())["url"]
        time.sleep(0.2)
    raise TimeoutError("JupyterLab did not start within a minute")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=shutil.which("chromium"),
                                           args=["--no-sandbox"])
        yield found
        found.close()


class Desk:
    """Notebook 02 (or 05b) of one scratch project, open in a browser page."""

    def __init__(self, lab: Lab, browser: Browser, name: str, rows: list[dict[str, Any]],
                 overrides: Sequence[str], final: dict[str, Any] | None = None) -> None:
        self.lab, self.name = lab, name
        self.notebook = "05b_human_eval.ipynb" if final else "02_label_human.ipynb"
        self.project = make_project(lab.root / name, rows)
        if final:
            _write(self.project / "results/demo/final_evaluation.json", final)
        section = "human_eval" if final else "label_human"
        self._set_overrides(f"{section}.source=widget", *overrides)
        self._context = browser.new_context(viewport={"width": 1400, "height": 1000})
        self.requests: list[str] = []
        self._visits = 0
        self.page = self.open()

    def _set_overrides(self, *overrides: str) -> None:
        """Write the parameters cell of the scratch notebook."""
        notebook = json.loads(self.file.read_text())
        cell = next(c for c in notebook["cells"] if "parameters" in c["metadata"].get("tags", []))
        cell["source"] = f'profile = "demo"\noverrides = {list(overrides)!r}'
        self.file.write_text(json.dumps(notebook))

    @property
    def file(self) -> Path:
        return self.project / "notebooks" / self.notebook

    def open(self, name: str = "") -> Page:
        """A notebook in a new page, with a kernel, nothing run yet."""
        name = name or self.notebook
        page = self._context.new_page()
        page.on("request", lambda request: self.requests.append(request.url))
        self._visits += 1
        page.goto(f"{self.lab.url}lab/workspaces/{self.name}-{self._visits}/tree/"
                  f"{self.name}/notebooks/{name}")
        page.wait_for_function("window.jupyterapp?.shell.currentWidget?.sessionContext?.isReady",
                               timeout=60_000)
        page.wait_for_selector("text=| Idle", timeout=60_000)
        return page

    def run_all(self, last: str = "LABELS MISSING") -> None:
        """Run → Run All Cells in the menu, then wait for the last cell and the widget's focus."""
        self._run(last)
        self.page.wait_for_selector(".plab.plab-on", timeout=5_000)

    def run_all_again(self) -> None:
        """The same when every pair is labelled: the last cell writes the file."""
        self._run(" planned, in ")

    def _run(self, last: str) -> None:
        self.page.evaluate("jupyterapp.commands.execute('notebook:clear-all-cell-outputs')")
        self.page.get_by_role("menuitem", name="Run", exact=True).click()
        self.page.locator(".lm-Menu-item[data-command='runmenu:run-all']").click()
        self.page.wait_for_function(     # in the model: what is out of view may not be rendered
            "text => JSON.stringify(jupyterapp.shell.currentWidget.content.model.toJSON().cells"
            ".filter(cell => cell.cell_type === 'code').at(-1).outputs).includes(text)",
            arg=last, timeout=60_000)

    def cells(self) -> list[Any]:
        """Type and source of every cell, as JupyterLab has them now."""
        return self.page.evaluate(
            "jupyterapp.shell.currentWidget.content.model.toJSON().cells"
            ".map(cell => [cell.cell_type, cell.source])")

    def press(self, key: str) -> None:
        """A key, not so soon that it is meant for the pair before; wait for the kernel's answer."""
        self.page.wait_for_timeout(160)
        self.page.keyboard.press(key)
        self.page.wait_for_timeout(50)
        self.page.wait_for_selector(".plab-status:not([data-kind=wait])")

    def status(self, page: Page | None = None) -> str:
        return (page or self.page).locator(".plab-status").inner_text()

    def wait_status(self, text: str, page: Page | None = None, timeout: float = 10_000) -> None:
        (page or self.page).locator(".plab-status", has_text=text).wait_for(timeout=timeout)

    def events(self, log: str = "human_events.me.jsonl") -> list[dict[str, Any]]:
        """What an event log of this project holds on disk."""
        path = self.project / "data/demo/preferences" / log
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def choices(self) -> list[str]:
        return [event["choice"] for event in self.events() if event["event"] == "choice"]

    def close(self) -> None:
        sessions = f"{self.lab.url}api/sessions"
        for session in self._context.request.get(sessions).json():
            self._context.request.delete(f"{sessions}/{session['id']}")
        self._context.close()


@pytest.fixture
def desk(lab: Lab, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Any]:
    """`desk(rows, *overrides)` opens notebook 02 on a pool of these rows; with `final`, what 05
    wrote, it opens 05b."""
    opened: list[Desk] = []

    def open_desk(rows: list[dict[str, Any]], *overrides: str, final: Any = None) -> Desk:
        name = f"t{len(list(lab.root.iterdir()))}"
        opened.append(Desk(lab, browser, name, rows, overrides, final))
        return opened[-1]

    yield open_desk
    for each in opened:
        each.close()
