"""Notebook 00: from a corpus to SFT rows, test prompts, an SFT checkpoint and unlabelled pairs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from persuasion_lib.cleaning import RULES, rules_that_fire
from persuasion_lib.config import Config
from persuasion_lib.corpora import read_corpus
from persuasion_lib.demo.model import build_base_model
from persuasion_lib.errors import DataError
from persuasion_lib.generation import Generation, Request, sample, truncation
from persuasion_lib.models import (
    Tokenizer,
    load_merged_sft,
    load_tokenizer,
    prompt_ids,
    quiet,
    weights_hash,
)
from persuasion_lib.overlap import overlap_faults, overlap_table, shared_passages
from persuasion_lib.pair_checks import broken_gates, pair_figures
from persuasion_lib.progress import Progress
from persuasion_lib.records import (
    Conversation,
    Example,
    Message,
    Pair,
    content_id,
    example_row,
    pair_row,
    parse_pair,
)
from persuasion_lib.sft import train_sft
from persuasion_lib.stage import StageRun, made_by
from persuasion_lib.store import (
    AppendLog,
    read_json,
    read_jsonl,
    write_json,
    write_jsonl,
    write_text,
)
from persuasion_lib.text_table import TextTable

SETS = ("test", "human_pool", "ai_pool", "sft_val", "sft_train")
OMISSION = "[…]"
RESERVE = 1.03      # conversations beyond need, for prompts that turn out to be in use already


@dataclass
class Corpus:
    """Conversations by set, and examples drawn from them; no conversation is in two sets.

    `dropped` counts what was left out, by set and reason; `shared` are the passages that the
    prompts of two sets have in common (see overlap.py).
    """

    conversations: dict[str, list[Conversation]]
    examples: dict[str, list[Example]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    shared: pd.DataFrame = field(default_factory=pd.DataFrame)


def load_corpus(run: StageRun) -> Corpus:
    """Read the corpus and split it by conversation."""
    return split_by_conversation(read_corpus(run.config), run.config)


def split_by_conversation(conversations: Sequence[Conversation], config: Config) -> Corpus:
    """Give every conversation to one set, in an order drawn from the seed and its id.

    The test set takes one prompt per conversation, a pool at most `prompts_per_conversation`.
    """
    groups: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        groups.setdefault(conversation.conversation_id, []).append(conversation)
    order = sorted(groups, key=lambda name: content_id("split", config.seed, name))
    wanted = {"test": config.data.test_examples, "human_pool": config.data.human_pairs,
              "ai_pool": config.data.ai_pairs}
    sets: dict[str, list[Conversation]] = {name: [] for name in SETS}
    remaining = iter(order)
    for name, count in wanted.items():
        found = 0
        while found < count * RESERVE and (group := next(remaining, None)) is not None:
            found += min(prompts_in(groups[group]), _cap(config, name))
            sets[name] += groups[group]
    rest = list(remaining)
    n_val = round(len(rest) * config.data.sft_val_fraction)
    for name, part in (("sft_val", rest[:n_val]), ("sft_train", rest[n_val:])):
        sets[name] = [conversation for group in part for conversation in groups[group]]
    if not sets["sft_train"]:
        raise DataError(
            f"the corpus has {len(groups)} conversations; test, human and AI pool take them all. "
            "Lower data.ai_pairs, data.human_pairs or data.test_examples.")
    return Corpus(sets)


def _cap(config: Config, name: str) -> int:
    return 1 if name == "test" else config.data.prompts_per_conversation


def prompts_in(conversations: Iterable[Conversation]) -> int:
    """How many turns of the persuading side answer somebody."""
    return sum(turn.role == "assistant" and at > 0
               for c in conversations for at, turn in enumerate(c.turns))


def build_base(run: StageRun, corpus: Corpus) -> Path | None:
    """Build the demo model if `model.base` is "demo" and it is not there yet; else do nothing.

    It learns from the SFT conversations only, so pools and test prompts stay unseen.
    """
    config = run.config
    if config.model.base != "demo":
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
    """Turn conversations into prompt and reply, fit them to the token limits, write the files."""
    config, tokenizer = run.config, load_tokenizer(run.config)
    limits = {"test": config.data.test_examples, "human_pool": config.data.human_pairs,
              "ai_pool": config.data.ai_pairs, "sft_train": config.data.sft_examples,
              "sft_val": max(1, round(config.data.sft_examples * config.data.sft_val_fraction))}
    seen: set[str] = set()
    for name in SETS:
        rows = _draw(corpus, name, limits[name], config, tokenizer, seen)
        if not rows:
            raise DataError(f"no usable row is left for {name}: {dict(corpus.dropped)}. Raise "
                            "data.max_prompt_tokens or data.max_response_tokens.")
        corpus.examples[name] = rows
    _drop_copies(corpus, config.data.max_shared_passages)
    for name, file in (("sft_train", "sft_train"), ("sft_val", "sft_val"), ("test", "test"),
                       ("ai_pool", "ai_pool_prompts"), ("human_pool", "human_pool_prompts")):
        write_jsonl(run.path(file), map(example_row, corpus.examples[name]))
    return corpus


def _drop_copies(corpus: Corpus, limit: float) -> None:
    """Drop, from the set nearer to training, prompts that another conversation copied."""
    corpus.shared = shared_passages(corpus.examples)
    copies = corpus.shared[corpus.shared["share"] > limit]
    for name, part in copies.groupby("other set"):
        lost = set(part["other row"])
        corpus.examples[name] = [
            e for at, e in enumerate(corpus.examples[name]) if at not in lost]
        corpus.dropped[f"{name}: largely the same as a prompt of another set"] += len(lost)
    if len(copies):
        corpus.shared = shared_passages(corpus.examples)


def _draw(corpus: Corpus, name: str, limit: int, config: Config, tokenizer: Tokenizer,
          seen: set[str]) -> list[Example]:
    """Up to `limit` examples with prompts that no set has yet, in an order drawn from the seed."""
    taken: Counter[str] = Counter()
    rows: list[Example] = []
    for conversation, at in _replies(corpus, name, config, tokenizer):
        thread = conversation.conversation_id
        if len(rows) == limit or (not name.startswith("sft") and taken[thread] == _cap(
                config, name)):
            continue
        history = [{"role": t.role, "content": t.text} for t in conversation.turns[:at]]
        prompt, cut = fit_prompt(history, config, tokenizer)
        if content_id(prompt) in seen:
            corpus.dropped[f"{name}: the same prompt is in use already"] += 1
            continue
        seen.add(content_id(prompt))
        taken[thread] += 1
        corpus.dropped[f"{name}: prompt shortened in the middle (kept)"] += cut
        metadata = {"source": conversation.source, "turn": at, "shortened": cut,
                    "conversation_id": thread}
        reply = conversation.turns[at].text
        rows.append(Example(content_id(prompt, reply), prompt, reply, metadata))
    return rows


def _replies(corpus: Corpus, name: str, config: Config,
             tokenizer: Tokenizer) -> list[tuple[Conversation, int]]:
    """The turns of the persuading side that can become examples; the others are counted."""
    found = []
    for conversation in corpus.conversations[name]:
        for at, turn in enumerate(conversation.turns):
            if turn.role != "assistant":
                continue
            if at == 0:
                corpus.dropped[f"{name}: opens the dialogue, answers nobody"] += 1
            elif name.startswith("sft") and turn.won is False:
                corpus.dropped[f"{name}: did not change the other side's mind"] += 1
            elif name.startswith("sft") and _tokens(tokenizer, turn.text) > (
                    config.data.max_response_tokens):
                corpus.dropped[f"{name}: reply longer than max_response_tokens"] += 1
            else:
                found.append((conversation, at))
    return sorted(found, key=lambda reply: content_id(
        "row", config.seed, reply[0].conversation_id, reply[1], reply[0].turns[reply[1]].text))


def _tokens(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer(text)["input_ids"])


def fit_prompt(history: list[Message], config: Config,
               tokenizer: Tokenizer) -> tuple[list[Message], bool]:
    """System message plus history within `max_prompt_tokens`, and whether something was cut.

    The opening view (the other side's first message) and the message being answered stay; turns
    before and between go first, oldest first, in pairs so that the sides still alternate. If
    these two alone are too long, each loses words from its middle.
    """
    system = [{"role": "system", "content": config.data.system_prompt}]

    def fits(messages: list[Message]) -> bool:
        return len(prompt_ids(tokenizer, system + messages)) <= config.data.max_prompt_tokens

    if fits(history):
        return system + history, False
    view = next(at for at, message in enumerate(history) if message["role"] == "user")
    kept = history[view:]
    while len(kept) > 2 and not fits(kept):
        del kept[1:min(3, len(kept) - 1)]
    share, messages = 1.0, kept
    while not fits(messages) and share > 0.05:
        share -= 0.05
        messages = [{**m, "content": _without_middle(m["content"], share)} for m in kept]
    return system + messages, True


def _without_middle(text: str, share: float) -> str:
    words = text.split(" ")
    keep = max(2, round(len(words) * share))
    if keep >= len(words):
        return text
    head = (keep + 1) // 2
    return " ".join([*words[:head], OMISSION, *words[len(words) - (keep - head):]])


def fine_tune(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Train the SFT checkpoint unless it is there already; returns its loss curve."""
    return train_sft(run.config, corpus.examples["sft_train"], corpus.examples["sft_val"])


def generate_pairs(run: StageRun, corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Two sampled replies per prompt of both pools; returns truncation counts by pool."""
    config = run.config
    model = load_merged_sft(config)
    tokenizer, model_hash = load_tokenizer(config), weights_hash(config, "sft")
    summary = {}
    with AppendLog(run.path("pool_generations")) as log:
        for pool in ("ai_pool", "human_pool"):
            examples = corpus.examples[pool]
            requests = [Request(f"{e.example_id}:{n}", e.prompt) for e in examples for n in (1, 2)]
            replies = sample(model, tokenizer, requests, config.pairs, seed=config.seed,
                             model_hash=model_hash, log=log, desc=f"sampling {pool} pairs")
            write_jsonl(run.path(f"{pool}_responses"),
                        (pair_row(_pair(e, replies)) for e in examples))
            summary[pool] = truncation(list(replies.values())) | {
                "identical_pairs": sum(_pair(e, replies).response_a == _pair(
                    e, replies).response_b for e in examples)}
    return summary


def _pair(example: Example, replies: dict[str, Generation]) -> Pair:
    first, second = (replies[f"{example.example_id}:{n}"] for n in (1, 2))
    metadata = {**example.metadata, "finish": [first.finish, second.finish],
                "tokens": [first.tokens, second.tokens]}
    return Pair(example.example_id, example.prompt, first.text, second.text, metadata)


def overlaps(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Shared conversations, prompts and parts of prompts between every pair of sets.

    Raises:
        DataError: two sets share a conversation, or more than `data.max_shared_passages` of a
            prompt; the message names the rows.
    """
    faults = overlap_faults(corpus.examples, corpus.shared, run.config.data.max_shared_passages)
    if faults:
        raise DataError("the sets are not independent:\n" + "\n".join(faults) + "\n"
                        "Remove these rows from the set that is trained on.")
    return overlap_table(corpus.examples, corpus.shared)


def counts(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Planned and done rows per set, with conversations."""
    data = run.config.data
    planned = {"test": data.test_examples, "human_pool": data.human_pairs, "ai_pool": data.ai_pairs,
               "sft_train": data.sft_examples,
               "sft_val": max(1, round(data.sft_examples * data.sft_val_fraction))}
    return pd.DataFrame([
        {"set": name, "planned": planned[name], "done": len(rows),
         "conversations": len({e.metadata["conversation_id"] for e in rows})}
        for name, rows in corpus.examples.items()]).set_index("set")


def token_lengths(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Lengths in tokens of prompts and human replies by set: mean, 95th percentile, maximum."""
    tokenizer = load_tokenizer(run.config)
    measures: dict[str, Callable[[Example], int]] = {
        "prompt": lambda e: len(prompt_ids(tokenizer, e.prompt)),
        "reply": lambda e: _tokens(tokenizer, e.response)}
    rows = []
    for name, examples in corpus.examples.items():
        for what, measure in measures.items():
            lengths = pd.Series([measure(e) for e in examples])
            rows.append({"set": name, "what": what, "mean": round(lengths.mean(), 1),
                         "p95": int(lengths.quantile(0.95)), "max": int(lengths.max())})
    return pd.DataFrame(rows).set_index(["set", "what"])


def write_report(run: StageRun, corpus: Corpus, pairs: dict[str, Any]) -> Path:
    """What was read, dropped, split and sampled, as text beside the data."""
    parts = ["PREPARED DATA", f"corpus: {run.config.data.source}", "",
             counts(run, corpus).to_string(), "", token_lengths(run, corpus).to_string(), "",
             overlaps(run, corpus).to_string(index=False), "",
             "messages changed by cleaning", cleaning_table(corpus).to_string(), "",
             *(f"{count:6d}  {reason}" for reason, count in sorted(corpus.dropped.items())), "",
             *(f"{pool}: {values}" for pool, values in pairs.items())]
    return write_text(run.path("prepare_report"), "\n".join(parts) + "\n")


def split_table(corpus: Corpus) -> pd.DataFrame:
    """Conversations and persuading turns per set."""
    return pd.DataFrame([
        {"set": name, "conversations": len({c.conversation_id for c in conversations}),
         "replies": prompts_in(conversations)}
        for name, conversations in corpus.conversations.items()]).set_index("set")


def show_conversation(corpus: Corpus) -> TextTable:
    """The first conversation of the SFT set, a row per turn."""
    turns = corpus.conversations["sft_train"][0].turns
    return TextTable(pd.DataFrame(
        [{"role": t.role, "text": t.text, "won": t.won} for t in turns]))


def cleaning_table(corpus: Corpus) -> pd.DataFrame:
    """Messages that each cleaning rule changed, by set, beside how many messages there are."""
    rows = {}
    for name, conversations in corpus.conversations.items():
        turns = [turn for c in conversations for turn in c.turns]
        fired = Counter(rule for t in turns if t.raw for rule in rules_that_fire(t.raw))
        rows[name] = {"messages": len(turns), **{rule: fired[rule] for rule in RULES}}
    return pd.DataFrame(rows).T


def show_cleaning(corpus: Corpus) -> TextTable:
    """One message per cleaning rule that changed any, before and after."""
    shown: dict[str, dict[str, str]] = {}
    for turn in (t for cs in corpus.conversations.values() for c in cs for t in c.turns):
        for rule in rules_that_fire(turn.raw) if turn.raw else ():
            shown.setdefault(rule, {"before": turn.raw or "", "after": turn.text})
    return TextTable(pd.DataFrame.from_dict(shown, orient="index", columns=["before", "after"]))


def dropped_table(corpus: Corpus) -> pd.DataFrame:
    """What was left out or shortened, by set and reason."""
    rows = [{"set": reason.split(": ")[0], "reason": reason.split(": ")[1], "rows": count}
            for reason, count in corpus.dropped.items() if count]
    return pd.DataFrame(rows, columns=["set", "reason", "rows"])


def rendered(run: StageRun, example: Example) -> str:
    """The prompt in the model's own chat format, up to where the reply begins."""
    tokenizer = load_tokenizer(run.config)
    return tokenizer.decode(prompt_ids(tokenizer, example.prompt))


def check_pools(run: StageRun) -> pd.DataFrame:
    """The figures of both pools before anybody labels them.

    Raises:
        DataError: a limit of the `validate` settings is broken; labels would be wasted.
    """
    figures, faults = {}, []
    for pool in ("ai_pool", "human_pool"):
        name = f"{pool}_responses"
        figures[pool] = pair_figures(read_jsonl(run.path(name), parse_pair, made_by=made_by(name)))
        faults += broken_gates(pool, figures[pool], run.config.validate_)
    if faults:
        raise DataError("the pairs are not worth labelling:\n" + "\n".join(faults) + "\n"
                        "To go on all the same, set the named limit.")
    return pd.DataFrame(figures).T


def pair_table(pairs: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """Replies, truncation and identical pairs by pool."""
    return pd.DataFrame(pairs).T


def show_pair(run: StageRun) -> TextTable:
    """The first pair of the human pool: the message answered and both replies."""
    pair = read_jsonl(run.path("human_pool_responses"), parse_pair,
                      made_by=made_by("human_pool_responses"))[0]
    return TextTable(pd.DataFrame({"text": {
        "answered message": pair.prompt[-1]["content"], "response_1": pair.response_a,
        "response_2": pair.response_b}}))


def totals(run: StageRun, corpus: Corpus) -> dict[str, Any]:
    """Planned and done rows over all sets, for the manifest."""
    table = counts(run, corpus)
    return {"planned": int(table["planned"].sum()), "done": int(table["done"].sum()),
            "by_set": table["done"].to_dict(), "dropped": dict(corpus.dropped)}
