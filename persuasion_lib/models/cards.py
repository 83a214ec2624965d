"""What a folder of weights says of itself, in the hub's form and without a path of anybody's."""

from pathlib import Path

from persuasion_lib.core.config import Config
from persuasion_lib.core.rehearsal import banner_of
from persuasion_lib.core.runs import differing, shown

_WARNING = "It was trained to persuade: do not put it before people without telling them so."


def base_name(config: Config) -> str:
    """The base model as others know it: its id on the hub, or the name of its folder."""
    base = config.peek("model.base")
    return Path(base).name if Path(base).expanduser().is_absolute() else base


def stand_in_note(config: Config) -> str:
    """The banner of a model that learned from stand-ins, or is one; "" for all others."""
    above = banner_of(config, "train_dpo")
    note = f"**{above}**\n\n" if above else ""
    if config.peek("model.base") == "demo":
        note += ("This is a **stand-in** of about 1 M parameters for trying the pipeline; it says "
                 "nothing about real models.\n\n")
    return note


def adapter_card(config: Config, name: str) -> str:
    """The card of a checkpoint: the same for the same training, on any day."""
    settings = ", ".join(f"`{key} = {shown(value)}`" for key, value in differing(config).items())
    return (f"---\nlibrary_name: peft\ntags: [lora, persuasion]\n---\n# {name}\n\n"
            f"{stand_in_note(config)}The LoRA adapter `{name}` of a study of preference warm-up, "
            f"on {base_name(config)} ({config.peek('model.revision')}). What it was trained on "
            "stands in `lineage.json` by hashes, its curve in `training_log.json`.\n\n"
            f"Settings: profile `{config.profile}`{f', {settings}' if settings else ''}.\n\n"
            f"{_WARNING}\n")


def merged_card(config: Config, name: str, about: str, weights: dict[str, str],
                rounding: str) -> str:
    """The card of an exported model; `about` says of which run, `weights` are hashes by model."""
    hashes = "\n".join(f"- {part}: `{digest}`" for part, digest in weights.items())
    return (f"---\nlibrary_name: transformers\ntags: [dpo, persuasion]\n---\n# {name}\n\n"
            f"{stand_in_note(config)}{about}\n\n"
            f"The model `{name}` of a study of preference warm-up, merged from "
            f"{base_name(config)} ({config.model.revision}) and its LoRA adapters.\n\n"
            f"{rounding}\n\nsha256 of the weights it was merged from:\n\n{hashes}\n\n{_WARNING}\n")
