"""A base model from a `.gguf` file, for machines that no model hub reaches.

The file, or an installed package that carries one, is converted once into a folder as transformers
reads it, with the name and the hash of what it was made from beside the weights.
"""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import LineageError, MissingInput, brief
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.store import read_json, whole_folder, write_json
from persuasion_lib.core.weights import SOURCE, base_files_hash, converted, gguf_file, hash_once
from persuasion_lib.models.folder import refuse_random
from persuasion_lib.models.gguf_header import INSTEAD, Header, check_shape, read_header

# What follows a model's name in the name of a file: how its numbers are stored.
_STORED = re.compile(r"([-._](ud|i1|imat|gguf|i?q\d\w*|tq\d\w*|b?f16|fp?(16|32)|mxfp4\w*))+$", re.I)


def unpacked(config: Config, named: str) -> Path:
    """The folder of the model that a `.gguf` file or an installed package holds.

    It is converted at the first call, in about half a minute, and again when the settings name
    another file, when the file has another content, or when the folder was changed.

    Raises:
        MissingInput: there is no such file or package, it is another model than `model.base` by
            its name, or the package `gguf` is missing.
        LineageError: the file is not whole, or holds what is not known here.
    """
    folder = path_of(config, "unpacked")
    if _is_still_good(config, folder, named):
        return folder
    file = gguf_file(config, named)
    _check_name(config, file, named)
    print(f"{LINE_MARK}converting {file.name} to {folder}", flush=True)
    with whole_folder(folder) as new:
        convert(file, new)
        write_json(new / SOURCE, {
            "base": config.model.base, "named": named, "file": file.name,
            "sha256": hash_once(file), "weights": base_files_hash(new)})
    return folder


def _is_still_good(config: Config, folder: Path, named: str) -> bool:
    """Whether the folder was made from just that file; one that is gone is as it was."""
    source = converted(config)
    if source is None or source["named"] != named:
        return False
    if base_files_hash(folder) != source.get("weights", base_files_hash(folder)):
        return False
    try:
        return hash_once(gguf_file(config, named)) == source["sha256"]
    except MissingInput:
        return True


def _check_name(config: Config, file: Path, named: str) -> None:
    """Refuse a file that stands for a model of the hub and is called otherwise."""
    wanted = Path(config.model.base).name
    if named != config.model.base and _STORED.sub("", file.stem).lower() != wanted.lower():
        raise MissingInput(f"model {config.model.base!r} is neither a folder nor reachable on the "
                           f"hub, and {file.name} (model.gguf) is another model: its name does "
                           f"not begin with {wanted} and end with how its numbers are stored "
                           f"(-Q4_K_M, .F16). Connect once, or set model.base to {file}.")


def said_of_source(folder: Path) -> str:
    """What a base model was converted from, as a part of a sentence; "" for any other model."""
    if not (folder / SOURCE).exists():
        return ""
    source = read_json(folder / SOURCE, made_by="notebook 00")
    return f"unpacked from {source['file']} (sha256 {source['sha256'][:12]}…)"


def convert(file: Path, folder: Path) -> None:
    """Write the model of a `.gguf` file, in bfloat16, and its tokenizer into a new folder.

    Raises:
        MissingInput: the package `gguf` is missing.
        LineageError: the file is not whole, or holds what would be left out or guessed.
    """
    if importlib.util.find_spec("gguf") is None:
        raise MissingInput(f"reading {file.name} needs the package gguf. Run: pip install gguf.")
    transformers.utils.logging.disable_progress_bar()
    header = read_header(file)
    tokenizer, model = _read(file, header)
    tokenizer.model_max_length = model.config.max_position_embeddings
    for key in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(key, None)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _check_split(file, tokenizer, AutoTokenizer.from_pretrained(folder))


def _read(file: Path, header: Header) -> tuple[Tokenizer, PreTrainedModel]:
    """Both as transformers reads them, with the split of texts that the file names."""
    place: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(**place)
        # Without `dequantize` the weights would stay packed and could not be saved.
        model, found = AutoModelForCausalLM.from_pretrained(
            **place, dtype=torch.bfloat16, output_loading_info=True,
            quantization_config=GgufConfig(dequantize=True))
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception as error:
        raise LineageError(f"the model in {file} cannot be read ({brief(error)}). {INSTEAD}"
                           ) from error
    if header.split is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = header.split
    refuse_random(found, file)
    check_shape(file, header, model)
    return tokenizer, model


def _check_split(file: Path, before: Tokenizer, after: Tokenizer) -> None:
    """Refuse a tokenizer that comes back from its folder as another one.

    Qwen's only then normalizes its texts, as it must; a file says nothing of that.
    """
    first, second = (json.loads(tokenizer.backend_tokenizer.to_str())
                     for tokenizer in (before, after))
    if any(first[part] != second[part] for part in ("pre_tokenizer", "model")):
        raise LineageError(f"the tokenizer of {file} splits texts otherwise once it is saved, so "
                           f"that the model would get other tokens than it learned. {INSTEAD}")
