"""The card of exported data: what it is, of which run, whose labels, under which licence."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from persuasion_lib.core.config import Config
from persuasion_lib.core.manifest import read_manifest
from persuasion_lib.core.plain_yaml import read_yaml
from persuasion_lib.core.rehearsal import banner, stand_ins
from persuasion_lib.core.runs import described, identity

TEXTS = read_yaml(Path(__file__).with_name("exported.yaml"))
# The roles that rows and labels come from.
_HEARD = ("corpus", "model", "judge of labels", "annotator")


@dataclass(frozen=True)
class Part:
    """A file of an export: rows, and who labelled how many."""

    file: str
    rows: int
    labelled_by: Counter[str]


def data_card(config: Config, to: str, parts: Sequence[Part], *, ties: int) -> str:
    """The README.md of an export, in the hub's form and without a path of anybody's.

    `ties` is how many labelled pairs its files cannot hold.
    """
    licences = TEXTS["licences"]
    licence = licences.get(config.peek("data.source"), licences["own"])
    roles = [role for role in stand_ins(config) if role in _HEARD]
    said = banner(roles, real_model=config.peek("model.base") != "demo")
    above = f"**{said}**\n\n" if said else ""
    run = (read_manifest(config, "validate") or {}).get("run") or identity(config)
    left_out = f"{ties:,} pairs were ties and are not in here.\n\n" if ties else ""
    table = "\n".join(f"| `{part.file}` | {part.rows:,} | {_by(part)} |"
                      for part in parts)
    return (f"---\nlicense: {licence['hub']}\ntags: [preference, dpo, persuasion]\n"
            f"{_configs(parts)}---\n# Prompts and preferences on persuasion\n\n"
            f"{above}{described(run)}\n\n"
            "Prompts of persuasive dialogues; for fine-tuning the replies that people wrote, for "
            "preferences two replies that a model sampled, and which one persuades better. Sets "
            "share no conversation. The held-out test prompts are not in here.\n\n"
            "| file | rows | labelled by |\n|---|---|---|\n"
            f"{table}\n\n{left_out}```\n{TEXTS['use'][to]}\n```\n\n"
            f"{licence['says']} Sampled replies follow the licence of the model that wrote "
            "them.\n\n"
            "It was made to study persuasion: do not put a model that is trained on it before "
            "people without telling them so.\n")


def _by(part: Part) -> str:
    return ", ".join(f"{name} ({count:,})" for name, count in part.labelled_by.most_common())


def _configs(parts: Sequence[Part]) -> str:
    """Which files are one set, for `load_dataset`; JSON files are for other tools."""
    splits = {"train": "train", "val": "validation"}
    lines = []
    for part in parts:
        name, _, side = part.file.removesuffix(".parquet").rpartition("_")
        if side in splits:
            head = [] if f"- config_name: {name}" in lines else [f"- config_name: {name}",
                                                                 "  data_files:"]
            lines += [*head, f"  - split: {splits[side]}", f"    path: {part.file}"]
    return "\n".join(["configs:", *lines, ""]) if lines else ""
