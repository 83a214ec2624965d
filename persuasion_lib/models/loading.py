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
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    GenerationConfig,
    PreTrainedModel,
)
from transformers import PreTrainedTokenizerBase as Tokenizer

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, LineageError, MissingInput, brief
from persuasion_lib.core.hub import MAIN, Unreached, asked, is_of_hub
from persuasion_lib.core.pipeline import made_by, path_of
from persuasion_lib.core.records import Message
from persuasion_lib.core.store import read_json
from persuasion_lib.core.weights import BASE, converted
from persuasion_lib.models.chat import adapt, closing_ids
from persuasion_lib.models.folder import check_folder, refuse_random
from persuasion_lib.models.gguf import unpacked

EXPORT = "persuasion_export.json"       # written into merged exports, which are no adapters
# What is fetched from the hub: weights, settings, tokenizers of every kind and chat templates.
FILES = ["*.safetensors", "*.json", "*.txt", "*.jinja", "*.model"]


def base_folder(config: Config, *, whole: bool = True) -> Path:
    """The folder of the base model; a hub model is downloaded first (but its weights: `whole`).

    Raises:
        MissingInput: the demo model is not built yet, or the hub cannot be reached.
        LineageError: the folder is no base model, or not a whole one.
    """
    if config.model.base == "demo":
        folder = path_of(config, "base")
        if not folder.exists():
            raise MissingInput(f"{folder} is missing. Run {made_by('sft')} first.")
        return folder
    local = config.named_file(BASE)
    if (local / EXPORT).exists():
        exported = read_json(local / EXPORT, made_by="persuasion export")
        raise LineageError(f"{local} is a merged export of {exported['name']!r}, so training on it "
                           f"would apply SFT twice. Set model.base={exported['base']}.")
    if local.suffix == ".gguf":
        folder = unpacked(config, config.model.base)
    elif local.is_file():
        raise LineageError(f"{local} is a file and no model folder. Set model.base to a folder "
                           "that holds config.json, tokenizer.json and *.safetensors.")
    elif local.exists():
        folder, whole = local, True
    elif converted(config):                 # a run that began with it goes on with it
        folder = _instead(config)
    else:
        folder = _downloaded(config, FILES if whole else FILES[1:])
    check_folder(folder, whole=whole)
    return folder


def _downloaded(config: Config, files: list[str]) -> Path:
    """The hub's files of a model; where it cannot be reached, the model that `model.gguf` names."""
    model = config.model
    try:
        with asked(BASE, model.base, model.revision):
            return Path(snapshot_download(model.base, revision=model.revision,
                                          allow_patterns=files))
    except Unreached as error:
        if model.gguf and is_of_hub(model.base):        # and no path that leads nowhere
            return _instead(config)
        raise MissingInput(f"{error} Connect once, or set model.base to a folder that holds "
                           "config.json, tokenizer.json and *.safetensors.") from error


def _instead(config: Config) -> Path:
    """The model that `model.gguf` names, in place of that of the hub."""
    model = config.model
    if model.revision != MAIN:
        raise MissingInput(f"model.base {model.base!r} is not reachable on the hub, and nothing "
                           f"says that model.gguf is its revision {model.revision!r}. Connect "
                           f"once, or set model.revision={MAIN}.")
    return unpacked(config, model.gguf)


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
    """The tokenizer of the base model, padding on the left as generation needs it.

    Its chat template is fit for every dialogue; `adapted_tokenizer` says what was done to it.
    """
    return adapted_tokenizer(config)[0]


def tokenizer_if_there(config: Config) -> Tokenizer | None:
    """The same; None where the base model is not there yet, as the demo's may be."""
    try:
        return load_tokenizer(config)
    except MissingInput:
        return None


def adapted_tokenizer(config: Config, *, whole: bool = True) -> tuple[Tokenizer, list[str]]:
    """The same, with notes on what was adapted, each a part of a sentence.

    The weights need not be there but `whole`.

    Raises:
        LineageError: it cannot be read, belongs to another model, or its template cannot be used.
    """
    folder = base_folder(config, whole=whole)
    name = config.model.base
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left",
                                                  trust_remote_code=False)
    except Exception as error:
        raise LineageError(f"the tokenizer of {name} cannot be read ({brief(error)}). Its folder "
                           "needs tokenizer.json and tokenizer_config.json.") from error
    notes = _pad(tokenizer, _vocabulary(folder), name)
    return tokenizer, [*notes, *adapt(tokenizer, name)]


def _vocabulary(folder: Path) -> int:
    """How many tokens the model has numbers for."""
    return AutoConfig.from_pretrained(folder).get_text_config().vocab_size


def _pad(tokenizer: Tokenizer, vocabulary: int, name: str) -> list[str]:
    """Give the tokenizer a token to pad with, which the model has and no row attends to.

    Raises:
        LineageError: the model has no numbers for what the tokenizer writes.
    """
    pad = tokenizer.pad_token
    beyond = [token for token, at in tokenizer.get_vocab().items()
              if at >= vocabulary and token != pad]
    if beyond:
        raise LineageError(f"the tokenizer of {name} has {len(beyond)} tokens (such as "
                           f"{min(beyond)!r}) beyond the {vocabulary:,} that the model knows. Take "
                           "both from one download.")
    if pad is not None and tokenizer.pad_token_id < vocabulary:
        return []
    if tokenizer.eos_token is None:
        raise LineageError(f"the tokenizer of {name} names no token that ends a text (eos_token "
                           "in tokenizer_config.json). Take it from the model's own download.")
    tokenizer.pad_token = tokenizer.eos_token      # Llama 3 has none
    return [f"its tokenizer has no token to pad with: it is {tokenizer.eos_token} here"]


def special_tokens(tokenizer: Tokenizer) -> list[str]:
    """What the tokenizer reads as control tokens wherever it stands in a text."""
    added = tokenizer.added_tokens_decoder.values()
    return sorted({*tokenizer.all_special_tokens, *(str(t) for t in added if t.special)})


def end_tokens(model: PreTrainedModel, tokenizer: Tokenizer) -> list[int]:
    """The ids that end a reply: the tokenizer's, the template's, and what the model's folder adds.

    Gemma closes a turn with a token that only its generation settings name; Llama 3 has three;
    a base model that was given a template later often names none that is in it.
    """
    given = model.generation_config.eos_token_id
    named = given if isinstance(given, list) else [given]
    return sorted({tokenizer.eos_token_id, *named, *closing_ids(tokenizer)[:1]} - {None})


def prompt_ids(tokenizer: Tokenizer, prompt: Sequence[Message]) -> list[int]:
    """The token ids of a prompt up to where the reply begins: the one prompt builder.

    trl renders conversational rows with the same template, so that training, generation and
    evaluation see the same tokens.
    """
    return tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True,
                                         return_dict=False)


def _use_threads(config: Config) -> None:
    """Here, where every model comes from: training, sampling and drift then agree."""
    if config.training.threads is not None:
        torch.set_num_threads(config.training.threads)


def load_base(config: Config) -> PreTrainedModel:
    """The base model alone, on the fastest device there is; in 4 bits if the settings say so.

    Raises:
        ConfigError: 4 bits are asked for where bitsandbytes cannot give them.
    """
    quiet()
    _use_threads(config)
    options: dict[str, Any] = {"dtype": dtype_of(config)}
    if config.model.load_in_4bit:
        if not torch.cuda.is_available() or importlib.util.find_spec("bitsandbytes") is None:
            raise ConfigError("model.load_in_4bit needs an NVIDIA GPU and the package bitsandbytes "
                              "(pip install bitsandbytes). Set model.load_in_4bit=false here.")
        options["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype_of(config))
    model = _read(base_folder(config), options)
    if not config.model.load_in_4bit:
        model = model.to("cuda" if torch.cuda.is_available() else "cpu")
    model.generation_config = without_defaults(model.generation_config)
    return model.eval()


def _read(folder: Path, options: dict[str, Any]) -> PreTrainedModel:
    """The model of a folder, all of whose weights come from there."""
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder, output_loading_info=True, trust_remote_code=False, **options)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise LineageError(f"the model in {folder} cannot be loaded ({brief(error)}). Download "
                           "it again, or choose another.") from error
    refuse_random(found, folder)
    return model


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
