"""Readers: every corpus becomes a list of conversations with a persuading side.

A corpus is a folder or file that the user has; only the demo corpus is generated.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from persuasion_lib.cleaning import clean, rules_that_fire
from persuasion_lib.config import Config
from persuasion_lib.demo.corpus import make_conversations
from persuasion_lib.errors import ConfigError, DataError, MissingInput
from persuasion_lib.records import Conversation, Turn, content_id
from persuasion_lib.store import read_json, read_jsonl


def read_corpus(config: Config) -> list[Conversation]:
    """The conversations of `data.source`.

    Raises:
        ConfigError: the source needs a `data.path` and has none.
        MissingInput: a file of the corpus is missing.
        DataError: a file is not what it should be (file:line), or holds no conversation.
    """
    if config.data.source == "demo":
        return make_conversations(n=config.data.conversations, seed=config.seed)
    if not config.data.path:
        raise ConfigError(f"data.source={config.data.source} needs data.path=<its folder or file>.")
    reader = {"persuasionforgood": read_persuasionforgood, "cmv": read_winning_args,
              "jsonl": read_conversations_jsonl}[config.data.source]
    conversations = reader(config.root / config.data.path)
    if not conversations:
        raise DataError(f"{config.data.path} holds no conversation. Is it the right file?")
    return conversations


def merged_turns(turns: Iterable[Turn]) -> tuple[Turn, ...]:
    """Cleaned turns, consecutive messages of one side joined, empty ones left out."""
    result: list[Turn] = []
    for turn in turns:
        text = clean(turn.text)
        raw = turn.text if rules_that_fire(turn.text) else None
        last = result[-1] if result else None
        if last and last.role == turn.role:
            raws = None if raw is None and last.raw is None else (
                f"{last.raw or last.text}\n{turn.text}")
            result[-1] = Turn(turn.role, f"{last.text} {text}".strip(), turn.won, raws)
        elif text:
            result.append(Turn(turn.role, text, turn.won, raw))
    return tuple(result)


def read_persuasionforgood(path: Path) -> list[Conversation]:
    """PersuasionForGood (Wang et al. 2019): `full_dialog.csv`, role 0 persuades for a charity."""
    file = path if path.suffix == ".csv" else path / "full_dialog.csv"
    rows = list(_csv_rows(file, ("Unit", "Turn", "B4", "B2")))
    conversations = []
    for dialogue, group in groupby(rows, key=lambda row: row["B2"]):
        turns = [Turn("assistant" if row["B4"] == "0" else "user", row["Unit"]) for row in group]
        conversations.append(Conversation(dialogue, "persuasionforgood", merged_turns(turns)))
    return conversations


def _csv_rows(file: Path, columns: tuple[str, ...]) -> Iterator[dict[str, str]]:
    if not file.exists():
        raise MissingInput(f"{file} is missing. Set data.path to the folder that holds it.")
    with file.open(encoding="utf-8-sig", newline="") as handle:
        reader = csv.DictReader(handle)
        absent = [c for c in columns if c not in (reader.fieldnames or [])]
        if absent:
            raise DataError(f"{file}:1: no column {', '.join(absent)}; it has "
                            f"{', '.join(reader.fieldnames or ['nothing'])}.")
        for row in reader:
            if any(row[c] is None for c in columns) or row["B4"] not in ("0", "1"):
                raise DataError(f"{file}:{reader.line_num}: a row needs {', '.join(columns)}, "
                                "B4 being 0 (persuader) or 1. Mend this line.")
            yield row


def read_winning_args(path: Path) -> list[Conversation]:
    """ConvoKit's unpacked winning-args-corpus (ChangeMyView): one conversation per reply.

    The opening post is the view; a reply with `meta.success` 1 changed it, 0 did not.
    """
    titles = read_json(path / "conversations.json", made_by="convokit download winning-args-corpus")
    rows = read_jsonl(path / "utterances.jsonl", _utterance,
                      made_by="convokit download winning-args-corpus")
    posts = {row["id"]: row["text"] for row in rows if row["id"] == row["root"]}
    conversations = []
    for row in rows:
        if row["success"] is None or row["reply_to"] != row["root"] or row["root"] not in posts:
            continue
        title = titles.get(row["root"], {}).get("meta", titles.get(row["root"], {})).get(
            "op-title", "")
        turns = (Turn("user", f"{title}\n\n{posts[row['root']]}"),
                 Turn("assistant", row["text"], bool(row["success"])))
        conversations.append(Conversation(row["root"], "cmv", merged_turns(turns)))
    return conversations


def _utterance(row: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(row.get("text"), str) or "id" not in row:
        raise DataError("an utterance needs id and text")
    root = row.get("conversation_id", row.get("root"))
    reply_to = row.get("reply-to", row.get("reply_to"))
    return {"id": row["id"], "root": root, "reply_to": reply_to, "text": row["text"],
            "success": row.get("meta", {}).get("success")}


def read_conversations_jsonl(path: Path) -> list[Conversation]:
    """Your own corpus: lines of `{conversation_id, turns: [{role, text, won?}]}`."""
    return read_jsonl(path, _own_conversation, made_by="the program that wrote it")


def _own_conversation(row: dict[str, Any]) -> Conversation:
    turns = row.get("turns")
    if not isinstance(turns, list) or not turns:
        raise DataError("a conversation needs turns: [{role, text}]")
    parsed = []
    for turn in turns:
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
            raise DataError(f'a turn needs the role "user" or "assistant", got {turn!r:.60}')
        if not isinstance(turn.get("text"), str):
            raise DataError(f"a turn needs text, got {turn!r:.60}")
        parsed.append(Turn(turn["role"], turn["text"], turn.get("won")))
    identity = str(row.get("conversation_id") or content_id(turns))
    return Conversation(identity, "jsonl", merged_turns(parsed))
