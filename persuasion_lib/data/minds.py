"""Pairs of arguments of which one really won, from conversations that nothing else uses.

ChangeMyView: of one post, an argument that won a delta and one that did not. PersuasionForGood: of
two dialogues, the one that was followed by a gift. The demo: the better by its gold utility. Or a
file of your own, in the format of data/README.md.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError
from persuasion_lib.core.fields import foreign_roles, form_of, identity, is_absent, notes_on_roles
from persuasion_lib.core.records import (
    CODE_OF_LABEL,
    Conversation,
    Example,
    LabeledPair,
    Message,
    Pair,
    content_id,
    to_messages,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.data.corpora import ROLES, csv_rows, read_convokit, read_corpus
from persuasion_lib.data.gates import replies as replies_of
from persuasion_lib.data.overlap import shared_passages
from persuasion_lib.demo.corpus import make_outcomes

REALLY = "really"       # in a pair's metadata: which response won, coded as a preference is
_SETS = ("test", "sft_train", "sft_val", "ai_pool_responses", "human_pool_responses")
# What both persuaders of PersuasionForGood wanted; their dialogues have no message in common.
_ASKED = ("I am paid for this conversation, and could give a part of the money to the charity Save "
          "the Children. Why should I?")
Outcomes = list[LabeledPair]


def read_outcomes(run: StageRun) -> Outcomes:
    """At most `minds.pairs` pairs, in an order drawn by hash; the label is what really happened.

    A pair of a conversation, a prompt or a reply that another set holds is left out and counted,
    and so is a second pair of one conversation, which would be no independent case.

    Raises:
        DataError: a line of the file is not in its format (file:line).
    """
    config = run.config
    wanted = config.minds.pairs
    if not wanted:
        if config.minds.path:
            run.warnings.append("minds.path names a file and minds.pairs is 0: nobody is asked "
                                "about it.")
        return []
    found = _all_outcomes(run)
    fresh = _used_nowhere_else(run, found)
    kept = _one_a_conversation(config, fresh)
    # A corpus, and the demo, offer more than are asked for: what is spare is missed by nobody.
    if config.minds.path or len(kept) < wanted:
        run.warnings += _left_out(len(found), len(fresh), len(kept))
    if len(kept) < wanted:
        run.warnings.append(f"minds.pairs asks for {wanted} pairs of which one really won; "
                            f"{len(kept)} were found. {_more_of(config)}")
    trial = config.label_ai.max_examples
    return kept[:min(wanted, trial or wanted)]


def _left_out(found: int, fresh: int, kept: int) -> list[str]:
    """Sentences on the pairs that cannot be asked about, and why."""
    notes = []
    if fresh < found:
        notes.append(f"{found - fresh} of {found} pairs of which one really won are left out: "
                     "another set (SFT rows, pools, test prompts) holds their conversation, prompt "
                     "or one of their replies, so they would be nothing new.")
    if kept < fresh:
        notes.append(f"{fresh - kept} more are left out: they are of a conversation that another "
                     "pair is of.")
    return notes


def _more_of(config: Config) -> str:
    if config.minds.path:
        return "Add lines to the file, of conversations that no other set has."
    if config.data.source == "files":
        return "Your files do not say what won: name a file that does (minds.path)."
    return ("00 sets conversations aside for them only if minds.pairs was set when it ran; or name "
            "a file (minds.path).")


def _all_outcomes(run: StageRun) -> Outcomes:
    config = run.config
    if config.minds.path:
        return _of_file(run)
    if config.data.source == "demo":
        spare = 2 * config.minds.pairs      # some may say what the corpus says
        return [outcome(_as_prompt(post), won, lost, f"minds-{config.seed}-{number}", "demo")
                for number, (post, won, lost) in enumerate(
                    make_outcomes(n=spare, seed=config.seed))]
    if config.data.source == "files":
        return []
    conversations = read_corpus(config)
    if config.data.source == "persuasionforgood":
        # Free dialogues alone: a pair with one that is used elsewhere would be left out whole.
        used = {row.conversation_id for name in _SETS for row in run.read_if_there(name)}
        return _of_gifts(config, [one for one in conversations
                                  if one.conversation_id not in used])
    return of_arguments(conversations)


def outcome(prompt: list[Message], won: str, lost: str, conversation_id: str | None, source: str,
            **known: Any) -> LabeledPair:
    """A pair whose label says what won; which of the two stands first is drawn by a hash."""
    key = content_id("minds", prompt, won, lost)
    label = "a" if int(key, 16) % 2 else "b"
    texts = (won, lost) if label == "a" else (lost, won)
    metadata = {"source": source, "conversation_id": conversation_id,
                REALLY: CODE_OF_LABEL[label], **known}
    return LabeledPair(Pair(key, prompt, *texts, metadata), label, "what happened")


def _as_prompt(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def of_arguments(conversations: Iterable[Conversation]) -> Outcomes:
    """Of every post with both, an argument that changed the view and one that did not.

    Of each the first reply alone, since what follows tells how it went.
    """
    posts: dict[tuple[str, str], dict[bool, list[str]]] = {}
    for one in conversations:
        if [turn.role for turn in one.turns[:2]] == ["user", "assistant"]:
            said = {turn.won for turn in one.turns if turn.role == "assistant"} - {None}
            key = (one.conversation_id, one.turns[0].text)
            if said:
                posts.setdefault(key, {}).setdefault(True in said, []).append(one.turns[1].text)
    found = []
    for (name, post), replies in posts.items():
        won, lost = (min(replies.get(how, []), key=partial(content_id, name), default=None)
                     for how in (True, False))
        if won and lost and won != lost:
            found.append(outcome(_as_prompt(post), won, lost, name, "arguments"))
    return found


def _of_gifts(config: Config, conversations: Sequence[Conversation]) -> Outcomes:
    """Dialogues two by two, in an order drawn by hash: one was followed by a gift, one was not.

    Of each the persuader's part of the first half: later on the gift itself is spoken of.
    """
    given = gifts(config.named_file("data.path"))
    order = sorted((one for one in conversations if one.conversation_id in given),
                   key=lambda one: content_id("gift", one.conversation_id))
    gave = [one for one in order if given[one.conversation_id] > 0]
    gave_not = [one for one in order if given[one.conversation_id] == 0]
    found = []
    for won, lost in zip(gave, gave_not, strict=False):
        texts = _first_half(won), _first_half(lost)
        if all(texts) and texts[0] != texts[1]:
            found.append(outcome(_as_prompt(_ASKED), *texts, won.conversation_id, "gifts",
                                 other_conversation=lost.conversation_id))
    return found


def gifts(path: Path) -> dict[str, float]:
    """What the other side of every dialogue of PersuasionForGood gave, in dollars, by its id.

    Dialogues of which the corpus does not say it are not in it.

    Raises:
        DataError: a line of `full_info.csv` is malformed (file:line).
    """
    if (path / "conversations.json").exists():
        about, _ = read_convokit(path)
        said = [(identity(meta.get("dialogue_id")) or root, meta.get("donation_ee"))
                for root, meta in about.items()]
    else:
        file = (path.parent if path.suffix == ".csv" else path) / "full_info.csv"
        said = [(row["B2"], row["B6"]) for row in csv_rows(file, ("B2", "B4", "B6"))
                if ROLES[row["B4"]] == "user"]
    amounts = {name: _amount(path, name, text) for name, text in said}
    return {name: amount for name, amount in amounts.items() if amount is not None}


def _amount(path: Path, name: str, text: Any) -> float | None:
    if is_absent(text):
        return None
    try:
        amount = float(text)
    except (TypeError, ValueError):
        amount = -1.0
    if not 0 <= amount < float("inf"):
        raise DataError(f"{path}: the gift of dialogue {name} is {text!r:.40}, and no amount of "
                        "dollars. Mend it.")
    return amount


def _first_half(conversation: Conversation) -> str:
    half = conversation.turns[:(len(conversation.turns) + 1) // 2]
    return "\n\n".join(turn.text for turn in half if turn.role == "assistant")


def _of_file(run: StageRun) -> Outcomes:
    path = run.config.named_file("minds.path")
    roles: Counter[str] = Counter()
    seen: dict[frozenset[str], LabeledPair] = {}

    def parse(row: dict[str, Any]) -> LabeledPair:
        found = parse_outcome(row)
        texts = frozenset((content_id(found.pair.prompt), found.chosen, found.rejected))
        if texts in seen:
            how = "again" if seen[texts].chosen == found.chosen else "with another winner"
            raise DataError(f"this pair stands in the file {how}; keep one line")
        seen[texts] = found
        roles.update(foreign_roles(row))
        return found

    rows = read_jsonl(path, parse, made_by="the program that wrote it")
    if not rows:
        raise DataError(f"{path} is empty. Fill it, or take minds.path away.")
    run.warnings += notes_on_roles(path.name, roles)
    return rows


def parse_outcome(row: Mapping[str, Any]) -> LabeledPair:
    """A row `{prompt, won, lost, conversation_id}` of somebody's own file.

    Raises:
        DataError: a field is missing or no text, or both arguments are the same.
    """
    if is_absent(row.get("prompt")):
        raise DataError(f"the row has no prompt{form_of(row)}")
    for name in ("won", "lost"):
        if not isinstance(row.get(name), str) or is_absent(row[name]):
            raise DataError(f"{name} is the text of an argument, got {row.get(name)!r:.60}"
                            f"{form_of(row)}")
    if row["won"].strip() == row["lost"].strip():
        raise DataError("won and lost are the same text")
    return outcome(to_messages(row["prompt"]), row["won"], row["lost"],
                   identity(row.get("conversation_id")), "file")


def _used_nowhere_else(run: StageRun, found: Outcomes) -> Outcomes:
    """The pairs of which no conversation, prompt or argument is in another set: looked up."""
    sets = {name: run.read_if_there(name) for name in _SETS}
    if absent := [name for name, of_set in sets.items() if not of_set]:
        run.warnings.append(f"{', '.join(absent)} are not there, so whether they share something "
                            "with the pairs of which one really won was not checked.")
    rows: list[Example | Pair] = [row for of_set in sets.values() for row in of_set]
    threads = {row.conversation_id for row in rows} - {None}
    replies = {text.strip() for row in rows for text in replies_of(row)}
    asked = [label.pair for label in found]
    shared = shared_passages({"minds": asked, "other sets": rows})
    copied = set(shared.loc[shared["share"] > run.config.data.max_shared_passages, "row"])
    return [label for at, label in enumerate(found)
            if at not in copied and not threads & _threads(label)
            and not replies & {text.strip() for text in replies_of(label.pair)}]


def _threads(label: LabeledPair) -> set[str]:
    both = (label.pair.conversation_id, label.pair.metadata.get("other_conversation"))
    return {name for name in both if name is not None}


def _one_a_conversation(config: Config, found: Outcomes) -> Outcomes:
    order = sorted(found, key=lambda label: content_id("minds", config.seed, label.pair.pair_id))
    taken: set[str] = set()
    kept = []
    for label in order:
        if not taken & _threads(label):
            taken |= _threads(label)
            kept.append(label)
    return kept


def set_aside(groups: Mapping[str, Sequence[Conversation]], order: Sequence[str],
              config: Config) -> list[str]:
    """The conversations that 00 keeps for these pairs, so that no other set has them.

    Args:
        groups: conversations by id, of which `order` names those that are still free.
    """
    if config.data.source in ("demo", "files") or config.minds.path or not config.minds.pairs:
        return []
    if config.data.source == "persuasionforgood":
        # About half of the dialogues were followed by a gift, and each pair needs one of each.
        return list(order[:round(2.4 * config.minds.pairs)])
    return [name for name in order if of_arguments(groups[name])][:config.minds.pairs]
