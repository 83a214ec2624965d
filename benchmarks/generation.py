"""Pairs and the answers of five systems, two ways, side by side, by shape and allocator.

    make bench PART=generation      # about 40 minutes on two cores

*copies*: as the earlier public run did it: a merged copy of the model per system, all loaded, and
one prompt at a time through `generate`. *ours*: one base with named adapters, batches of 32, a
prompt goes through the model once for both replies of a pair. Weights are random, so replies
never end by themselves and all have NEW_TOKENS tokens, a quarter of a real run's cap: there the
gain is larger, because batching helps decoding most. The copies answer fewer prompts, so times
are per reply.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import shapes

KINDS = ("copies", "ours")
SYSTEMS = ("base", "sft", "rlhf", "rlaif", "rlaif_rlhf")
PROMPT, NEW_TOKENS = 485, 64
REPLIES = {"copies": 1, "ours": 32}         # per system; a pair takes the time of two
TEXT = "Tea is better than coffee. "


def run() -> list[dict[str, Any]]:
    """Results in the form of `results/bench/bench.json`."""
    found: list[dict[str, Any]] = []
    for shape in shapes.shapes():
        with tempfile.TemporaryDirectory() as folder:
            build_systems(Path(folder), shape)
            measured = shapes.side_by_side("generation", KINDS, shape, folder)
        for allocator, ways in measured.items():
            found += results(ways, shape, allocator)
    return found


def results(measured: dict[str, list[dict[str, Any]]], shape: str,
            allocator: str) -> list[dict[str, Any]]:
    """The three figures from the repetitions of each kind."""
    def series(figure: str) -> tuple[list[float], list[float]]:
        return tuple([m[figure] for m in measured[kind]] for kind in KINDS)

    def name(what: str) -> str:
        return shapes.named(what, shape, allocator)

    extra = {"repetitions": shapes.REPETITIONS, "dtype": measured["ours"][0]["dtype"],
             "prompt_tokens": PROMPT, "new_tokens": NEW_TOKENS, "medians": {
                 kind: {figure: statistics.median(m[figure] for m in measured[kind])
                        for figure in ("pair_s", "answer_s", "peak_gb")} for kind in KINDS}}
    peak = series("peak_gb")
    return [shapes.ratio(name("generation_vs_one_by_one"), *series("answer_s"), 5.0, extra),
            shapes.ratio(name("pairs_vs_one_by_one"), *series("pair_s"), 5.0, extra),
            shapes.ratio(name("generation_memory_vs_copies"), peak[1], peak[0], 0.5, extra,
                         less_is_better=True)]


def measure(kind: str, folder: Path, replies: int = 0) -> dict[str, Any]:
    """Seconds per pair and per answer, and the peak memory of this process in GB.

    Args:
        replies: of each system at once, instead of REPLIES.
    """
    from persuasion_lib.models.loading import dtype_of

    replies = replies or REPLIES[kind]
    pairs, answers = (_copies if kind == "copies" else _ours)(folder, replies)
    pair_s = shapes.seconds(pairs) / (replies / 2)
    answer_s = shapes.seconds(answers) / (replies * len(SYSTEMS))
    return {"pair_s": pair_s, "answer_s": answer_s, "peak_gb": shapes.peak_gb(),
            "dtype": str(dtype_of(_config(folder)))}


def _ours(folder: Path, replies: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """As 00 and 05 do it."""
    from persuasion_lib.core.store import KeyedLog
    from persuasion_lib.models.compose import ModelFamily
    from persuasion_lib.models.sampling import Request, sample

    config = _config(folder, f"generation.batch_size={replies}")
    family = ModelFamily(config, SYSTEMS[2:])
    prompts = _prompts(family.tokenizer, replies)

    def ask(name: str, per_prompt: int) -> None:
        requests = [Request(str(at), prompts[at // per_prompt]) for at in range(replies)]
        with family.use(name) as model, KeyedLog(Path(tempfile.mkdtemp()) / "log") as log:
            sample(model, family.tokenizer, requests, config.generation, seed=0,
                   model_hash="", log=log, desc=name)

    return lambda: ask("sft", 2), lambda: [ask(name, 1) for name in SYSTEMS]


def _copies(folder: Path, replies: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """A copy of the model per system, and one reply at a time."""
    from persuasion_lib.models.export import merged
    from persuasion_lib.models.loading import load_tokenizer, prompt_ids

    config = _config(folder)
    tokenizer = load_tokenizer(config)
    models = {name: merged(config, name) for name in SYSTEMS}
    prompts = _prompts(tokenizer, replies)

    def ask(name: str, at: int) -> None:
        import torch

        ids = torch.tensor([prompt_ids(tokenizer, prompts[at])], device=models[name].device)
        models[name].generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True,
                              temperature=config.generation.temperature,
                              top_p=config.generation.top_p, max_new_tokens=NEW_TOKENS)

    many = range(replies)
    return (lambda: [ask("sft", at // 2) for at in many],
            lambda: [ask(name, at) for name in SYSTEMS for at in many])


def _prompts(tokenizer: Any, count: int) -> list[Any]:
    """Prompts of about PROMPT tokens, a little shorter and longer by turns."""
    from persuasion_lib.models.loading import prompt_ids

    frame = len(prompt_ids(tokenizer, [{"role": "user", "content": ""}]))
    per_sentence = len(tokenizer(TEXT)["input_ids"])
    wanted = [PROMPT - frame + 15 * (at % 3 - 1) for at in range(count)]
    texts = [f"{at} " + TEXT * (length // per_sentence) for at, length in enumerate(wanted)]
    return [[{"role": "user", "content": text}] for text in texts]


def _config(folder: Path, *settings: str) -> Any:
    from persuasion_lib.core.config import load_config

    return load_config("full", [f"model.base={folder / 'base'}", f"paths.models={folder}",
                                f"generation.max_new_tokens={NEW_TOKENS}", *settings])


def build_systems(folder: Path, shape: str) -> None:
    """The base model, and adapters with random weights and a true lineage."""
    from peft import LoraConfig, get_peft_model

    from benchmarks.hub_folder import build
    from persuasion_lib.core.pipeline import path_of
    from persuasion_lib.models.lineage import write_lineage
    from persuasion_lib.models.loading import load_base

    build(folder / "base", [TEXT], shape=shape)
    config = _config(folder)
    settings = LoraConfig(r=config.lora.r, lora_alpha=config.lora.alpha, init_lora_weights=False,
                          target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(load_base(config), settings)
    for name in SYSTEMS[1:]:
        model.save_pretrained(path_of(config, name))
        write_lineage(config, name, path_of(config, name), fingerprint="")


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Path(sys.argv[3]))))
