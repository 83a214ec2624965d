"""Is a `.gguf` file whole and understood? Found out from its header, and from the model it became.

transformers takes from such a file what it knows, starts with random numbers what is not there,
and leaves out the rest without a word. Here each is an error.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import pre_tokenizers
from transformers import PreTrainedModel
from transformers.integrations.ggml import GGUF_CONFIG_MAPPING

from persuasion_lib.core.errors import LineageError, brief

FOLDER = "Take the model's folder with tokenizer.json and *.safetensors instead."
INSTEAD = f"Download it again. Or {FOLDER[0].lower()}{FOLDER[1:]}"
# How texts are split before their pieces are numbered, by architecture and the file's name for the
# split (`None` is what transformers does for both). With another one the same words get other
# numbers.
_SMOLLM = pre_tokenizers.Sequence([
    pre_tokenizers.Digits(individual_digits=True),
    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
SPLITS: dict[str, dict[str, pre_tokenizers.PreTokenizer | None]] = {
    "llama": {"smollm": _SMOLLM, "qwen2": None, "llama-bpe": None, "gpt-2": None},
    "qwen2": {"qwen2": None}, "qwen3": {"qwen2": None}}
# What a file of llama.cpp always says; a default in its place would be a guess.
_NEEDED = ("context_length", "embedding_length", "block_count", "feed_forward_length",
           "attention.head_count", "attention.layer_norm_rms_epsilon")
# Settings of a file that transformers does not take over, but that say what it does anyway.
_WIDTHS = ("rope.dimension_count", "attention.key_length", "attention.value_length")


@dataclass(frozen=True)
class Header:
    """What must come true of the model: `widths` of its heads, and how many `numbers` it has."""

    split: pre_tokenizers.PreTokenizer | None
    widths: dict[str, int]
    numbers: int


def read_header(file: Path) -> Header:
    """What a `.gguf` file says of itself.

    Raises:
        LineageError: it is no such file, cut off or in several parts, or it names an architecture,
            a tokenizer or a setting that is not known here.
    """
    from gguf import GGUFReader
    try:
        reader = GGUFReader(file)
        found = {key: field.contents() for key, field in reader.fields.items()
                 if not key.startswith("tokenizer.ggml.t") and "merges" not in key}
    except Exception as error:
        raise LineageError(f"{file} was cut off, or is no .gguf file ({file.stat().st_size:,} "
                           f"bytes; {brief(error)}). {INSTEAD}") from error
    parts = found.get("split.count") or 1
    if parts > 1:
        raise LineageError(f"{file} is one of {parts} parts of a model. Join them (llama-gguf-"
                           "split --merge FIRST.gguf WHOLE.gguf), and name the whole file.")
    kind = found.get("general.architecture")
    if kind not in SPLITS:
        raise LineageError(f"{file} is of the architecture {kind}, which is not known here. Known "
                           f"are {', '.join(SPLITS)}. {FOLDER}")
    split = _split_of(file, kind, found)
    _refuse_unknown(file, kind, found, [tensor.name for tensor in reader.tensors])
    return Header(split=split, numbers=sum(int(tensor.n_elements) for tensor in reader.tensors),
                  widths={name: found[f"{kind}.{name}"] for name in _WIDTHS
                          if f"{kind}.{name}" in found})


def _split_of(file: Path, kind: str, found: dict[str, Any]) -> pre_tokenizers.PreTokenizer | None:
    model, name = found.get("tokenizer.ggml.model"), found.get("tokenizer.ggml.pre")
    if model != "gpt2" or name not in SPLITS[kind]:
        raise LineageError(f"the tokenizer of {file.name} (model {model}, pre-tokenizer {name}) is "
                           f"not known here for {kind}, and a near one would give other tokens "
                           f"than the model learned. Known are {', '.join(SPLITS[kind])}. "
                           f"{FOLDER}")
    return SPLITS[kind][name]


def _refuse_unknown(file: Path, kind: str, found: dict[str, Any], tensors: list[str]) -> None:
    """Refuse what changes the model and is not taken over, such as a rotation that is scaled."""
    missing = [name for name in _NEEDED if f"{kind}.{name}" not in found]
    if missing:
        raise LineageError(f"{file} says nothing of {', '.join(missing)}, which would be guessed. "
                           f"{INSTEAD}")
    known = {f"{kind}.{name}" for name in (*GGUF_CONFIG_MAPPING[kind], *_WIDTHS)}
    unknown = [f"{key} = {value!r:.40}" for key, value in found.items()
               if key.startswith(f"{kind}.") and key not in known and value not in (0, "none")]
    unknown += [name for name in tensors if name.startswith("rope_")]
    if unknown:
        raise LineageError(f"{file.name} asks for {', '.join(unknown[:3])}, which would be left "
                           f"out, so that the model would be another one than it was. {FOLDER}")


def check_shape(file: Path, header: Header, model: PreTrainedModel) -> None:
    """Refuse a model that is not all of its file.

    Raises:
        LineageError: its heads are of another width, or numbers of the file are left out.
    """
    config = model.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    wrong = [f"{name} = {value}" for name, value in header.widths.items() if value != width]
    if wrong or model.num_parameters() != header.numbers:
        raise LineageError(
            f"{file.name} holds {header.numbers:,} numbers, and the model that it becomes here "
            f"{model.num_parameters():,}" + f", with heads of {width} and not {wrong}" * bool(wrong)
            + f". {FOLDER}")
