"""Notebook 00: from a corpus to SFT rows, test prompts, an SFT checkpoint and unlabelled pairs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.progress import Progress
from persuasion_lib.core.records import content_id, example_row, pair_row, parse_pair
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import (
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)
from persuasion_lib.data.corpora import read_corpus
from persuasion_lib.data.gates import broken_gates, pair_figures
from persuasion_lib.data.given_files import adopt_sft, read_own_files, sft_checkpoint
from persuasion_lib.data.overlap import overlap_faults, overlap_table, shared_passages
from persuasion_lib.data.pairs import reply_source, sample_pairs
from persuasion_lib.data.splits import POOLS, SETS, Corpus, draw_examples, split_by_conversation
from persuasion_lib.data.tables import cleaning_table, counts, token_lengths
from persuasion_lib.demo.model import build_base_model
from persuasion_lib.models.loading import load_tokenizer, quiet
from persuasion_lib.models.sampling import Generation, truncation
from persuasion_lib.training.history import training_curve
from persuasion_lib.training.sft import train_sft


def load_corpus(run: StageRun) -> Corpus:
    """Read the corpus and split it by conversation; or read the files of `data.source=files`."""
    if run.config.data.source == "files":
        return read_own_files(run)
    return split_by_conversation(read_corpus(run.config), run.config)


def build_base(run: StageRun, corpus: Corpus) -> Path | None:
    """Build the demo model if `model.base` is "demo" and it is not there yet; else do nothing.

    It learns from the SFT conversations only, so pools and test prompts stay unseen.
    """
    config = run.config
    if config.model.base != "demo" or not corpus.conversations.get("sft_train"):
        return None
    folder, settings = run.path("base"), config.demo_model
    conversations = corpus.conversations["sft_train"]
    made_from = {"seed": config.seed, "system_prompt": config.data.system_prompt,
                 **config.section("demo_model"),
                 "conversations": content_id([[t.text for t in c.turns] for c in conversations])}
    record = folder.with_name("base.json")
    if folder.exists() and record.exists() and read_json(
            record, made_by=made_by("sft")) == made_from:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    quiet()
    with Progress(settings.steps, "pre-training the demo model") as progress:
        build_base_model(
            conversations, folder, seed=config.seed, steps=settings.steps,
            batch_size=settings.batch_size, system_prompt=config.data.system_prompt,
            progress=lambda step, total, loss: progress.update(1, f"loss {loss:.2f}"))
    write_json(record, made_from)
    return folder


def make_examples(run: StageRun, corpus: Corpus) -> Corpus:
    """Turn conversations into prompt and reply, fit them to the token limits, write the files.

    Rows of the user's own files stay as they are.
    """
    if run.config.data.source != "files":
        draw_examples(corpus, run.config, load_tokenizer(run.config))
    else:
        corpus.shared = shared_passages(corpus.rows)
    for name in SETS:
        file = f"{name}_prompts" if name in POOLS else name
        if name in corpus.examples:
            write_jsonl(run.path(file), map(example_row, corpus.examples[name]))
        else:
            _leave_out(run, file)
    return corpus


def _leave_out(run: StageRun, name: str) -> None:
    """Make no such file this time, and leave none of an earlier time."""
    run.without.add(name)
    run.path(name).unlink(missing_ok=True)


def fine_tune(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Train the SFT checkpoint unless it is there already; returns its loss curve.

    With `data.source=files` somebody's own checkpoint goes before training. Without it and
    without SFT rows there is no SFT model, which only matters if pairs have to be sampled.
    """
    if own := sft_checkpoint(run.config):
        adopt_sft(run.config, own)
        return training_curve(run.config, "sft")
    if "sft_train" in corpus.examples:
        return train_sft(run.config, corpus.examples["sft_train"], corpus.examples["sft_val"])
    run.warnings.append("There is neither sft_train.jsonl nor an SFT checkpoint, so notebooks 04 "
                        "and 05 cannot run.")
    run.without.add("sft")
    return pd.DataFrame()


def generate_pairs(run: StageRun, corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Two sampled replies per prompt of both pools; returns truncation counts by pool.

    A pool that somebody else sampled is written as it is.
    """
    config = run.config
    summary: dict[str, dict[str, Any]] = {}
    for pool, pairs in corpus.pairs.items():
        write_jsonl(run.path(f"{pool}_responses"), map(pair_row, pairs))
        summary[pool] = {"given pairs": len(pairs)}
    pools = [p for p in POOLS if p in corpus.examples]
    for pool in set(POOLS) - set(corpus.rows):
        _leave_out(run, f"{pool}_responses")
    if not pools:
        return summary
    with reply_source(config) as source:
        for pool in pools:
            pairs = sample_pairs(config, corpus.examples[pool], source,
                                 desc=f"sampling {pool} pairs")
            write_jsonl(run.path(f"{pool}_responses"), map(pair_row, pairs))
            ends = [end for p in pairs for end in zip(
                p.metadata["finish"], p.metadata["tokens"], strict=True)]
            summary[pool] = truncation([Generation("", *end) for end in ends]) | {
                "identical_pairs": sum(p.response_a == p.response_b for p in pairs)}
    return summary


def overlaps(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Shared conversations, prompts and parts of prompts between every pair of sets.

    Raises:
        DataError: two sets share a conversation, or more than `data.max_shared_passages` of a
            prompt; the message names the rows. Or a given pool breaks a limit.
    """
    config = run.config
    faults = overlap_faults(corpus.rows, corpus.shared, config.data.max_shared_passages)
    if faults:
        faults.append("Remove these rows from the set that is trained on.")
    for pool, pairs in corpus.pairs.items():
        faults += broken_gates(pool, pair_figures(pairs), config.gates)
    if faults:
        raise DataError("the sets are not fit for the experiment:\n" + "\n".join(faults) + "\n"
                        "To go on with pairs all the same, set the named limit.")
    return overlap_table(corpus.rows, corpus.shared)


def write_report(run: StageRun, corpus: Corpus, pairs: dict[str, Any]) -> Path:
    """What was read, dropped, split and sampled, as text beside the data."""
    parts = ["PREPARED DATA", f"corpus: {run.config.data.source}", "",
             counts(run, corpus).to_string(), "", token_lengths(run, corpus).to_string(), "",
             overlaps(run, corpus).to_string(index=False), "",
             "messages changed by cleaning", cleaning_table(corpus).to_string(), "",
             *(f"{count:6d}  {reason}" for reason, count in sorted(corpus.dropped.items())), "",
             *(f"{pool}: {values}" for pool, values in pairs.items())]
    return write_text(run.path("prepare_report"), "\n".join(parts) + "\n")


def check_pools(run: StageRun) -> pd.DataFrame:
    """The figures of both pools before anybody labels them.

    Raises:
        DataError: a limit of the `validate` settings is broken; labels would be wasted.
    """
    figures, faults = {}, []
    for name in (f"{pool}_responses" for pool in POOLS):
        if name in run.without:
            continue
        pool = name.removesuffix("_responses")
        figures[pool] = pair_figures(read_jsonl(run.path(name), parse_pair, made_by=made_by(name)))
        faults += broken_gates(pool, figures[pool], run.config.gates)
    if faults:
        raise DataError("the pairs are not worth labelling:\n" + "\n".join(faults) + "\n"
                        "To go on all the same, set the named limit.")
    return pd.DataFrame(figures).T


def totals(run: StageRun, corpus: Corpus) -> dict[str, Any]:
    """Planned and done rows over all sets, for the manifest."""
    table = counts(run, corpus)
    return {"planned": int(table["planned"].sum()), "done": int(table["done"].sum()),
            "by_set": table["done"].to_dict(), "dropped": dict(corpus.dropped)}
