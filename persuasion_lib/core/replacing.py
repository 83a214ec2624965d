"""What has finished is replaced on purpose only, and called by the settings that made it."""

import re
from collections.abc import Sequence
from pathlib import Path

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, StaleInput
from persuasion_lib.core.manifest import FORMAT, Reason, changed_reads, read_manifest
from persuasion_lib.core.named import NAME
from persuasion_lib.core.pipeline import STAGES, Stage, inputs_of, maker_of, path_of


def refuse_to_replace(config: Config, stage: Stage) -> None:
    """Keep what a stage has finished with other settings, unless the user says `replace=true`.

    Raises:
        ConfigError: names the settings, and the command that keeps both.
    """
    if changed := would_replace(config, stage):
        name = _name_for(changed)
        raise ConfigError(
            f"{stage.notebook} has finished with other settings, and would now replace what it "
            f"made: {'; '.join(map(str, changed))}. To keep both, give the new run a name: the "
            f"same command with --name {name}, in a notebook \"name={name}\" among the overrides. "
            "To replace the earlier results: --replace, in a notebook \"replace=true\".")


def would_replace(config: Config, stage: Stage) -> list[Reason]:
    """What has changed, where a stage would replace what another experiment made."""
    old = read_manifest(config, stage.name) or {}
    if config.replace or old.get("format") != FORMAT:
        return []
    changed = [one for one in changed_reads(config, old) if _is_another_experiment(config, one)]
    is_lost = changed and any(path_of(config, name).exists() for name in stage.writes)
    return changed if is_lost else []


def refuse_other_settings(config: Config, telling: str, made_by: Sequence[Stage]) -> None:
    """Keep what is told of results from naming settings with which they were not made.

    A report of weights that were trained with another beta would name the beta that it was given.
    `telling` is what would be told, as a sentence begins.

    Raises:
        StaleInput: names a stage of `made_by`, and the settings.
    """
    for stage in made_by:
        made = read_manifest(config, stage.name) or {}
        if made.get("format") != FORMAT:
            continue
        # A gate may open for a later stage: what passed the earlier one is the same.
        changed = [one for one in changed_reads(config, made)
                   if _is_another_experiment(config, one) and not str(one).startswith("gates.")]
        if changed:
            raise StaleInput(
                f"{telling} rests on {stage.notebook}, which ran with other settings: "
                f"{'; '.join(map(str, changed))}. Leave them as they were, or run from there: "
                f"persuasion run --from {stage.name} --name {_name_for(changed)}, with them.")


def stages_before(config: Config, stage: Stage) -> list[Stage]:
    """All stages whose results a stage rests on, by way of others too, in their order."""
    found = [stage]
    for each in reversed(STAGES.values()):
        if each in found:
            makers = map(maker_of, inputs_of(config, each))
            found += [maker for maker in makers if maker and maker not in found]
    return [each for each in STAGES.values() if each in found[1:]]


def _is_another_experiment(config: Config, reason: Reason) -> bool:
    """Not the size of a trial, what is allowed, who compares what was made (which trains nothing),
    who judges beside the judge, a key of an earlier version, nor a file of labels that grows.
    """
    if reason.kind == "file":
        return str(reason).split()[2] in ("data.path", "model.base")    # "content of … changed"
    key = str(reason).partition(" ")[0]
    changes_no_result = (key.endswith(".max_examples") or key == "checks.allow"
                         or key.startswith("human_eval.") or key == "evaluation.judges")
    return reason.kind == "setting" and key in config.flat() and not changes_no_result


def _name_for(changed: Sequence[Reason]) -> str:
    key, _, rest = str(changed[0]).partition(" was ")
    value = rest.rpartition(" is ")[2] if rest else "new"
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{key.rpartition('.')[2]}{Path(value).name[:20]}")
    found = re.match(NAME, name.strip("-"))
    return found[0].strip("-") if found else "new"
