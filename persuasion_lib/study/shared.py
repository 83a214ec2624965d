"""What all cells of a study share: corpus, SFT, pools and labels. They are the project's."""

import shlex
from collections.abc import Sequence

from persuasion_lib.core import runner
from persuasion_lib.core.config import Config, load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.manifest import State, conditions
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.replacing import would_replace
from persuasion_lib.study.design import Study

SHARED = list(STAGES)[:list(STAGES).index("train_dpo")]


def shared_to_run(study: Study) -> dict[str, State]:
    """The stages of what all cells share that would run, or ask once more, before them."""
    found = conditions(read_anew(study))
    return {name: found[name] for name in SHARED if found[name][0] in ("stale", "missing")}


def read_anew(study: Study) -> Config:
    """What all cells share, as the files are now."""
    return load_config(study.profile, study.config.overrides, root=study.config.root)


def make_shared(study: Study) -> None:
    """Run the stages that all cells share, where one of them is not done.

    Raises:
        ConfigError: that would replace what other settings made.
        NotebookError: a cell of a notebook failed.
    """
    if shared_to_run(study):
        # `--replace` is for cells: what they share is another experiment's as well.
        overrides = [text for text in study.config.overrides if key_of(text) != "replace"]
        _refuse_to_replace(study, overrides)
        runner.run(study.profile, overrides, last=SHARED[-1])


def _refuse_to_replace(study: Study, overrides: Sequence[str]) -> None:
    """Neither a study's name nor its --replace is about what other studies and runs share."""
    config = load_config(study.profile, overrides, root=study.config.root)
    changed = dict.fromkeys(str(reason) for name in SHARED
                            for reason in would_replace(config, STAGES[name]))
    if not changed:
        return
    theirs = [f"--set {shlex.quote(text)}" for text in overrides
              if any(key_of(text) in reason for reason in changed)]
    raise ConfigError(
        f"{study.name} needs another corpus, SFT, pools or labels than the project has: "
        f"{'; '.join(changed)}. All studies and runs share these, so --name and --replace of a "
        "study leave them as they are. To replace them for all: persuasion run --profile "
        f"{' '.join([study.profile, '--to', SHARED[-1], '--replace', *theirs])}, and then this "
        "command again. To keep them: leave that setting out, or take a copy of the project "
        "folder.")
