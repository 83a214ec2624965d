"""`persuasion study`: says the plan, runs what is missing, and names what failed."""

import sys
import textwrap
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping, Sequence

from persuasion_lib.core.config import find_root, load_config
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.pipeline import STAGES, Stage
from persuasion_lib.core.rehearsal import banner_of
from persuasion_lib.judging.check import refuse_unable
from persuasion_lib.study.design import Cell, Study, read_study
from persuasion_lib.study.file import profile_of
from persuasion_lib.study.notebook import conclude
from persuasion_lib.study.plan import plan_of
from persuasion_lib.study.run import LAST, part_of, run_study, state_of
from persuasion_lib.study.shared import shared_to_run


def study(options: Namespace) -> int:
    """Run one study; the status is 1 where a cell of the part failed or has something open."""
    profile = options.profile or profile_of(find_root(), options.study)
    # The name is the study's; the settings of a run that has it, too, are no concern of ours.
    overrides = [text for text in options.overrides if key_of(text) != "name"]
    asked = read_study(load_config(profile, overrides), options.study, name=options.name)
    show(plan_of(asked, part_of(asked, options.cells)))
    if above := banner_of(asked.config, "evaluate"):
        print(textwrap.fill(above, 100))
    if options.plan:
        return 0
    refuse_unable(asked.config, _asking(asked, part_of(asked, options.cells)), may_end=False)
    print(flush=True)
    ended = run_study(asked, options.cells)
    cells = {cell: state_of(ended, cell) for cell in part_of(ended, options.cells)}
    counts = Counter(state for state, _ in cells.values())
    print(f"\n{ended.name}: {', '.join(f'{n} cells {state}' for state, n in counts.items())}. "
          f"The cells are runs: persuasion runs, persuasion compare; {ended.folder}")
    left = {cell.name: sentence for cell, (_, sentence) in cells.items() if sentence}
    for name, sentence in left.items():
        print(f"{name}: {sentence}", file=sys.stderr)
    if _may_conclude(ended, options.cells):
        print(f"\n{conclude(ended)}")
    return 1 if left else 0


def _asking(study: Study, cells: Sequence[Cell]) -> list[Stage]:
    """The stages with a judge that will run for cells that are not done."""
    if all(state_of(study, cell)[0] == "done" for cell in cells):
        return []
    names = ("label_ai", LAST) if "label_ai" in shared_to_run(study) else (LAST,)
    return [STAGES[name] for name in names]


def _may_conclude(study: Study, part: str | None) -> bool:
    """Whether there are scores to tell of; of a part only by the process that ends last."""
    states = [state_of(study, cell)[0] for cell in study.cells]
    unfinished = {"missing", "stale", "running"} & {*states}
    return "done" in states and (part is None or not unfinished)


def show(lines: Mapping[str, str]) -> None:
    """Print a plan as a list of words and what they say."""
    for name, text in lines.items():
        print(textwrap.fill(text, 100, initial_indent=f"{name:12s}", subsequent_indent=" " * 12))
