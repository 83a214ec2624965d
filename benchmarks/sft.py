"""SFT on rows of dialogues, three ways, side by side.

    make bench PART=sft     # about 40 minutes on two cores

*trl*: its SFTTrainer as it is, 8 rows (4 of a large vocabulary) padded to the longest. *packed*:
this project's engine on the same batches. *conversations*: the same rows, those of a dialogue in
one batch. Lengths are those of PersuasionForGood: dialogues of ten replies of 28 tokens, prompts
of 330 on average.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from benchmarks import shapes

KINDS = ("trl", "packed", "conversations")
DIALOGUES = (10, 11, 11)        # rows each
OPENING, TURN, REPLY = 60, 60, 28       # tokens: before the first reply, of each round, taught
BATCH = 8
# trl's logits of 8 rows over 152,000 words are more than a machine of 24 GB holds.
FEWER_ROWS = {"qwen2.5-0.5b": 4}


def run() -> list[dict[str, Any]]:
    """Results in the form of `results/bench/bench.json`."""
    return [result for shape in shapes.shapes()
            for allocator, measured in shapes.side_by_side("sft", KINDS, shape).items()
            for result in results(measured, shape, allocator)]


def results(measured: dict[str, list[dict[str, Any]]], shape: str,
            allocator: str) -> list[dict[str, Any]]:
    """Both ratios of time and that of memory, from the repetitions of each kind."""
    row = {kind: [m["row_s"] for m in measured[kind]] for kind in KINDS}
    memory = {kind: [m["peak_gb"] for m in measured[kind]] for kind in KINDS}
    extra = {"dtype": measured["trl"][0]["dtype"], "repetitions": shapes.REPETITIONS,
             "seconds_a_row": {kind: statistics.median(row[kind]) for kind in KINDS},
             "peak_gb": {kind: max(memory[kind]) for kind in KINDS}}

    def name(what: str) -> str:
        return shapes.named(what, shape, allocator)

    return [shapes.ratio(name("sft_row_vs_trl"), row["trl"], row["packed"], 3.0, extra),
            shapes.ratio(name("sft_conversations_vs_trl"), row["trl"], row["conversations"], 6.0,
                         extra),
            shapes.ratio(name("sft_memory_vs_trl"), memory["packed"], memory["trl"], 0.5, extra,
                         less_is_better=True)]


def measure(kind: str, shape: str) -> dict[str, Any]:
    """Seconds per row and the peak memory of this process, over batches of all rows."""
    trainer = sft_trainer(kind, shape, FEWER_ROWS.get(shape, BATCH))
    batches = list(trainer.get_train_dataloader())
    # The longest first: memory that a process gets for the first time is slow.
    longest = max(batches, key=lambda batch: batch["input_ids"].numel())
    took = shapes.step_seconds(trainer, batches, warm=[longest])
    rows = statistics.mean(len(batch["input_ids"]) for batch in batches)
    return {"row_s": took / rows, "peak_gb": shapes.peak_gb(),
            "dtype": str(trainer.model.dtype)}


def sft_trainer(kind: str, shape: str, batch: int = BATCH, dtype: Any = None) -> Any:
    """The trainer of a kind on random dialogues, four batches or a few more."""
    import torch
    from peft import LoraConfig
    from trl import SFTConfig

    from persuasion_lib.core.config import load_config
    from persuasion_lib.training.packed import pack_rows
    from persuasion_lib.training.sft import ReplyTrainer

    model = shapes.model(shape, dtype)
    rows = dialogue_rows(model.config.vocab_size, DIALOGUES * max(1, batch // BATCH))
    together = str(kind == "conversations").lower()
    trainer = ReplyTrainer(
        load_config("full", [f"sft.whole_conversations={together}"]), [], model=model,
        train_dataset=rows, eval_dataset=rows,
        processing_class=shapes.tokenizer(),
        peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear",
                               task_type="CAUSAL_LM"),
        args=SFTConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=batch,
                       report_to="none", max_length=None, activation_checkpointing=False,
                       disable_tqdm=True, bf16=model.dtype == torch.bfloat16,
                       data_seed=0, use_cpu=not torch.cuda.is_available()))
    if kind != "trl":
        pack_rows(trainer.model.get_base_model(), OPENING + TURN * max(DIALOGUES))
    return trainer


def dialogue_rows(vocabulary: int, dialogues: Sequence[int]) -> Any:
    """A row for each reply of dialogues of random tokens, as trl has them when tokenized."""
    import numpy as np
    from datasets import Dataset

    rng = np.random.default_rng(0)
    rows = []
    for replies in dialogues:
        talk = rng.integers(10, vocabulary, OPENING + TURN * replies).tolist()
        for number in range(replies):
            start = OPENING + TURN * number
            rows.append({"input_ids": talk[:start + REPLY],
                         "labels": [-100] * start + talk[start:start + REPLY]})
    return Dataset.from_list(rows)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], sys.argv[2])))
