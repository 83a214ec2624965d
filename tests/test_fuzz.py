"""Random damage to files, settings, replies and headers: read, or refused in our own words.

No other error, nothing longer than a second, and no label that changes while another part of its
row is damaged. In the suite every case has some seconds; by hand, for half an hour in all:

    PERSUASION_FUZZ_S=1800 nice python -m pytest tests/test_fuzz.py -s
"""

import asyncio
import json
import os
import time
from random import Random

import pytest

from persuasion_lib.cli import main
from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import PersuasionError
from persuasion_lib.core.records import (
    parse_example,
    parse_labeled,
    parse_pair,
)
from persuasion_lib.core.store import read_jsonl
from persuasion_lib.data.corpora import (
    read_conversations_jsonl,
    read_persuasionforgood,
    read_winning_args,
)
from persuasion_lib.judging.faults import Fault, classify
from persuasion_lib.judging.rows import Cost, Paid, judgment
from persuasion_lib.judging.tasks.compare import label_pairs, pair_questions
from persuasion_lib.labeling.events import EventLog
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.reporting.evaluated import tabulated
from persuasion_lib.reporting.evaluation_file import read as read_evaluation
from worlds.fakeserver import FakeServer
from worlds.judging_world import judge_at, pairs_of
from worlds.labeling_pool import make_pairs
from worlds.mutations import as_json, changed, damaged
from worlds.synthetic_evaluation import make_evaluation

CASES = 8
SECONDS = float(os.environ.get("PERSUASION_FUZZ_S", 5 * CASES)) / CASES
SEED = int(os.environ.get("PERSUASION_FUZZ_SEED", 1))


def rounds(name):
    """Random generators, one an input, until the time of a case is over; says how many."""
    count = 0
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        count += 1
        yield Random(f"{SEED} {name} {count}")
    print(f"{name}: {count} inputs")


def tried(read, *arguments, about=""):
    """What `read` gives, or None where it refuses in our words; within a second of processing."""
    began = time.process_time()
    try:
        return read(*arguments)
    except PersuasionError as error:
        assert str(error).strip()
        return None
    except BaseException as error:
        raise AssertionError(f"{type(error).__name__}: {error}; input {about!r:.2000}") from error
    finally:
        assert time.process_time() - began < 1, f"too slow: {about!r:.2000}"


LABELED = {
    "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Why cats?"}],
    "chosen": "Dogs are loyal, you see.", "rejected": "Cats are bad.", "metadata": {
        "pair_id": "p1", "conversation_id": 7, "preference": "2", "is_equal": False,
        "grader": "me", "reasoning": "it is better", "relabelled": "2", "seconds": 3.5}}
PAIR = {"prompt": "[SYSTEM] be kind [CONTEXT] why [TASK] answer [RESPONSE]", "response_1": "One.",
        "response_2": "Two.", "metadata": {"conversation_id": None, "pair_id": 3}}
EXAMPLE = {"input_text": LABELED["prompt"], "response": "Dogs.", "metadata": {"example_id": "e"}}
OWN = {"conversation_id": "c", "turns": [{"role": "user", "text": "I like cats."},
                                         {"role": "assistant", "text": "Dogs!", "won": True}]}
DECIDE = {"chosen", "rejected", "prompt"}   # a label is about these texts


def meaning(labeled):
    pair = labeled.pair
    return pair.response_a, pair.response_b, labeled.label


def test_a_row_of_which_a_part_is_damaged_keeps_its_label_or_is_refused(tmp_path):
    file = tmp_path / "x.jsonl"
    right = meaning(parse_labeled(LABELED))
    for chance in rounds("labelled rows"):
        row, path = changed(LABELED, chance)
        file.write_text(as_json(row) + "\n")
        found = tried(lambda: read_jsonl(file, parse_labeled, made_by="them"), about=row)
        decides = path[0] in DECIDE or path[-1] in ("preference", "is_equal", "metadata")
        assert not found or decides or meaning(found[0]) == right, row
        if found and path[-1] in ("preference", "is_equal"):
            said = row["metadata"].get(path[-1])
            flag = {None: False, "": False, " ": False}.get(said, said) if isinstance(
                said, str | None) else said
            assert path[-1] == "preference" or flag != flag or found[0].label == (
                "tie" if flag else "b"), row


@pytest.mark.parametrize("rows, parse", [
    ([LABELED], parse_labeled), ([PAIR], parse_pair), ([EXAMPLE], parse_example)])
def test_damaged_files_of_rows(rows, parse, tmp_path):
    file = tmp_path / "x.jsonl"
    for chance in rounds(parse.__name__):
        if chance.random() < 0.5:
            data = damaged(as_json(rows[0]).encode() * 2 + b"\n", chance)
        else:
            data = as_json(changed(rows[0], chance)[0]).encode()
        file.write_bytes(data)
        tried(lambda: read_jsonl(file, parse, made_by="them"), about=data)


def test_damaged_corpora(tmp_path):
    corpus = tmp_path / "convokit"
    corpus.mkdir()
    about = {"t3_1": {"meta": {"op-title": "Cats"}}}
    utterances = [{"id": "t3_1", "conversation_id": "t3_1", "text": "I like cats.", "speaker": "A",
                   "reply-to": None, "meta": {}},
                  {"id": "t1_a", "conversation_id": "t3_1", "text": "Dogs are better.",
                   "speaker": "B", "reply-to": "t3_1", "meta": {"success": 1}}]
    table = b"Unit,Turn,B4,B2\nHello,0,0,d1\nHi there,0,1,d1\n"
    readers = [(read_winning_args, corpus), (read_conversations_jsonl, tmp_path / "own.jsonl"),
               (read_persuasionforgood, tmp_path / "full_dialog.csv"),
               (read_persuasionforgood, corpus)]
    for chance in rounds("corpora"):
        lines = [changed(u, chance)[0] if chance.random() < 0.3 else u for u in utterances]
        files = {corpus / "conversations.json": as_json(changed(about, chance)[0] if
                                                        chance.random() < 0.3 else about),
                 corpus / "utterances.jsonl": "\n".join(map(as_json, lines)),
                 tmp_path / "own.jsonl": as_json(changed(OWN, chance)[0])}
        for file, text in files.items():
            data = text.encode()
            file.write_bytes(damaged(data, chance) if chance.random() < 0.3 else data)
        (tmp_path / "full_dialog.csv").write_bytes(damaged(table, chance))
        for read, path in readers:
            tried(read, path, about={f.name: f.read_bytes() for f in
                                     [*files, tmp_path / "full_dialog.csv"]})


def test_damaged_evaluations(tmp_path):
    file = tmp_path / "final_evaluation.json"
    whole = make_evaluation(4)
    for chance in rounds("evaluations"):
        value = changed(whole, chance)[0]
        for _ in range(chance.randint(0, 2)):
            value = changed(value, chance)[0]
        data = as_json(value).encode()
        file.write_bytes(damaged(data, chance) if chance.random() < 0.2 else data)
        found = tried(lambda: read_evaluation(file, made_by="them"), about=file.read_bytes())
        if found:
            tried(tabulated, found, about=file.read_bytes())


def test_damaged_logs_of_judgments_and_events(tmp_path, monkeypatch):
    pairs = make_pairs(3)
    items = showings(pairs, seed=1, annotator="me", repeat_fraction=0, checks=0)
    events: list[dict] = []
    session = Session(items, [], events.append, annotator="me", guidelines="")
    for choice in ("first", "skip", "second"):
        session.choose(session.token(session.current), choice, 2.0)
    session.undo()
    with FakeServer() as server:
        judge = judge_at(server, monkeypatch)
        label_pairs(pairs, judge, log=tmp_path / "whole")
    judgments = [json.loads(line) for line in (tmp_path / "whole").read_text().splitlines()]
    judge.budget_usd = 0.0
    for chance in rounds("logs"):
        for rows, name in ((events, "events.jsonl"), (judgments, "judgments.jsonl")):
            lines = [as_json(changed(row, chance)[0] if chance.random() < 0.3 else row)
                     for row in rows]
            data = ("\n".join(lines) + "\n").encode()
            (tmp_path / name).write_bytes(damaged(data, chance) if chance.random() < 0.3 else data)
        log = tmp_path / "events.jsonl"
        tried(reopened, items, log, about=log.read_bytes())
        log = tmp_path / "judgments.jsonl"
        tried(labels_in, pairs, judge, log, about=log.read_bytes())


def reopened(items, log):
    """The choices in an event log, each with what was preferred."""
    session = Session(items, EventLog(log).rows, print, annotator="me", guidelines="")
    return [(item.key, event["preferred"]) for item, event in session.chosen()]


def labels_in(pairs, judge, log):
    """The labelled rows that a log of judgments gives without a call."""
    return list(label_pairs(pairs, judge, log=log).rows())


def test_damaged_settings(project, capsys):
    files = [*sorted((project / "configs").glob("*.yaml")),
             project / "configs" / "profiles" / "smoke.yaml"]
    keys = list(load_config("demo").flat())
    values = ["null", "~", "true", "1e999", ".nan", "-1", "[", "{", "'", '"', "@x", "%x", "&a *a",
              "!!python/object:os.system x", "\0", "1:2", "2026-13-45", "{a: 1}", "[1, 2]", "",
              "=", "x" * 2000, "~nobody-here/x", "../..", "/dev/null", "0x1F", "1_000", "é",
              "\ud800"]
    for chance in rounds("settings"):
        given = [f"{chance.choice(keys)}{chance.choice(['=', '=', '=', '', '.x='])}"
                 f"{chance.choice(values)}" for _ in range(chance.randint(0, 3))]
        file = chance.choice(files)
        whole = file.read_bytes()
        try:
            if chance.random() < 0.7:
                file.write_bytes(damaged(whole, chance))
            about = (given, file.name, file.read_bytes())
            arguments = [part for text in given for part in ("--set", text)]
            # argparse ends a wrong usage itself, with status 2
            tried(main, ["status", "--profile", "smoke", *arguments], about=about)
        finally:
            file.write_bytes(whole)
        assert "Traceback" not in capsys.readouterr().err


class Damaging(FakeServer):
    """A server whose next reply has the body and headers of `next`."""

    next: tuple[int, bytes, dict[str, str]] = (200, b"", {})

    async def _send(self, writer, status, payload, headers=None):
        status, data, fields = self.next
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: "
                     f"{len(data)}\r\n{lines}\r\n".encode("latin-1") + data)
        await writer.drain()
        return True


HEADERS = ["retry-after", "retry-after-ms", "x-should-retry", "date", "request-id", "x-request-id",
           "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-input-tokens-limit",
           "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens", "content-encoding"]
ODD_HEADERS = ["nan", "inf", "-1", "0", "1e999", "", " ", "x", "0.000001", "9" * 400, "gzip", "é",
               "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 99 Oct 99999 07:28:00 GMT", "1,2", "true"]
REPLY = json.dumps({"reasoning": "The longer one.", "choice": "1"})


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_damaged_replies_and_headers(kind, monkeypatch, tmp_path):
    with Damaging() as server:
        judge = judge_at(server, monkeypatch, kind)
        (_, question), *_ = pair_questions(pairs_of(1), judge, both_orders=False, seed=0).items()
        body = {"model": judge.model, "messages": [{"content": question.text}]}
        whole = server._payload(kind, body, None)
        text = whole["content"][0] if kind == "anthropic" else whole["choices"][0]["message"]
        text["text" if kind == "anthropic" else "content"] = REPLY

        async def ask_all():
            await judge.open()
            for chance in rounds(f"replies of {kind}"):
                value, path = changed(whole, chance)
                data = as_json(value).encode()
                is_damaged = chance.random() < 0.3
                status = chance.choice([200] * 6 + [304, 400, 401, 413, 429, 500, 503, 529, 204])
                headers = {chance.choice(HEADERS): chance.choice(ODD_HEADERS)
                           for _ in range(chance.randint(0, 2))}
                server.next = (status, damaged(data, chance) if is_damaged else data, headers)
                choice = await answer()
                heard = {"text", "content", "message", "choices", "type", "stop_reason",
                         "finish_reason"}
                assert is_damaged or path[-1] in heard or isinstance(path[-1], int) or (
                    choice in (None, "1")), server.next
            await judge.close()

        async def answer():
            paid = Paid()
            began = time.process_time()
            try:
                reply = await judge.ask(question)
                paid.add_reply(reply, judge, 0.01)
                row = judgment(judge, "k", question, reply, paid)
                Cost().add(json.loads(json.dumps(row, allow_nan=False)))
                return row["verdict"]["choice"]
            except Exception as error:
                try:
                    fault = classify(error)
                except Exception:
                    raise AssertionError(f"{error!r}: {server.next!r:.2000}") from error
                assert isinstance(fault, Fault) and fault.message
                assert fault.wait_s is None or 0 <= fault.wait_s < 1e4, server.next
                return None
            finally:
                assert time.process_time() - began < 1, server.next

        asyncio.run(ask_all())
