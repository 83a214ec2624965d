"""From conversations to prompts with replies: who is in which set, and what fits the limits."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.records import Conversation, Example, Message, Pair, content_id
from persuasion_lib.data.corpora import system_prompt
from persuasion_lib.data.gates import control_tokens
from persuasion_lib.data.minds import set_aside
from persuasion_lib.data.overlap import shared_passages
from persuasion_lib.models.loading import Tokenizer, prompt_ids

SETS = ("test", "human_pool", "ai_pool", "sft_val", "sft_train")
JUDGE_ONLY = "judge_only"       # drawn apart, so that the other sets stay as they are
OMISSION = "[…]"
RESERVE = 1.03      # conversations beyond need, for prompts that turn out to be in use already


class Copy(NamedTuple):
    """A prompt that a set lost because one nearer to the test has it, or a `share` of its words."""

    lost_by: str
    kept_in: str
    share: float
    prompt: list[Message]
    kept: list[Message]


@dataclass
class Corpus:
    """Conversations by set, and examples drawn from them; no conversation is in two sets.

    `pairs` are pools that somebody else sampled. `dropped` counts what was left out, by set and
    reason; `copies` are those of it that another set has.
    """

    conversations: dict[str, list[Conversation]]
    examples: dict[str, list[Example]] = field(default_factory=dict)
    pairs: dict[str, list[Pair]] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    copies: list[Copy] = field(default_factory=list)

    @property
    def rows(self) -> dict[str, list[Example] | list[Pair]]:
        """What every set consists of: the pairs of somebody else, or our examples."""
        found = {**self.examples, **self.pairs}
        return {name: found[name] for name in SETS if name in found}

    def planned_rows(self, name: str) -> list[Example] | list[Pair]:
        """The rows of a set of `planned`: of the test prompts either kind is one."""
        if name not in ("test", JUDGE_ONLY):
            return self.rows.get(name, [])
        return [row for row in self.examples.get("test", [])
                if row.judge_only == (name == JUDGE_ONLY)]


def planned(config: Config) -> dict[str, int]:
    """Rows that the settings ask for, by set."""
    data = config.data
    judge_only = config.evaluation.judge_only_examples
    return {"test": data.test_examples, "human_pool": data.human_pairs, "ai_pool": data.ai_pairs,
            "sft_val": max(1, round(data.sft_examples * data.sft_val_fraction)),
            "sft_train": data.sft_examples, **({JUDGE_ONLY: judge_only} if judge_only else {})}


def split_by_conversation(conversations: Sequence[Conversation], config: Config) -> Corpus:
    """Give every conversation to one set, in an order drawn from the seed and its id.

    The test set takes one prompt per conversation, a pool at most `prompts_per_conversation`.
    """
    groups: dict[str, list[Conversation]] = {}
    for conversation in conversations:
        groups.setdefault(conversation.conversation_id, []).append(conversation)
    left = sorted(groups, key=lambda name: content_id("split", config.seed, name))
    sets: dict[str, list[Conversation]] = {name: [] for name in SETS}
    for name in ("test", "human_pool", "ai_pool"):
        found = 0
        while left and found < planned(config)[name] * RESERVE:
            group = groups[left.pop(0)]
            found += min(prompts_in(group), _cap(config, name))
            sets[name] += group
    kept = set(set_aside(groups, left, config))
    left = [name for name in left if name not in kept]
    n_val = max(1, round(len(left) * config.data.sft_val_fraction))
    spare = _judge_only(left, groups, planned(config).get(JUDGE_ONLY, 0))
    left = [name for name in left if name not in spare]
    for at, name in enumerate(left):
        sets["sft_val" if at < n_val else "sft_train"] += groups[name]
    if not sets["sft_train"]:
        raise DataError(
            f"the corpus has {len(groups)} conversations; test, human and AI pool leave "
            f"{len(left)} of them, and SFT needs two. Lower data.ai_pairs, data.human_pairs or "
            "data.test_examples.")
    if spare:
        sets[JUDGE_ONLY] = [one for name in spare for one in groups[name]]
    return Corpus(sets)


def _judge_only(left: Sequence[str], groups: Mapping[str, list[Conversation]],
                wanted: int) -> dict[str, None]:
    """Conversations from the end of those that are left, never more than half: SFT needs some."""
    able = (name for name in reversed(left) if prompts_in(groups[name]))
    return dict.fromkeys(islice(able, min(math.ceil(wanted * RESERVE), len(left) // 2)))


def _cap(config: Config, name: str) -> int:
    return 1 if name in ("test", JUDGE_ONLY) else config.data.prompts_per_conversation


def prompts_in(conversations: Iterable[Conversation]) -> int:
    """How many different dialogues the persuading side answers: branches share their beginning."""
    dialogues = set()
    for conversation in conversations:
        texts = tuple(turn.text for turn in conversation.turns)
        dialogues |= {texts[:at] for at, turn in enumerate(conversation.turns)
                      if turn.role == "assistant" and at > 0}
    return len(dialogues)


def draw_examples(corpus: Corpus, config: Config, tokenizer: Tokenizer, *,
                  special: Sequence[str] = ()) -> None:
    """Fill `examples` of every set as planned, with prompts that no other set has.

    Dialogues that spell out a control token, one of `special` or alike, are left out from there.

    Raises:
        DataError: no row of a set fits the limits.
    """
    for name in SETS:
        corpus.examples[name] = _draw(corpus, name, config, tokenizer, special)
        if not corpus.examples[name]:
            raise DataError(f"no usable row is left for {name}: {dict(corpus.dropped)}. Raise "
                            "data.max_prompt_tokens or data.max_response_tokens.")
    if JUDGE_ONLY in corpus.conversations:
        more = _draw(corpus, JUDGE_ONLY, config, tokenizer, special)
        corpus.examples["test"] += [
            replace(row, metadata=row.metadata | {JUDGE_ONLY: True}) for row in more]
    _drop_copies(corpus, config.data.max_shared_passages)


def too_few_for_judge(rows: Sequence[Example], config: Config) -> list[str]:
    """A sentence where there are fewer prompts for the judge alone than the settings ask for."""
    wanted = config.evaluation.judge_only_examples
    there = sum(row.judge_only for row in rows)
    if there >= wanted:
        return []
    return [f"evaluation.judge_only_examples asks for {wanted} prompts for the judge alone; there "
            f"are {there}, and they are used. More need a larger corpus (data.conversations), or "
            "smaller pools."]


def _draw(corpus: Corpus, name: str, config: Config, tokenizer: Tokenizer,
          special: Sequence[str]) -> list[Example]:
    """Examples up to the planned number; for SFT a prompt may have several replies."""
    sft = name.startswith("sft")
    used = {content_id(row.prompt): other for other, rows in corpus.examples.items()
            for row in rows}
    mine: set[str] = set()
    taken: Counter[str] = Counter()
    rows: list[Example] = []
    for conversation, at in _replies(corpus, name, config.seed):
        if len(rows) == planned(config)[name]:
            break
        thread = conversation.conversation_id
        if not sft and taken[thread] == _cap(config, name):
            continue
        reply = conversation.turns[at].text
        if sft and tokens_in(tokenizer, reply) > config.data.max_response_tokens:
            corpus.dropped[f"{name}: reply longer than max_response_tokens"] += 1
            continue
        if control_tokens("\n".join(t.text for t in conversation.turns[:at + 1]), special):
            corpus.dropped[f"{name}: spells out a control token of the model"] += 1
            continue
        history = [{"role": t.role, "content": t.text} for t in conversation.turns[:at]]
        prompt, cut = fit_prompt(history, config, tokenizer)
        key = content_id(prompt, reply) if sft else content_id(prompt)
        # After the cut: two dialogues that differ in their middle only may have become one prompt.
        if content_id(prompt) in used or key in mine:
            corpus.dropped[f"{name}: the same prompt is in use already"] += 1
            if kept_in := used.get(content_id(prompt)):
                corpus.copies.append(Copy(name, kept_in, 1.0, prompt, prompt))
            continue
        mine.add(key)
        taken[thread] += 1
        corpus.dropped[f"{name}: prompt shortened in the middle (kept)"] += cut
        rows.append(Example(content_id(prompt, reply), prompt, reply, {
            "source": conversation.source, "turn": at, "shortened": cut,
            "conversation_id": thread}))
    return rows


def _replies(corpus: Corpus, name: str, seed: int) -> list[tuple[Conversation, int]]:
    """Turns of the persuading side that can become examples, in an order drawn from the seed.

    For SFT those that won go first; those that failed are left out and counted.
    """
    sft = name.startswith("sft")
    found = []
    for conversation in corpus.conversations[name]:
        for at, turn in enumerate(conversation.turns):
            if turn.role != "assistant":
                continue
            if at == 0:
                corpus.dropped[f"{name}: opens the dialogue, answers nobody"] += 1
            elif sft and turn.won is False:
                corpus.dropped[f"{name}: did not change the other side's mind"] += 1
            else:
                found.append((conversation, at))

    def place(reply: tuple[Conversation, int]) -> tuple[bool, str]:
        conversation, at = reply
        turn = conversation.turns[at]
        return (sft and turn.won is not True,
                content_id("row", seed, conversation.conversation_id, at, turn.text))

    return sorted(found, key=place)


def tokens_in(tokenizer: Tokenizer, text: str) -> int:
    """The length of a text in tokens, without any template."""
    return len(tokenizer(text)["input_ids"])


def fit_prompt(history: list[Message], config: Config,
               tokenizer: Tokenizer) -> tuple[list[Message], bool]:
    """System message plus history within `max_prompt_tokens`, and whether something was cut.

    The opening view (the other side's first message) and the message being answered stay; turns
    before and between go first, oldest first, in pairs so that the sides still alternate; a mark
    after the view says so. If these two alone are too long, each loses words from its middle.
    """
    system = [{"role": "system", "content": system_prompt(config)}]

    def fits(messages: list[Message]) -> bool:
        return len(prompt_ids(tokenizer, system + messages)) <= config.data.max_prompt_tokens

    if fits(history):
        return system + history, False
    view = next(at for at, message in enumerate(history) if message["role"] == "user")
    kept = history[view:]
    while len(kept) > 2 and not fits(kept):
        # The last message is spared where only one stands between it and the view.
        del kept[1:min(3, len(kept) - 1)]
        kept[0] = {**history[view], "content": f"{history[view]['content']} {OMISSION}"}
    messages = kept
    share = 1.0
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


def _drop_copies(corpus: Corpus, limit: float) -> None:
    """Drop, from the set nearer to training, prompts that another conversation copied."""
    shared = shared_passages(corpus.examples)
    copies = shared[shared["share"] > limit]
    before = dict(corpus.examples)
    for name, part in copies.groupby("other set"):
        # Of several prompts that have it, the one that it is nearest to.
        nearest = part.sort_values("share").drop_duplicates("other row", keep="last")
        for kept_in, row, at, share in nearest[["set", "row", "other row", "share"]].itertuples(
                index=False):
            corpus.copies.append(Copy(name, kept_in, share, before[name][at].prompt,
                                      before[kept_in][row].prompt))
        lost = set(part["other row"])
        corpus.examples[name] = [example for at, example in enumerate(before[name])
                                 if at not in lost]
        corpus.dropped[f"{name}: largely the same as a prompt of another set"] += len(lost)
