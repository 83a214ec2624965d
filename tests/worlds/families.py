"""Tiny models with random weights in the shapes of families that people choose, made on the spot.

The templates have the logic of the real ones in our own words: where a turn begins and ends, what
is refused, trimmed, moved or added.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, Qwen2Tokenizer

TEXTS = ["Tea is good. Why should I change my view? Yes, it is.", "Coffee is better, isn't it?"]

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
# Invents a system message where there is none.
QWEN25 = ("{% if messages[0].role != 'system' %}<|im_start|>system\nYou are helpful.<|im_end|>\n"
          "{% endif %}" + CHATML)
# Closes an empty thinking block where thinking is off; of the last reply always; strips others.
QWEN3 = (
    "{%- for m in messages -%}"
    "{%- set said = m.content.split('</think>')[-1].lstrip('\\n') -%}"
    "{{- '<|im_start|>' + m.role + '\\n' -}}"
    "{%- if m.role == 'assistant' and loop.last -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}"
    "{{- said + '<|im_end|>\\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}"
    "{%- if enable_thinking is defined and enable_thinking is false -%}"
    "{{- '<think>\\n\\n</think>\\n\\n' -}}{%- endif -%}{%- endif -%}")
# Thinks first, and no setting says otherwise.
THINKS = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
# Writes the day, trims, and has no line break behind a turn.
LLAMA3 = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- if strftime_now is defined %}"
    "{%- set date_string = strftime_now('%d %b %Y') %}{%- else %}"
    "{%- set date_string = '26 Jul 2024' %}{%- endif %}{%- endif %}"
    "{%- if messages[0].role == 'system' %}{%- set system = messages[0].content | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string + '\n\n' }}"
    "{{- system + '<|eot_id|>' }}"
    "{%- for m in messages %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' }}"
    "{{- m.content | trim + '<|eot_id|>' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}"
    "{%- endif %}")
# In turn only; its own end of a turn, which its tokenizer does not name.
_GEMMA = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Roles must alternate user/assistant') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
    "{{ m.content | trim }}{{ '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}")
GEMMA = ("{{ bos_token }}{% if messages[0].role == 'system' %}"
         "{{ raise_exception('System role not supported') }}{% endif %}" + _GEMMA)
# As above, but a system message is written into the first turn of the user.
GEMMA3 = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}"
    "{% set first = messages[0].content + '\n\n' %}{% set messages = messages[1:] %}"
    "{% else %}{% set first = '' %}{% endif %}"
    + _GEMMA.replace("{{ m.content", "{{ (first if loop.first else '') + m.content"))
# The system message comes with the last turn of the user, and nothing breaks a line.
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}"
    "{% set turns = messages %}{% endif %}"
    "{{ bos_token }}{% for m in turns %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' and (turns | selectattr('role', 'equalto', 'user') | list)[-1] == m %}"
    "{{ '[INST] ' + (system + '\n\n' if system else '') + m.content + '[/INST]' }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + m.content + '[/INST]' }}"
    "{% else %}{{ ' ' + m.content + eos_token }}{% endif %}{% endfor %}")
# Two end tokens behind a reply.
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}")
SMOLLM2 = ("{% if messages[0].role != 'system' %}<|im_start|>system\nYou are SmolLM.<|im_end|>\n"
           "{% endif %}" + CHATML)
# Leaves the end of a reply to the next turn.
OPEN_END = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}")


@dataclass(frozen=True)
class Shape:
    """Of a family: template, architecture, and the names of its control tokens."""

    template: Any
    kind: str
    eos: str
    bos: str | None = None
    pad: str | None = None
    control: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()          # that only generation_config.json names
    settings: dict[str, Any] = field(default_factory=dict)


_IM = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_HEADERS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>")
FAMILIES = {
    "qwen2.5": Shape(QWEN25, "qwen2", "<|im_end|>", pad="<|endoftext|>", control=_IM,
                     ends=("<|endoftext|>",), settings={"beyond": 40}),
    "qwen3": Shape(QWEN3, "qwen3", "<|im_end|>", pad="<|endoftext|>", control=_IM,
                   settings={"head_dim": 8}),
    "llama3": Shape(LLAMA3, "llama", "<|eot_id|>", bos="<|begin_of_text|>", control=_HEADERS,
                    ends=("<|end_of_text|>",)),
    "gemma": Shape(GEMMA, "gemma", "<eos>", bos="<bos>", pad="<pad>",
                   control=("<start_of_turn>", "<end_of_turn>"), settings={"head_dim": 8}),
    "gemma3": Shape(GEMMA3, "gemma3_text", "<eos>", bos="<bos>", pad="<pad>",
                    control=("<start_of_turn>", "<end_of_turn>"), ends=("<end_of_turn>",),
                    settings={"head_dim": 8, "sliding_window": 512}),
    "mistral": Shape(MISTRAL, "mistral", "</s>", bos="<s>", control=("[INST]", "[/INST]"),
                     settings={"sliding_window": None}),
    "phi": Shape(PHI, "phi3", "<|endoftext|>", pad="<|endoftext|>",
                 control=("<|end|>", "<|user|>", "<|assistant|>", "<|system|>"),
                 ends=("<|end|>", "<|assistant|>"), settings={"pad_token_id": 0}),
    "smollm2": Shape(SMOLLM2, "llama", "<|im_end|>", bos="<|im_start|>", pad="<|im_end|>",
                     control=_IM, settings={"tie_word_embeddings": True}),
    "open end": Shape(OPEN_END, "llama", "<|endoftext|>",
                      control=("<|user|>", "<|assistant|>", "<|system|>"), ends=("<|user|>",)),
    "none": Shape(None, "llama", "<|endoftext|>"),
    "thinks": Shape(THINKS, "qwen3", "<|im_end|>", control=_IM, settings={"head_dim": 8}),
}


def tokenizer_of(shape: Shape) -> Qwen2Tokenizer:
    """A byte-level tokenizer with the control tokens of a family."""
    named = [shape.eos, shape.bos, shape.pad, *shape.control]
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        TEXTS, 340, new_special_tokens=sorted({*filter(None, named)}), show_progress=False)
    tokenizer.eos_token = shape.eos
    tokenizer.bos_token = shape.bos
    tokenizer.pad_token = shape.pad
    tokenizer.chat_template = shape.template
    if shape.bos:       # as Llama's: a second one beside the template's, for who tokenizes text
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            single=f"{shape.bos} $A", special_tokens=[(shape.bos, tokenizer.bos_token_id)])
    return tokenizer


def tiny_model(kind: str, vocabulary: int, **settings: Any) -> torch.nn.Module:
    """A model of two layers, whose weights are large enough that replies differ."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{
        "vocab_size": vocabulary, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": None,
        "pad_token_id": None, **settings})
    return AutoModelForCausalLM.from_config(config).eval()


def family_folder(name: str, folder: Path) -> Path:
    """A model folder as a download would be, of one of FAMILIES."""
    shape = FAMILIES[name]
    tokenizer = tokenizer_of(shape)
    settings = {**shape.settings}
    model = tiny_model(shape.kind, len(tokenizer) + settings.pop("beyond", 0), **settings)
    ends = tokenizer.convert_tokens_to_ids([shape.eos, *shape.ends])
    model.generation_config = GenerationConfig(eos_token_id=ends)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
