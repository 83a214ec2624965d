"""What notebook 00 shows: tables of sets, cleaning, lengths and pairs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from persuasion_lib.core.prose import Prose, Verbatim, prose
from persuasion_lib.core.records import Example, Pair, render_text
from persuasion_lib.core.show import TextTable
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.cleaning import EXAMPLES, RULES, clean, rules_that_fire
from persuasion_lib.data.splits import Corpus, planned, prompts_in, tokens_in
from persuasion_lib.models.compose import ModelFamily
from persuasion_lib.models.loading import prompt_ids, tokenizer_if_there
from persuasion_lib.models.sampling import Generation, Request, sample_batch, truncation

Pools = Mapping[str, Sequence[Pair]]
_LENGTHS = {"mean": "tokens, mean", "p95": "19 of 20 have at most", "max": "longest"}
_WON = {True: "yes", False: "no", None: ""}
_SAMPLED = {"replies": "replies", "truncated": "cut off at the cap",
            "truncated_share": "share cut off", "mean_tokens": "tokens, mean",
            "identical_pairs": "pairs of one text"}


def split_table(corpus: Corpus) -> pd.DataFrame:
    """Conversations and different prompts per set, before any limit."""
    return pd.DataFrame([
        {"set": name, "conversations": len({c.conversation_id for c in conversations}),
         "prompts": len(corpus.rows[name]) if name in corpus.rows else prompts_in(conversations)}
        for name, conversations in corpus.conversations.items()]).set_index("set")


def set_sizes(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Planned and done rows per set, with conversations."""
    table = {}
    for name, wanted in planned(run.config).items():
        rows = corpus.planned_rows(name)
        threads = {row.conversation_id for row in rows}
        table[name] = {"planned": wanted, "done": len(rows), "conversations": len(threads)}
    return pd.DataFrame(table).T.rename_axis("set")


def token_lengths(run: StageRun, corpus: Corpus) -> pd.DataFrame:
    """Lengths in tokens of prompts and human replies by set: mean, 95th percentile, maximum."""
    tokenizer = tokenizer_if_there(run.config)
    if tokenizer is None:       # pairs alone need no model
        return pd.DataFrame(columns=list(_LENGTHS.values()))
    lengths = []
    for name, rows in corpus.rows.items():
        for row in rows:
            lengths.append((name, "prompt", len(prompt_ids(tokenizer, row.prompt))))
            if isinstance(row, Example):
                lengths.append((name, "reply", tokens_in(tokenizer, row.response)))
    table = pd.DataFrame(lengths, columns=["set", "what", "tokens"])
    groups = table.groupby(["set", "what"], sort=False)["tokens"]
    return pd.DataFrame({"mean": groups.mean().round(1), "p95": groups.quantile(0.95).astype(int),
                         "max": groups.max()}).rename(columns=_LENGTHS)


def show_conversation(corpus: Corpus) -> TextTable:
    """The first conversation of the set nearest to training, a row per turn."""
    turns = next(cs for cs in reversed(corpus.conversations.values()) if cs)[0].turns
    rows = [{"who": turn.role, "text": turn.text, "changed the other's mind": _WON[turn.won]}
            for turn in turns]
    return TextTable(pd.DataFrame(rows, index=range(1, len(rows) + 1)))


def cleaning_table(corpus: Corpus) -> pd.DataFrame:
    """Messages that each cleaning rule concerns, by set, below how many messages there are."""
    table = {}
    for name, conversations in corpus.conversations.items():
        # A message that several branches of a conversation begin with counts once.
        turns = {(c.conversation_id, at, t) for c in conversations for at, t in enumerate(c.turns)}
        fired = Counter(rule for _, _, t in turns if t.raw for rule in rules_that_fire(t.raw))
        table[name] = {"messages": len(turns), **{rule: fired[rule] for rule in RULES}}
    return pd.DataFrame(table)


def show_cleaning(corpus: Corpus) -> TextTable:
    """A message per cleaning rule, before and after: of this corpus, else one made up for it."""
    messages = [turn.raw for conversations in corpus.conversations.values()
                for conversation in conversations for turn in conversation.turns if turn.raw]
    found: dict[str, str] = {}
    for message in messages:
        for rule in rules_that_fire(message):
            found.setdefault(rule, message)
    rows = {rule: {"before": found.get(rule, made_up), "after": clean(found.get(rule, made_up)),
                   "from": "this corpus" if rule in found else "made up"}
            for rule, made_up in EXAMPLES.items()}
    return TextTable(pd.DataFrame.from_dict(rows, orient="index"))


def dropped_table(corpus: Corpus) -> pd.DataFrame:
    """What was left out or shortened, by set and reason."""
    rows = [(*reason.split(": "), count) for reason, count in corpus.dropped.items() if count]
    return pd.DataFrame(rows or [("all sets", "nothing was left out", 0)],
                        columns=["set", "reason", "rows"]).set_index("set")


def copies_in_words(corpus: Corpus) -> Prose:
    """How many prompts a set lost because another set has them; a copy of either kind as shown."""
    if not corpus.copies:
        return Prose("No prompt of one set stands in another one.")
    # One of a test prompt comes first, and the one that was changed most.
    exact = sorted((copy for copy in corpus.copies if copy.share == 1),
                   key=lambda copy: copy.kept_in != "test")
    changed = sorted((copy for copy in corpus.copies if copy.share < 1),
                     key=lambda copy: copy.share)
    lost = Counter(copy.lost_by for copy in corpus.copies)
    lines = [f"{lost.total()} prompts stood in two sets, {len(exact)} word for word and "
             f"{len(changed)} for the most part. The set nearer to training lost them ("
             + ", ".join(f"{name} {count}" for name, count in lost.items()) + ")."]
    lines += [f"{copy.lost_by} lost, word for word what stands in {copy.kept_in}: "
              f"“{copy.prompt[-1]['content']}”" for copy in exact[:1]]
    lines += [f"{copy.lost_by} lost, with {copy.share:.0%} of the words in {copy.kept_in}: "
              f"“{copy.prompt[-1]['content']}” There: “{copy.kept[-1]['content']}”"
              for copy in changed[:1]]
    return prose(lines)


def rendered_prompt(run: StageRun, corpus: Corpus) -> Verbatim:
    """The first prompt in the model's own chat format, up to where the reply begins."""
    tokenizer = tokenizer_if_there(run.config)
    first = next(iter(corpus.rows.values()))[0]
    if tokenizer is None:
        return Verbatim(render_text(first.prompt))
    return Verbatim(tokenizer.decode(prompt_ids(tokenizer, first.prompt)))


def before_and_after(run: StageRun, corpus: Corpus) -> TextTable:
    """What the base and the SFT model answer to a held-out prompt, beside what a person did.

    Both draw the same random numbers, with the settings that sample the pairs.
    """
    rows = corpus.examples.get("sft_val") or next(iter(corpus.rows.values()))
    shown = {"message answered": rows[0].prompt[-1]["content"]}
    if "sft" not in run.without:
        family = ModelFamily(run.config, ["base", "sft"])
        request = Request("held out", rows[0].prompt)
        for name in ("base", "sft"):
            with family.use(name) as model:
                shown[name] = sample_batch(model, family.tokenizer, [request], run.config.pairs,
                                           seed=run.config.seed)[0].text
    if isinstance(rows[0], Example):
        shown["a person"] = rows[0].response
    return TextTable(pd.DataFrame({"text": shown}))


def sampled_replies(corpus: Corpus, pools: Pools) -> dict[str, dict[str, Any]]:
    """Replies, truncation and identical pairs by pool; of a pool that was given only its size."""
    facts: dict[str, dict[str, Any]] = {}
    for pool, pairs in pools.items():
        if pool in corpus.pairs:
            facts[pool] = {"given pairs": len(pairs)}
        else:
            replies = [Generation("", finish, tokens) for pair in pairs for finish, tokens in zip(
                pair.metadata["finish"], pair.metadata["tokens"], strict=True)]
            same = sum(pair.response_a == pair.response_b for pair in pairs)
            facts[pool] = truncation(replies) | {"identical_pairs": same}
    return facts


def sampling_table(corpus: Corpus, pools: Pools) -> pd.DataFrame:
    """`sampled_replies` to be read, a row per pool; counts stay whole numbers."""
    table = pd.DataFrame(sampled_replies(corpus, pools)).T.convert_dtypes()
    for name, form in (("truncated_share", "{:.3f}"), ("mean_tokens", "{:.1f}")):
        if name in table:
            table[name] = table[name].map(form.format, na_action="ignore").fillna("")
    return table.rename(columns=_SAMPLED)


def show_journey(corpus: Corpus, pools: Pools) -> TextTable:
    """What one conversation became: a prompt, the reply of a person, a pair of sampled replies.

    It is the first of the human pool if there is one; of pairs in a file nobody knows the first
    and the third.
    """
    pool = "human_pool" if "human_pool" in pools else "ai_pool"
    pair = pools[pool][0]
    turns = [f"{turn.role}: {turn.text}" for conversation in corpus.conversations.get(pool, [])
             if conversation.conversation_id == pair.conversation_id
             for turn in conversation.turns]
    target = [example.response for example in corpus.examples.get(pool, [])
              if example.prompt == pair.prompt]
    steps = {"conversation in the corpus": "\n".join(turns),
             "prompt": "\n".join(f"{m['role']}: {m['content']}" for m in pair.prompt),
             "target, as SFT would have it": target[0] if target else "",
             "pair: reply 1": pair.response_a, "pair: reply 2": pair.response_b}
    shown = {step: text for step, text in steps.items() if text}
    return TextTable(pd.DataFrame({"text": shown}))
