"""Readers: every corpus becomes a list of conversations with a persuading side.

A corpus is a folder or file that the user has; the demo corpus is generated, and ConvoKit's two
can be fetched with its own code. Reading them needs no ConvoKit.
"""

import csv
import importlib
import importlib.util
import io
import os
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.fields import form_of, identity, is_absent, role_of, yes_or_no
from persuasion_lib.core.foreign import read_each
from persuasion_lib.core.reading import read_text
from persuasion_lib.core.records import Conversation, Turn, content_id
from persuasion_lib.core.store import read_json, read_jsonl
from persuasion_lib.data.cleaning import clean, rules_that_fire
from persuasion_lib.demo.corpus import make_conversations
from persuasion_lib.demo.forum import as_posted, with_reposts

CONVOKIT = {"cmv": "winning-args-corpus/winning-args-corpus.zip",
            "persuasionforgood": "persuasionforgood-corpus/persuasionforgood.zip"}
# What the persuading side wants: a dialogue that is cut to its last turns may not say it.
GOALS = {"cmv": "Your aim is that the author of the first message changes the view stated there.",
         "persuasionforgood": "Your aim is that the other person, who is paid for this "
                              "conversation, donates a part of that money to the charity Save the "
                              "Children."}
SITE = "http://zissou.infosci.cornell.edu/convokit/datasets"
BOTS = ("AutoModerator", "DeltaBot")
NOBODY = ("[deleted]", "[missing]")     # speakers that stand for many people
GONE = ("", "[deleted]", "[removed]")
ROLES: dict[str, Literal["user", "assistant"]] = {"0": "assistant", "1": "user"}  # as they code it


def read_corpus(config: Config) -> list[Conversation]:
    """The conversations of `data.source`.

    Raises:
        ConfigError: the source needs a `data.path` and has none, or is to make nothing.
        MissingInput: a file of the corpus is missing, and could not be fetched.
        DataError: a file is not what it should be (file:line), or holds no conversation.
    """
    if config.data.source == "demo":
        if not config.data.conversations:
            raise ConfigError("data.source=demo makes data.conversations, and that is 0 outside "
                              "the demo's profiles. Say how many; the demo makes 7000.")
        made = with_reposts(make_conversations(n=config.data.conversations, seed=config.seed))
        return [replace(one, turns=merged_turns(dirty)) if (dirty := as_posted(one)) else one
                for one in made]
    if not config.data.path:
        raise ConfigError(f"data.source={config.data.source} needs data.path=<its folder or file>.")
    path = config.named_file("data.path")
    if config.data.source in CONVOKIT and not path.exists():
        download(config.data.source, path)
    readers = {"persuasionforgood": read_persuasionforgood, "cmv": read_winning_args,
               "jsonl": read_conversations_jsonl}
    conversations = readers[config.data.source](path)
    if not conversations:
        raise DataError(f"{config.data.path} holds no conversation. Is it the right file?")
    return conversations


def system_prompt(config: Config) -> str:
    """The first message of every prompt: how to persuade, and of what (`data.goal`)."""
    goal = config.data.goal
    if goal == "auto":
        goal = GOALS.get(config.data.source, "none")
    return config.data.system_prompt if goal == "none" else f"{config.data.system_prompt} {goal}"


def download(source: str, path: Path) -> None:
    """Fetch a corpus with ConvoKit's own code into the folder `path`, whole or not at all.

    Raises:
        MissingInput: ConvoKit is not installed or its server not reachable; with manual steps.
    """
    by_hand = (f"Download {SITE}/{CONVOKIT[source]}, unpack it, and move the folder with "
               f"utterances.jsonl to {path} (or set data.path to where it is).")
    if importlib.util.find_spec("convokit") is None:
        raise MissingInput(f"{path} is missing. {by_hand} With pip install -e '.[corpora]' this "
                           "notebook fetches it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        try:
            found = importlib.import_module("convokit").download(
                CONVOKIT[source].split("/")[0], data_dir=folder)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise MissingInput(f"{path} is missing, and ConvoKit could not fetch it "
                               f"({type(error).__name__}: {error}). {by_hand}") from error
        os.replace(found, path)


def merged_turns(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Cleaned turns, consecutive messages of one side joined, empty ones left out."""
    result: list[Turn] = []
    for turn in turns:
        text = clean(turn.text)
        raw = turn.text
        changed = bool(rules_that_fire(raw))
        if result and result[-1].role == turn.role:
            last = result.pop()
            text = f"{last.text} {text}".strip()
            raw = f"{last.raw or last.text}\n{raw}"
            changed = changed or last.raw is not None
        if text:
            result.append(Turn(turn.role, text, turn.won, raw if changed else None))
    return tuple(result)


def read_persuasionforgood(path: Path) -> list[Conversation]:
    """PersuasionForGood (Wang et al. 2019), role 0 persuades for a charity.

    Either form: `full_dialog.csv`, or the folder that ConvoKit unpacks. Both give the same
    conversations under the same ids.
    """
    if (path / "conversations.json").exists():
        return _persuasionforgood_of_convokit(path)
    file = path if path.suffix == ".csv" else path / "full_dialog.csv"
    rows = csv_rows(file, ("Unit", "Turn", "B4", "B2"))
    conversations = []
    for dialogue, group in groupby(rows, key=lambda row: row["B2"]):
        turns = [Turn(ROLES[row["B4"]], row["Unit"]) for row in group]
        conversations.append(Conversation(dialogue, "persuasionforgood", merged_turns(turns)))
    return conversations


def csv_rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    """The rows of a table of PersuasionForGood that have these columns, B2 and B4 among them."""
    if not file.exists():
        raise MissingInput(f"{file} is missing. Set data.path to the folder that holds it.")
    text = read_text(file, made_by=f"the download from {SITE}")
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        absent = [c for c in columns if c not in (reader.fieldnames or [])]
        if absent:
            raise DataError(f"{file}:1: no column {', '.join(absent)}; it has "
                            f"{', '.join(reader.fieldnames or ['nothing'])}.")
        for row in reader:
            if any(row[c] is None for c in columns) or is_absent(row["B2"]) or (
                    row["B4"] not in ROLES):
                raise DataError(f"{file}:{reader.line_num}: a row needs {', '.join(columns)}, "
                                "B4 being 0 (persuader) or 1. Mend this line.")
            yield row
    except csv.Error as error:
        raise DataError(f"{file}:{reader.line_num}: {error}. Is a quotation mark missing at its "
                        "end? Mend this line.") from None


@dataclass(frozen=True)
class _Utterance:
    id: str
    root: str
    reply_to: str | None
    speaker: str
    text: str
    meta: Mapping[str, Any]


def read_convokit(path: Path) -> tuple[dict[str, Any], dict[str, list[_Utterance]]]:
    """Metadata and utterances by conversation, of what ConvoKit 1 to 5 unpack or dump."""
    if path.suffix == ".zip":
        raise DataError(f"{path} is packed. Unpack it, and set data.path to the folder that holds "
                        "utterances.jsonl.")
    source = f"the download from {SITE}"
    about = read_json(path / "conversations.json", made_by=source)
    if not isinstance(about, dict) or not all(isinstance(v, dict) for v in about.values()):
        raise DataError(f"{path / 'conversations.json'} must hold an object per conversation. "
                        f"Take it from {source}.")
    one_list = path / "utterances.json"     # of ConvoKit before version 2
    utterances = (read_each(one_list, _utterance, made_by=source) if one_list.exists() else
                  read_jsonl(path / "utterances.jsonl", _utterance, made_by=source))
    threads: dict[str, list[_Utterance]] = defaultdict(list)
    for utterance in utterances:
        threads[utterance.root].append(utterance)
    metas = {key: value.get("meta", value) for key, value in about.items()}
    return {key: meta if isinstance(meta, dict) else {} for key, meta in metas.items()}, threads


def _utterance(row: dict[str, Any]) -> _Utterance:
    name = identity(row.get("id"))
    root = identity(row.get("conversation_id", row.get("root")))
    if name is None or root is None or "text" not in row:
        raise DataError("an utterance needs id, conversation_id and text")
    text = "" if is_absent(row["text"]) else row["text"]
    meta = row.get("meta") or {}
    if not isinstance(text, str) or not isinstance(meta, dict):
        raise DataError("the text of an utterance is text, and its meta an object")
    speaker = row.get("speaker", row.get("user"))
    return _Utterance(name, root, identity(row.get("reply-to", row.get("reply_to"))),
                      NOBODY[1] if is_absent(speaker) else str(speaker), text, meta)


def _persuasionforgood_of_convokit(path: Path) -> list[Conversation]:
    about, threads = read_convokit(path)
    conversations = []
    for root, utterances in threads.items():
        odd = [u.id for u in utterances if str(u.meta.get("role")) not in ROLES]
        if odd:
            raise DataError(f"{path}: utterance {odd[0]} has no meta.role of 0 (persuader) or 1. "
                            "Is this persuasionforgood-corpus?")
        turns = [Turn(ROLES[str(u.meta["role"])], u.text) for u in utterances]
        name = identity(about.get(root, {}).get("dialogue_id")) or root
        conversations.append(Conversation(name, "persuasionforgood", merged_turns(turns)))
    return conversations


def read_winning_args(path: Path) -> list[Conversation]:
    """ConvoKit's winning-args-corpus (ChangeMyView; Tan et al. 2016): a conversation per argument.

    The post is the view. An argument is a direct reply to it and what its author and the poster
    went on to say to one another, up to the delta; others who join in are left out. `meta.success`
    is 1 for turns that changed the view, 0 for those that the corpus pairs with them, and unknown
    for all others. All arguments of a post have its id, so that they stay in one set.
    """
    about, threads = read_convokit(path)
    conversations = []
    for root, utterances in threads.items():
        title = about.get(root, {}).get("op-title")
        try:
            conversations += _arguments("" if is_absent(title) else title, root, utterances)
        except DataError as error:
            raise DataError(f"{path / 'utterances.jsonl'}: {error}. Mend this line.") from None
    return conversations


def _arguments(title: str, root: str, utterances: Sequence[_Utterance]) -> Iterator[Conversation]:
    replies: dict[str | None, list[_Utterance]] = defaultdict(list)
    for utterance in utterances:
        replies[utterance.reply_to].append(utterance)
    post = next((u for u in utterances if u.id == root), None)
    for first in replies[root] if post else ():
        if first.speaker not in (post.speaker, *BOTS) and first.text.strip() not in GONE:
            turns = [Turn("user", f"{title}\n\n{post.text}"),
                     *_exchange(first, post.speaker, replies)]
            yield Conversation(root, "cmv", merged_turns(turns))


def _exchange(first: _Utterance, poster: str,
              replies: Mapping[str | None, Sequence[_Utterance]]) -> Iterator[Turn]:
    at: _Utterance | None = first
    seen: set[str] = set()      # an id that occurs twice may lead back to itself
    while at is not None and at.text.strip() not in GONE:
        seen.add(at.id)
        if at.speaker == poster:
            if "delta that tells the outcome" in rules_that_fire(at.text):
                return          # won: nobody is left to be persuaded
            yield Turn("user", at.text)
        else:
            success = yes_or_no(f"meta.success of utterance {at.id}", at.meta.get("success"))
            yield Turn("assistant", at.text, success)
        other = first.speaker if at.speaker == poster else poster
        known = other not in NOBODY     # or the same name may be another person
        at = next((u for u in replies[at.id]
                   if known and u.speaker == other and u.id not in seen), None)


def read_conversations_jsonl(path: Path) -> list[Conversation]:
    """Your own corpus: lines of `{conversation_id, turns: [{role, text, won?}]}`."""
    return read_jsonl(path, _own_conversation, made_by="the program that wrote it")


def _own_conversation(row: dict[str, Any]) -> Conversation:
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns:
        raise DataError(f"a conversation needs turns: [{{role, text}}]{form_of(row)}")
    parsed = []
    for turn in turns:
        role = role_of(turn.get("role")) if isinstance(turn, dict) else None
        if role not in ("user", "assistant"):
            raise DataError(f'a turn needs the role "user" or "assistant", got {turn!r:.60}')
        if not isinstance(turn.get("text"), str):
            raise DataError(f"a turn needs text, got {turn!r:.60}")
        parsed.append(Turn(role, turn["text"], yes_or_no("won", turn.get("won"))))
    name = identity(row.get("conversation_id")) or content_id(turns)
    return Conversation(name, "jsonl", merged_turns(parsed))
