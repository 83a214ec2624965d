"""Pools sampled from an OpenAI-compatible server: nothing lost, nothing taken on trust."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError, JudgingStopped, LineageError
from persuasion_lib.core.pipeline import path_of
from persuasion_lib.core.store import write_json
from persuasion_lib.data.server import Sampled, sample_from_server
from persuasion_lib.judging import pace
from persuasion_lib.models.export import export
from persuasion_lib.models.lineage import weights_hash
from persuasion_lib.models.loading import load_tokenizer
from persuasion_lib.models.sampling import Request
from worlds.fakeserver import CHAOS, FakeServer

REQUESTS = [Request(f"e{n}:{reply}", [{"role": "user", "content": f"View {n}: cats beat dogs."}])
            for n in range(10) for reply in (1, 2)]


class Counts:
    """Counts prompt tokens as the fake server does, plus `more`."""

    def __init__(self, more=0):
        self.more = more

    def apply_chat_template(self, messages, **options):
        return [0] * (len(messages[-1]["content"]) // 4 + 100 + self.more)


@pytest.fixture
def project_at(project, monkeypatch):
    monkeypatch.setattr(pace, "BACKOFF_S", (0.01, 0.05))

    def config(server, name="sft"):
        return load_config("smoke", [f"pairs.server={server.url}/v1", f"pairs.server_model={name}"])
    return config


def ask(config, *, weights="w", tokenizer=None):
    return sample_from_server(config, REQUESTS, config.pairs, tokenizer or Counts(),
                              weights=weights)


def test_every_request_has_its_reply_and_a_seed_of_its_own(project_at):
    with FakeServer() as server:
        replies = ask(project_at(server))
    bodies = [r["body"] for r in server.requests]
    assert set(replies) == {r.key for r in REQUESTS}
    assert len({body["seed"] for body in bodies}) == 20
    assert {(b["temperature"], b["top_p"], b["max_tokens"]) for b in bodies} == {(0.9, 0.97, 64)}
    assert bodies[0]["messages"] == REQUESTS[0].prompt
    assert {(g.finish, g.tokens) for g in replies.values()} == {("stop", 40)}


def test_the_key_of_a_sample_stays_so_that_saved_replies_stay_valid():
    context = [{"role": "user", "content": "Cats?"}, {"role": "assistant", "content": "Dogs."}]
    question = Sampled(item_id="r1", text=json.dumps(context), messages=tuple(context), sample=123,
                       tokens=7)
    key = "84d4ad357a7c36d004113365079138fcfa59a8e4"
    assert question.key(("sample", "w", 0.9, 0.97, 64)) == key


def test_a_reply_that_hits_the_cap_says_so_and_an_empty_one_is_a_reply(project_at):
    faults = {0: "max-tokens", 1: "empty-content"}
    with FakeServer(lambda number, body: faults.get(number)) as server:
        replies = ask(project_at(server))
    assert [g.finish for g in replies.values()].count("length") == 1
    assert [g.text for g in replies.values()].count("") == 1


def test_a_failing_server_loses_no_reply(project_at):
    with FakeServer(lambda number, body: CHAOS[number // 2 % len(CHAOS)] if number % 2 and
                    number < 24 and CHAOS[number // 2 % len(CHAOS)] not in ("429", "bad-text")
                    else None) as server:
        assert len(ask(project_at(server))) == 20


def test_what_is_saved_is_not_asked_again_unless_the_weights_are_others(project_at):
    with FakeServer(lambda number, body: "401" if number == 7 else None) as server:
        with pytest.raises(JudgingStopped, match="API key"):
            ask(project_at(server))
        config = project_at(server)
        saved = len(path_of(config, "pool_samples").read_text().splitlines())
        first = len(server.requests)
        ask(config)
        assert len(server.requests) - first == 20 - saved and saved > 0
        ask(config, weights="other")
        assert len(server.requests) - first == 40 - saved


def test_another_chat_template_stops_the_run(project_at):
    with FakeServer() as server, pytest.raises(JudgingStopped, match="another chat template"):
        ask(project_at(server), tokenizer=Counts(more=3))
    assert len(server.requests) == 1


def test_a_server_without_our_model_or_without_a_name_is_refused(project_at, project):
    with FakeServer() as server:
        with pytest.raises(ConfigError, match="serves sft, not 'qwen'"):
            ask(project_at(server, "qwen"))
        with pytest.raises(ConfigError, match="server_model"):
            ask(project_at(server, ""))
    with pytest.raises(ConfigError, match="Start the server"):
        ask(load_config("smoke", ["pairs.server=http://127.0.0.1:9/v1", "pairs.server_model=a"]))


def test_a_folder_that_holds_other_weights_is_refused(project_at, project):
    write_json(project / "served" / "persuasion_export.json",
               {"name": "sft", "weights": {"sft": "old"}})
    with FakeServer() as server, pytest.raises(LineageError, match="Export it again"):
        ask(project_at(server, "served"), weights="new")
    assert not server.requests


@pytest.fixture
def served(smoke_copy):
    """`transformers serve` with the exported SFT of a smoke run, and its folder."""
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    folder = export(load_config("smoke"), "sft", smoke_copy / "served")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (smoke_copy / "serve.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder),
             "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log)
    try:
        for _ in range(600):
            assert process.poll() is None, (smoke_copy / "serve.txt").read_text()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1", folder
    finally:
        process.terminate()
        process.wait(20)


def test_transformers_serve_with_the_exported_sft_samples_with_our_template(served):
    endpoint, folder = served
    config = load_config("smoke", [f"pairs.server={endpoint}", f"pairs.server_model={folder}",
                                   "pairs.batch_size=2", "pairs.max_new_tokens=24"])
    replies = sample_from_server(config, REQUESTS[:4], config.pairs, load_tokenizer(config),
                                 weights=weights_hash(config, "sft"))
    assert {g.finish for g in replies.values()} <= {"stop", "length"}
    assert len({g.text for g in replies.values()}) > 1      # sampled, not greedy
    rows = path_of(config, "pool_samples").read_text().splitlines()
    assert [json.loads(row)["task"] for row in rows] == ["sample"] * 4
