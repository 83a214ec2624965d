"""Can this folder be the base model? Found out from its files alone, before anything is loaded.

transformers is generous: it runs a repository's own code if asked to, merges an adapter that lies
beside the weights, and starts what the weights lack with random numbers. Here each is an error.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from persuasion_lib.core.errors import LineageError
from persuasion_lib.core.store import read_json
from persuasion_lib.core.weights import WEIGHTS

SETTINGS = "config.json"
# How the classes that write text are called; others (…Model, …ForSequenceClassification) have no
# head for it, so that theirs would be random.
_WRITERS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
_CHOOSE = "Choose an instruct model, for example Qwen/Qwen2.5-0.5B-Instruct."


def check_folder(folder: Path, *, whole: bool = True) -> None:
    """Refuse a folder that is no base model, or not a `whole` one, with its weights.

    Raises:
        LineageError: says what it is instead, or which file is missing or damaged.
        DataError: config.json is not JSON (file:line).
    """
    if (folder / "adapter_config.json").exists():
        raise LineageError(f"{folder} holds an adapter, not a whole model. Set model.base to the "
                           "model it belongs on, and put the adapter below data.path "
                           "(data/README.md) to go on from it.")
    if not (folder / SETTINGS).exists():
        gguf = next(folder.glob("*.gguf"), None)
        raise LineageError(
            f"{folder} is no model folder: " + (f"{gguf.name} is in the format of llama.cpp. "
            "Download the same model as *.safetensors." if gguf else
            f"{SETTINGS} is missing. Name the folder that holds it, tokenizer.json and "
            "*.safetensors."))
    if reason := _misfit(json_object(folder / SETTINGS)):
        raise LineageError(f"{folder} {reason}")
    if whole:
        weight_files(folder)


def json_object(file: Path) -> dict[str, Any]:
    """A file of settings: one JSON object, as every one of a model or an adapter is.

    Raises:
        LineageError: it is some other JSON.
        MissingInput, DataError: it is not there, or no JSON (file:line).
    """
    value = read_json(file, made_by="the download, or the training that made it,")
    if not isinstance(value, dict):
        raise LineageError(f"{file} is {value!r:.40} and no JSON object. Download it again.")
    return value


def _misfit(settings: dict[str, Any]) -> str | None:
    """Why a model with this config.json cannot be the base; None if it can."""
    kind = settings.get("model_type")
    name = str((settings.get("architectures") or [kind])[0])
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        code = " It brings code of its own (auto_map), which is never run here." * (
            "auto_map" in settings)
        return f"is of the type {kind!r}, which transformers does not know.{code} {_CHOOSE}"
    quantized = settings.get("quantization_config")
    if quantized:
        how = quantized.get("quant_method", "?") if isinstance(quantized, dict) else quantized
        return (f"holds weights that are quantized already ({how}), on which nothing is trained "
                "here. Take the model that it was made from; model.load_in_4bit=true needs a "
                "quarter of its memory.")
    writes = kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and name.endswith((kind, *_WRITERS))
    if settings.get("is_encoder_decoder") or not writes:
        return f"holds a {name}, which does not write text from left to right. {_CHOOSE}"
    return None


def weight_files(folder: Path) -> list[Path]:
    """The files with a model's weights, all of them whole; PyTorch's where safetensors lack.

    Raises:
        LineageError: there are none, one of the index is missing, or one was cut off.
    """
    kind = next((kind for kind in WEIGHTS if sorted(folder.glob(kind))), None)
    if kind is None:
        raise LineageError(f"{folder} holds no weights (*.safetensors). Download them, too.")
    index = folder / WEIGHTS[kind]
    if index.exists() and not (folder / index.name.removesuffix(".index.json")).exists():
        named = set(map(str, (json_object(index).get("weight_map") or {}).values()))
        missing = sorted(name for name in named if not (folder / name).exists())
        if missing:
            raise LineageError(f"{folder} lacks {len(missing)} of {len(named)} files with weights "
                               f"({', '.join(missing[:3])}). Download them, too.")
    files = sorted(folder.glob(kind))
    gone = [file.name for file in files if not file.exists()]      # links of a cache to nothing
    if gone:
        raise LineageError(f"{folder} lacks what {', '.join(gone[:3])} leads to. Download it.")
    for file in files:
        if file.suffix == ".safetensors" and file.stat().st_size != _whole_size(file):
            raise LineageError(f"{file} was cut off, or is no safetensors file "
                               f"({file.stat().st_size:,} bytes). Download it again.")
    return files


def refuse_random(found: Mapping[str, Any], place: Path) -> None:
    """Refuse a model of which something did not come from its place, by transformers' own record.

    Raises:
        LineageError: it would be random; names what is missing.
    """
    lacking = sorted({*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])})
    if lacking:
        raise LineageError(f"the weights in {place} lack {len(lacking)} that the model has "
                           f"({', '.join(lacking[:2])}), which would be random. Download all of "
                           "it again.")


def _whole_size(file: Path) -> int:
    """How many bytes a safetensors file must have by its own header; -1 without one."""
    with file.open("rb") as handle:
        try:
            length, = struct.unpack("<Q", handle.read(8))
            tensors = json.loads(handle.read(min(length, 2**27)))
            ends = [entry["data_offsets"][1] for name, entry in tensors.items()
                    if name != "__metadata__"]
        except (struct.error, ValueError, KeyError, TypeError, AttributeError):
            return -1
    return 8 + length + max(ends, default=0)
