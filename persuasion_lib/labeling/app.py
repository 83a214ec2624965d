"""`persuasion label`: the labelling cells of notebook 02 as a page, served on this machine only."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.pipeline import path_of


def open_app(config: Config) -> int:
    """Serve the labelling cells as a page on this machine only, until interrupted.

    Any page that is open in the browser can send requests to this machine, under a name of its own
    too. So the address carries a token, and only this machine's own names are answered.

    Returns:
        the exit status of the server.

    Raises:
        ConfigError: voila is not installed.
    """
    if find_spec("voila") is None:
        raise ConfigError("`persuasion label` needs voila. Install it with: pip install "
                          "'.[app]', or label in the notebook itself (`make lab`).")
    # Kernels of closed or reloaded pages would live for ever, so idle ones are ended.
    command = [sys.executable, "-m", "voila", str(app_notebook(config)), "--Voila.ip=127.0.0.1",
               "--Voila.auto_token=True", "--Voila.open_browser=False",
               "--Voila.tornado_settings=allow_remote_access=",     # an empty text is false
               "--VoilaConfiguration.show_tracebacks=True",
               "--MappingKernelManager.cull_idle_timeout=300",
               "--MappingKernelManager.cull_interval=60"]
    print("Open the address below, with its token, in a browser on this machine. Ctrl-C ends it.",
          flush=True)
    return subprocess.run(command, cwd=config.root, check=False).returncode


def app_notebook(config: Config) -> Path:
    """Notebook 02 cut down to its cells tagged `app`, with these settings as its parameters."""
    import nbformat

    source = config.root / "notebooks" / "02_label_human.ipynb"
    notebook = nbformat.read(source, as_version=4)
    overrides = [*config.overrides, "label_human.source=widget"]
    shown = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            # The page's own folder may be a link, or lie outside of the project.
            cell.source = (f"profile = {config.profile!r}\noverrides = {overrides!r}\n\n"
                           f"import os\nos.chdir({str(config.root)!r})")
        if "parameters" in tags or "app" in tags:
            shown.append(cell)
    notebook.cells = shown
    target = path_of(config, "notebooks") / "label_app.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return target
