"""Notebook 00: from a corpus to SFT rows, test prompts, an SFT checkpoint and unlabelled pairs."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.checks.check import BY_NAME, look, percent, texts
from persuasion_lib.checks.material import Kinds, of_pool, of_targets, together
from persuasion_lib.checks.registry import checks_of
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import POOLS, made_by
from persuasion_lib.core.progress import LINE_MARK, Progress
from persuasion_lib.core.records import Example, Pair, content_id, example_row, pair_row
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_json, write_json, write_jsonl, write_text
from persuasion_lib.data import corpora, gates, given_files, overlap, splits, tables
from persuasion_lib.data.pairs import reply_source, sample_pairs
from persuasion_lib.data.splits import SETS, Corpus
from persuasion_lib.demo.model import build_base_model
from persuasion_lib.models.chat import changed_rows
from persuasion_lib.models.check import SAMPLED, check_length, check_sampling, context_of
from persuasion_lib.models.fluency import nats_per_token
from persuasion_lib.models.loading import (
    Tokenizer,
    adapted_tokenizer,
    load_base,
    load_tokenizer,
    prompt_ids,
    quiet,
    special_tokens,
    tokenizer_if_there,
)
from persuasion_lib.training.adopt import adopt_sft, sft_checkpoint, untrained_sft
from persuasion_lib.training.history import training_curve
from persuasion_lib.training.loop import check_lora
from persuasion_lib.training.sft import train_sft
from persuasion_lib.training.shared_prefix import share_prefixes

READ_REPLIES = 48       # of people and of the model, by which word salad is known


def load_corpus(run: StageRun) -> Corpus:
    """Read the corpus and split it by conversation; or read the files of `data.source=files`."""
    if run.config.data.source == "files":
        return given_files.read_given_files(run)
    return splits.split_by_conversation(corpora.read_corpus(run.config), run.config)


def build_base(run: StageRun, corpus: Corpus) -> Path | None:
    """Build the demo model if `model.base` is "demo" and it is not there yet; else do nothing.

    It learns from the SFT conversations only, so pools and test prompts stay unseen.
    """
    config = run.config
    if config.model.base != "demo" or not corpus.conversations.get("sft_train"):
        return None
    folder = run.path("base")
    settings = config.demo_model
    conversations = corpus.conversations["sft_train"]
    made_from = {"seed": config.seed, "system_prompt": corpora.system_prompt(config),
                 **config.section("demo_model"),
                 "conversations": content_id([[t.text for t in c.turns] for c in conversations])}
    record = folder.with_name("base.json")
    kept = folder.exists() and record.exists()
    if kept and read_json(record, made_by=made_by("sft")) == made_from:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    quiet()
    with Progress(settings.steps, "pre-training the demo model") as progress:
        build_base_model(
            conversations, folder, seed=config.seed, steps=settings.steps,
            batch_size=settings.batch_size, system_prompt=corpora.system_prompt(config),
            progress=lambda step, total, loss: progress.update(1, f"loss {loss:.2f}"))
    write_json(record, made_from)
    return folder


def make_examples(run: StageRun, corpus: Corpus) -> None:
    """Turn conversations into prompt and reply, fit them to the token limits, write the files.

    Rows of the user's own files stay as they are.
    """
    if run.config.data.source != "files":
        tokenizer = load_tokenizer(run.config)
        splits.draw_examples(corpus, run.config, tokenizer, special=special_tokens(tokenizer))
    for name in SETS:
        file = f"{name}_prompts" if name in POOLS else name
        if name in corpus.examples:
            write_jsonl(run.path(file), map(example_row, corpus.examples[name]))
        else:
            _leave_out(run, file)
    run.warnings += splits.too_few_for_judge(corpus.examples.get("test", []), run.config)


def _leave_out(run: StageRun, name: str) -> None:
    """Make no such file this time, and leave none of an earlier time."""
    run.without.add(name)
    run.path(name).unlink(missing_ok=True)


def fine_tune(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Train the SFT checkpoint unless it is there already; returns its loss curve.

    With `data.source=files` somebody's own checkpoint goes before training. Without it and
    without SFT rows the base itself takes its place.
    """
    own = sft_checkpoint(run.config)
    is_built = run.config.model.base != "demo" or run.path("base").exists()
    if not is_built and not own and "sft_train" not in corpus.examples:
        run.warnings.append("There is neither sft_train.jsonl nor an SFT checkpoint, and of the "
                            "first the demo's model would be built: 04 and 05 cannot run. Set "
                            "model.base to a real model.")
        run.without.add("sft")
        return pd.DataFrame()
    if own:     # a wrong name is said before a model is loaded
        adopt_sft(run.config, own)
    _check_base(run)
    if own:
        return training_curve(run.config, "sft")
    if "sft_train" in corpus.examples:
        return train_sft(run.config, corpus.examples["sft_train"], corpus.examples["sft_val"])
    run.warnings.append("There is neither sft_train.jsonl nor an SFT checkpoint, so the model sft "
                        "is the base itself: preferences are learned from there.")
    untrained_sft(run.config)
    return training_curve(run.config, "sft")


def _check_base(run: StageRun) -> None:
    """Refuse before hours of training what would fail after them; note what was adapted.

    Raises:
        LineageError: the base model is too short, cannot be sampled from, or takes no adapter.
        ConfigError: `dpo.engine` does not fit it.
    """
    config = run.config
    tokenizer, notes = adapted_tokenizer(config)
    run.warnings += [f"{config.model.base}: {note}." for note in notes]
    check_length(config)
    model = load_base(config).requires_grad_(False)
    check_sampling(model, tokenizer, config.model.base)
    # Peeked at: notebook 00 gives the same with either engine.
    if config.peek("dpo.engine") == "shared_prefix":
        share_prefixes(model, config.peek("dpo.max_length"))
    check_lora(config, model)


def generate_pairs(run: StageRun, corpus: Corpus) -> dict[str, list[Pair]]:
    """Write and return the pairs of both pools: those that were given, else two sampled replies."""
    pools = dict(corpus.pairs)
    prompts = {pool: corpus.examples[pool] for pool in POOLS if pool in corpus.examples}
    if prompts:
        with reply_source(run.config) as source:
            for pool, examples in prompts.items():
                pools[pool] = sample_pairs(run.config, examples, source,
                                           desc=f"sampling {pool} pairs")
        if run.config.model.base != "demo":
            check_fluency(run, corpus, [pair for pool in prompts for pair in pools[pool]])
    for pool in POOLS:
        if pool in pools:
            write_jsonl(run.path(f"{pool}_responses"), map(pair_row, pools[pool]))
        else:
            _leave_out(run, f"{pool}_responses")
    return {pool: pools[pool] for pool in POOLS if pool in pools}


def check_fluency(run: StageRun, corpus: Corpus, pairs: Sequence[Pair]) -> None:
    """Refuse sampled replies that are word salad, going by what the base model makes of them.

    Raises:
        DataError: a token of theirs is more than `gates.max_nats_ratio` times as surprising to it
            as one of the replies that people wrote.
    """
    written = [(example.prompt, example.response) for name in ("sft_val", "sft_train")
               for example in corpus.examples.get(name, [])][:READ_REPLIES]
    if not written:
        return
    sampled = [(pair.prompt, pair.response_a) for pair in pairs][:READ_REPLIES]
    tokenizer = load_tokenizer(run.config)
    model = load_base(run.config)
    human, ours = (nats_per_token(model, tokenizer, rows) for rows in (written, sampled))
    print(f"{LINE_MARK}nats a token under the base model: {ours:.2f} of sampled replies, "
          f"{human:.2f} of human ones", flush=True)
    limit = run.config.gates.max_nats_ratio
    if ours > limit * human:
        raise DataError(f"the sampled replies are word salad: {ours:.2f} nats a token under the "
                        f"base model, {ours / human:.2f} times as many as replies that people "
                        f"wrote ({human:.2f}); the limit is {limit:g} (gates.max_nats_ratio). "
                        "Set pairs.temperature=0.8 and pairs.top_p=0.95.")


def overlaps(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Shared conversations, prompts and parts of prompts between every pair of sets.

    Raises:
        DataError: two sets share a conversation, or more than `data.max_shared_passages` of a
            prompt; the message names the rows. Or a given pool breaks a limit, a row spells out a
            control token, or too many replies to learn from are blank.
    """
    shared = overlap.shared_passages(corpus.rows)
    faults = overlap.overlap_faults(corpus.rows, shared, run.config.data.max_shared_passages)
    if faults:
        faults.append("Remove these rows from one of the two sets, best from the larger one that "
                      "is trained on.")
    figures = {pool: gates.pair_figures(pairs) for pool, pairs in corpus.pairs.items()}
    given = [of_pool(pool, pairs) for pool, pairs in corpus.pairs.items()]
    given += [of_targets(name, rows) for name, rows in corpus.rows.items() if name == "sft_train"]
    named = _checked(run, together(*given))
    faults += named
    tokenizer = tokenizer_if_there(run.config)
    special = special_tokens(tokenizer) if tokenizer else []
    for name, rows in corpus.rows.items():
        spelt = gates.control_faults(name, rows, special)
        faults += spelt or _template_faults(name, rows, tokenizer)
        faults += _length_faults(run.config, name, rows, tokenizer) if tokenizer else []
        if name.startswith("sft"):
            faults += gates.target_faults(name, rows, run.config)
    if faults:
        faults += filter(None, [gates.to_allow(figures, run.config), BY_NAME if named else ""])
        raise DataError("the sets are not fit for the experiment:\n" + "\n".join(faults))
    return overlap.overlap_table(corpus.rows, shared)


def _checked(run: StageRun, things: Kinds) -> list[str]:
    """What stops among the findings; what only warns goes to the run."""
    findings = look(checks_of(*things), things, run.config)
    run.warnings += [text for text in texts(findings, "warn") if text not in run.warnings]
    return texts(findings, "stop")


def _template_faults(name: str, rows: Sequence[Example | Pair],
                     tokenizer: Tokenizer | None) -> list[str]:
    """A sentence on the rows of a set that the model's template would change."""
    changed = changed_rows(tokenizer, [(row.prompt, gates.replies(row)) for row in rows]
                           ) if tokenizer else {}
    return [f"{name}: the model would not get {len(changed)} rows as they are (first: row {number}"
            f", {fault}). Remove these rows, or write them otherwise."
            for number, fault in list(changed.items())[:1]]


def _length_faults(config: Config, name: str, rows: Sequence[Example | Pair],
                   tokenizer: Tokenizer) -> list[str]:
    """A sentence on the rows of a set that are longer than what the base model was made for.

    Rows of a corpus are cut to settings which `check_length` compares with the model; files that
    somebody gives stay as they are.
    """
    most = context_of(config)
    if config.data.source != "files" or not most:
        return []
    # Peeked at: that they fit changes no outcome.
    sampled = 0 if name.startswith("sft") else max(map(config.peek, SAMPLED))
    lengths = [len(prompt_ids(tokenizer, row.prompt))
               + max(sampled, *(splits.tokens_in(tokenizer, text) for text in gates.replies(row)))
               for row in rows]
    over = [number for number, length in enumerate(lengths) if length > most]
    return [f"{name}: {len(over)} rows have more tokens with their reply than the {most:,} that "
            f"{config.model.base} was made for (first: row {number + 1} "
            f"({gates.id_of(rows[number])}), {lengths[number]:,}). Shorten or remove them, or "
            "choose a model.base for longer texts." for number in over[:1]]


def write_report(run: StageRun, corpus: Corpus, pools: tables.Pools) -> Path:
    """What was read, dropped, split and sampled, as text beside the data."""
    dropped = [f"{count:6d}  {reason}" for reason, count in sorted(corpus.dropped.items())]
    parts = [f"PREPARED DATA\ncorpus: {run.config.data.source}",
             tables.set_sizes(run, corpus).to_string(),
             tables.token_lengths(run, corpus).to_string(),
             overlaps(run, corpus).to_string(index=False),
             f"messages changed by cleaning\n{tables.cleaning_table(corpus).to_string()}",
             "\n".join(dropped), repr(tables.copies_in_words(corpus)),
             tables.sampling_table(corpus, pools).to_string()]
    return write_text(run.path("prepare_report"), "\n\n".join(parts) + "\n")


def check_pools(run: StageRun, pools: tables.Pools) -> pd.DataFrame:
    """The figures of both pools before anybody labels them, beside their limits.

    Raises:
        DataError: a limit of the `gates` settings is broken; labels would be wasted.
    """
    figures = {pool: gates.pair_figures(pairs) for pool, pairs in pools.items()}
    faults = _checked(run, together(*(of_pool(pool, pairs) for pool, pairs in pools.items())))
    for pool, pairs in pools.items():
        faults += gates.control_faults(pool, pairs)
    if faults:
        faults += [gates.to_allow(figures, run.config), BY_NAME]
        raise DataError("the pairs are not worth labelling:\n" + "\n".join(filter(None, faults)))
    limits = {name: gates.limit_of(name, run.config) for name in gates.FIGURES}
    return pd.DataFrame(figures).assign(**{"at most": limits}).map(percent)


def row_counts(run: StageRun, corpus: Corpus) -> dict[str, Any]:
    """Planned and done rows over all sets, for the manifest."""
    table = tables.set_sizes(run, corpus)
    return {"planned": int(table["planned"].sum()), "done": int(table["done"].sum()),
            "by_set": table["done"].to_dict(), "dropped": dict(corpus.dropped)}
