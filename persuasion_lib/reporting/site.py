"""A folder of pages to publish: the executed notebooks of a run, its report, and an index.

`python -m persuasion_lib.reporting.site FOLDER [PROFILE [OVERRIDE …]]`
"""

import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from markdown_it import MarkdownIt
from markupsafe import Markup

from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.drawing import pipeline
from persuasion_lib.core.errors import ConfigError, MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.rehearsal import banner_of
from persuasion_lib.core.store import write_text
from persuasion_lib.reporting.page import rendered

# Where a link of a notebook leads on the site.
_ON_THE_SITE = re.compile(r'href="(?:\.\./docs/)?([\w-]+)\.(?:ipynb|md)(#[\w-]+)?"')


def make_site(config: Config, folder: Path) -> list[Path]:
    """Write the pages of a run into a new folder, or over a site that is there.

    Raises:
        MissingInput: the run has no report yet.
        ConfigError: the folder holds something else than a site.
    """
    report = path_of(config, "report_html")
    if not report.exists():
        raise MissingInput(f"{report} is missing. Run notebooks/06_analysis.ipynb first.")
    if folder.exists() and any(folder.iterdir()) and not (folder / "index.html").exists():
        raise ConfigError(f"{folder} holds other files. Name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    executed = sorted(path_of(config, "notebooks").glob("*.ipynb"))
    # It belongs to studies and not to a run; the links of the others lead to it as it stands.
    study = config.root / "notebooks" / "07_study.ipynb"
    pages = [write_text(folder / f"{path.stem}.html", _page_of_notebook(path))
             for path in [*executed, study]]
    glossary = config.root / "docs" / "glossary.md"
    if glossary.exists():
        pages.append(write_text(folder / "glossary.html", _page(
            "Glossary", _html(glossary.read_text(encoding="utf-8")))))
    pages.append(Path(shutil.copyfile(report, folder / "report.html")))
    return [write_text(folder / "index.html", _index(config, executed)), *pages]


def _page_of_notebook(path: Path) -> str:
    """As JupyterLab shows it, light or dark as the reader's system is."""
    from nbconvert import HTMLExporter
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True,
                            exclude_output_prompt=True)
    body, _ = exporter.from_filename(str(path))
    dark = next(place for place in (Path(folder) / "static" / "theme-dark.css"
                                    for folder in exporter.template_paths) if place.exists())
    style = f'<style media="(prefers-color-scheme: dark)">{dark.read_text("utf-8")}</style>'
    head, rest = body.split("</head>", 1)
    return _with_links(f"{head}{style}</head>{rest}")


def _with_links(html: str) -> str:
    return _ON_THE_SITE.sub(lambda found: f'href="{found[1]}.html{found[2] or ""}"', html)


def _html(markdown: str) -> str:
    """Our own documents, whose anchors are HTML."""
    return MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)


def _index(config: Config, executed: Sequence[Path]) -> str:
    """The drawing with the counts of the run, then every page that was made."""
    links = "".join(f'<li><a href="{path.stem}.html">{path.stem}</a></li>' for path in executed)
    return _page("Does a warm-up on cheap AI labels help?",
                 f'{pipeline(config).svg}<ul><li><a href="report.html">The report</a></li>{links}'
                 '<li><a href="glossary.html">Glossary</a></li></ul>', banner_of(config))


def _page(title: str, body: str, banner: str = "") -> str:
    return rendered("site.html.j2", title=title, body=Markup(_with_links(body)), banner=banner)


if __name__ == "__main__":
    folder, *settings = sys.argv[1:]
    profile = settings[0] if settings else "demo"
    print(make_site(load_config(profile, settings[1:]), Path(folder).resolve())[0])
