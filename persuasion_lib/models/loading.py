"""The base model: where it is, its number format, its tokenizer and the one prompt builder."""

import importlib.util
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from huggingface_hub import snapshot_download
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, LineageError, MissingInput
from persuasion_lib.core.pipeline import made_by, path_of
from persuasion_lib.core.records import Message
from persuasion_lib.core.store import read_json
from persuasion_lib.models.gguf import unpacked, unpacked_before

EXPORT = "persuasion_export.json"       # written into merged exports, which are no adapters


def base_folder(config: Config) -> Path:
    """The folder of the base model; a hub model is downloaded first.

    Raises:
        MissingInput: the demo model is not built yet, or the hub cannot be reached.
    """
    if config.model.base == "demo":
        folder = path_of(config, "base")
        if not folder.exists():
            raise MissingInput(f"{folder} is missing. Run {made_by('sft')} first.")
        return folder
    local = config.root / config.model.base
    if (local / EXPORT).exists():
        exported = read_json(local / EXPORT, made_by="persuasion export")
        raise LineageError(f"{local} is a merged export of {exported['name']!r}, so training on it "
                           f"would apply SFT twice. Set model.base={exported['base']}.")
    if local.is_dir():
        return local
    if named := unpacked_before(config) or (local.suffix == ".gguf" and config.model.base):
        return unpacked(config, named)
    try:
        return Path(snapshot_download(config.model.base, revision=config.model.revision,
                                      allow_patterns=["*.json", "*.safetensors", "*.txt"]))
    except OSError as error:
        if config.model.gguf:
            return unpacked(config, config.model.gguf)
        raise MissingInput(
            f"model {config.model.base!r} is neither a folder nor reachable on the hub "
            f"({type(error).__name__}). Connect once, or set model.base to a folder that holds "
            "config.json, tokenizer.json and *.safetensors.") from error


def has_fast_bfloat16() -> bool:
    """Whether products in bfloat16 are fast here: on GPUs that have them, on CPUs with AMX.

    Other CPUs compute them too, several times slower than in float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def dtype_of(config: Config) -> torch.dtype:
    """The number format of the weights; never float16, which needs loss scaling."""
    if config.model.dtype == "auto":
        return torch.bfloat16 if has_fast_bfloat16() else torch.float32
    return getattr(torch, config.model.dtype)


def load_tokenizer(config: Config) -> Tokenizer:
    """The tokenizer of the base model, padding on the left as generation needs it."""
    tokenizer = AutoTokenizer.from_pretrained(base_folder(config), padding_side="left")
    if tokenizer.chat_template is None:
        raise LineageError(f"{config.model.base} has no chat template, so it is no instruct model. "
                           "Choose one that has, for example Qwen/Qwen2.5-0.5B-Instruct.")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token    # Llama 3 has none
    return tokenizer


def special_tokens(tokenizer: Tokenizer) -> list[str]:
    """What the tokenizer reads as control tokens wherever it stands in a text."""
    added = tokenizer.added_tokens_decoder.values()
    return sorted({*tokenizer.all_special_tokens, *(str(t) for t in added if t.special)})


def end_tokens(model: PreTrainedModel, tokenizer: Tokenizer) -> list[int]:
    """The ids that end a reply: the tokenizer's, and those that the model's folder adds.

    Gemma closes a turn with a token that only its generation settings name; Llama 3 has three.
    """
    given = model.generation_config.eos_token_id
    named = given if isinstance(given, list) else [given]
    return sorted({tokenizer.eos_token_id, *named} - {None})


def prompt_ids(tokenizer: Tokenizer, prompt: Sequence[Message]) -> list[int]:
    """The token ids of a prompt up to where the reply begins: the one prompt builder.

    trl renders conversational rows with the same template, so that training, generation and
    evaluation see the same tokens.
    """
    return tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True,
                                         return_dict=False)


def load_base(config: Config) -> PreTrainedModel:
    """The base model alone, on the fastest device there is; in 4 bits if the settings say so.

    Raises:
        ConfigError: 4 bits are asked for where bitsandbytes cannot give them.
    """
    quiet()
    options: dict[str, Any] = {"dtype": dtype_of(config)}
    if config.model.load_in_4bit:
        if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
            raise ConfigError("model.load_in_4bit needs an NVIDIA GPU and the package bitsandbytes "
                              "(pip install bitsandbytes). Set model.load_in_4bit=false here.")
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype_of(config))
        model = AutoModelForCausalLM.from_pretrained(base_folder(config), **options)
    else:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = AutoModelForCausalLM.from_pretrained(base_folder(config), **options).to(device)
    model.generation_config = without_defaults(model.generation_config)
    return model.eval()


def without_defaults(given: GenerationConfig) -> GenerationConfig:
    """Plain sampling, with the end tokens of `given`.

    `generate` and servers add what a model's folder asks for (Qwen2.5's: a repetition penalty of
    1.1, top_k 20) to what the caller asks for, so that replies would not follow our settings.
    """
    return GenerationConfig(
        do_sample=True, temperature=1.0, top_p=1.0, top_k=0, repetition_penalty=1.0,
        bos_token_id=given.bos_token_id, eos_token_id=given.eos_token_id,
        pad_token_id=given.pad_token_id)


def quiet() -> None:
    """Silence what hides the rest: bars of a second each, a deprecation inside trl and peft."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
