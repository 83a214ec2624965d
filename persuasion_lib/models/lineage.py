"""The lineage of checkpoints: what each was trained on, by the hashes of the weights.

Checkpoints are LoRA adapters. `rlhf` and `rlaif` were trained on base and SFT, `rlaif_rlhf`
continued `rlaif` (see core/family).
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import LineageError, MissingInput
from persuasion_lib.core.family import FAMILY, REFERENCE
from persuasion_lib.core.pipeline import made_by, path_of
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.store import file_hash, read_json, write_json
from persuasion_lib.core.weights import base_files_hash
from persuasion_lib.models.folder import json_object
from persuasion_lib.models.gguf import said_of_source
from persuasion_lib.models.loading import EXPORT, base_folder, dtype_of

WEIGHTS = "adapter_model.safetensors"
ADAPTER_SETTINGS = "adapter_config.json"
# Of an adapter's settings, what only says where it came from.
NOTES = ("base_model_name_or_path", "revision", "peft_version", "inference_mode", "auto_mapping")


@dataclass(frozen=True)
class Lineage:
    """Where a checkpoint comes from, written beside its weights as `lineage.json`.

    `parents` maps each model of the chain below this one to the sha256 of its weights when this
    one was trained; `reference` is the model that DPO compared with (None for SFT);
    `fingerprint` is a hash of training data and settings. `dtype` is the number format of the base
    while it was trained, a note that decides nothing: the adapter is float32 in every one of them.
    """

    name: str
    base: str
    revision: str
    parents: dict[str, str]
    reference: str | None
    weights: str
    fingerprint: str
    dtype: str | None = None        # earlier versions did not note it, and merged SFT into the base


def reference_of(config: Config, name: str) -> str:
    """The model that DPO compares `name` with: `dpo.reference`, as a model of the family."""
    return {"sft": REFERENCE, "base": "base", "start": FAMILY[name].starts_as}[config.dpo.reference]


def base_hash(config: Config) -> str:
    """sha256 over the files of the base model that decide what it answers."""
    return base_files_hash(base_folder(config))


def adapter_hash(folder: Path) -> str:
    """sha256 of an adapter: its weights, and of its settings all that changes what it does."""
    settings = json_object(folder / ADAPTER_SETTINGS)
    decides = {key: sorted(value) if isinstance(value, list) else value     # peft's sets have no
               for key, value in settings.items() if key not in NOTES}      # order of their own
    return fingerprint_of([file_hash(folder / WEIGHTS), decides])


def weights_hash(config: Config, name: str) -> str:
    """sha256 of a model's own weights and settings (of its adapter; of all files for the base)."""
    return base_hash(config) if name == "base" else adapter_hash(path_of(config, name))


def write_lineage(config: Config, name: str, folder: Path, fingerprint: str) -> Lineage:
    """Record what the checkpoint in `folder` was trained from; call before it is moved in place."""
    # A note for people: what decides anything are the weights, so it does not count as read.
    base = f"{config.peek('model.base')} {said_of_source(base_folder(config))}".strip()
    lineage = Lineage(
        name=name, base=base, revision=config.peek("model.revision"),
        parents={parent: weights_hash(config, parent) for parent in FAMILY[name].parents},
        reference=None if name == REFERENCE else reference_of(config, name),
        weights=adapter_hash(folder), fingerprint=fingerprint,
        dtype=str(dtype_of(config)).removeprefix("torch."))
    write_json(folder / "lineage.json", asdict(lineage))
    return lineage


def read_lineage(config: Config, name: str) -> Lineage:
    """The recorded lineage of a checkpoint.

    Raises:
        MissingInput: there is no checkpoint.
        LineageError: there are weights without a (readable) record of where they come from.
    """
    folder = path_of(config, name)
    if (folder / EXPORT).exists():
        raise LineageError(f"{folder} holds a merged export, not an adapter; on top of the base "
                           f"it would count twice. Run {made_by(name)} to train the adapter again.")
    if not (folder / WEIGHTS).exists():
        raise MissingInput(f"Model checkpoint not found: {folder / WEIGHTS}. Run {made_by(name)}.")
    if not (folder / "lineage.json").exists():
        raise LineageError(f"{folder} has no lineage.json, so nothing says which model its adapter "
                           f"belongs on. Run {made_by(name)} to train it again.")
    try:
        return Lineage(**read_json(folder / "lineage.json", made_by=made_by(name)))
    except TypeError as error:
        raise LineageError(f"{folder / 'lineage.json'} is not a lineage record ({error}). "
                           f"Run {made_by(name)} to train it again.") from None


def check_lineage(config: Config, name: str) -> Lineage:
    """Refuse a checkpoint whose weights or parents are not the recorded ones.

    Raises:
        MissingInput: the checkpoint or a parent is missing.
        LineageError: weights were edited, or a parent was exchanged or trained again.
    """
    lineage = read_lineage(config, name)
    if lineage.name != name:
        raise LineageError(f"{path_of(config, name)} holds the model {lineage.name!r}, "
                           f"not {name!r}. Run {made_by(name)} again.")
    if weights_hash(config, name) != lineage.weights:
        raise LineageError(f"weights or adapter_config.json of {name} ({path_of(config, name)}) "
                           f"were changed after training, or are of an earlier version. Run "
                           f"{made_by(name)} again.")
    parents = FAMILY[name].parents
    if set(lineage.parents) != set(parents):
        raise LineageError(f"{name} records the parents {sorted(lineage.parents)}, but is built "
                           f"on {list(parents)}. Run {made_by(name)} again.")
    for parent, recorded in lineage.parents.items():
        if parent != "base":
            read_lineage(config, parent)
        if weights_hash(config, parent) != recorded:
            raise LineageError(
                f"{name} was trained on another {parent} (weights {recorded[:8]}…, now "
                f"{weights_hash(config, parent)[:8]}…). Run {made_by(name)} again, or restore "
                f"that {parent}.")
    return lineage


def is_current(config: Config, name: str, fingerprint: str) -> bool:
    """Whether a checkpoint exists that was trained from just these data, settings and parents."""
    try:
        if read_lineage(config, name).dtype is None:
            print(f"{LINE_MARK}{path_of(config, name)} is of an earlier version, which merged SFT "
                  f"into the base: {name} is trained again.", flush=True)
            return False
        return check_lineage(config, name).fingerprint == fingerprint
    except (MissingInput, LineageError):
        return False


def fingerprint_of(values: Any) -> str:
    """sha256 of JSON-able training settings and data hashes."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
