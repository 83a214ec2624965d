"""Slow proofs: kills at random moments, a real kernel, the notebook headless, a real server."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from persuasion_lib.core.config import load_config
from persuasion_lib.core.records import pair_row, parse_labeled
from persuasion_lib.core.store import read_jsonl, write_jsonl
from persuasion_lib.judging.roles import make_judge
from persuasion_lib.judging.tasks.compare import label_pairs
from worlds.fakeserver import CHAOS, FakeServer
from worlds.judging_world import child_environment, pairs_of, right_labels

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
WORLD = ROOT / "tests" / "worlds" / "judging_world.py"


def no_marked_key(folder: Path) -> None:
    for path in folder.rglob("*"):
        assert not path.is_file() or b"MARKEDKEY" not in path.read_bytes(), path


def label_in_child(server: FakeServer, folder: Path, count: int,
                   per_minute: float) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, str(WORLD), str(folder / "judgments.jsonl"), str(count),
             str(per_minute)], env=child_environment(server), stdout=output, stderr=output)


def last_counts(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "output.txt").read_text().splitlines()[-1])


def test_twenty_kills_among_faults_change_nothing_in_the_labels(tmp_path):
    count, kills, draw = 400, 22, random.Random(5)

    def quarter(_: int, body: dict[str, Any]) -> str | None:
        faults = (*CHAOS, "refusal", "max-tokens")
        fault = draw.choice(faults) if draw.random() < 0.25 else None
        return "429-ms" if fault == "429" else fault

    with FakeServer() as calm:
        assert label_in_child(calm, tmp_path / "calm", count, 60_000).wait(120) == 0
    with FakeServer(quarter, latency_s=0.05) as server:
        for kill in range(kills):
            until = len(server.requests) + draw.randint(1, 45)
            process = label_in_child(server, tmp_path / "chaos", count, 3000)
            while len(server.requests) < until and process.poll() is None:
                time.sleep(0.005)
            assert process.poll() is None, "the run ended before it was killed"
            process.send_signal(signal.SIGKILL)
            process.wait()
            log = tmp_path / "chaos" / "judgments.jsonl"
            if kill % 2 and log.exists() and log.stat().st_size > 100:
                os.truncate(log, log.stat().st_size - draw.randint(1, 40))
        for _ in range(4):      # a refused, cut or three times unreadable question stays open
            assert label_in_child(server, tmp_path / "chaos", count, 60_000).wait(120) == 0
            if last_counts(tmp_path / "chaos")["unscored"] == 0:
                break
        asked, billed = len(server.requests), server.billed
        assert label_in_child(server, tmp_path / "chaos", count, 60_000).wait(120) == 0
        assert len(server.requests) == asked
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    keys = [row["key"] for row in rows]
    labeled = read_jsonl(tmp_path / "chaos" / "labeled.jsonl", parse_labeled, made_by="the test")
    print(f"{kills} kills, {len(keys)} judgments, {asked} requests, {billed} billed")
    assert len(keys) == len(set(keys)) >= 2 * count
    assert {item.pair.pair_id: item.label for item in labeled} == right_labels(count)
    assert ((tmp_path / "chaos" / "labeled.jsonl").read_bytes()
            == (tmp_path / "calm" / "labeled.jsonl").read_bytes())
    no_marked_key(tmp_path)


def test_a_kernel_interrupt_stops_within_two_seconds_and_loses_nothing(tmp_path, monkeypatch):
    from jupyter_client.manager import start_new_kernel

    with FakeServer(latency_s=0.5) as server:
        for name, value in child_environment(server).items():
            monkeypatch.setenv(name, value)
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(ROOT))
        try:
            client.execute("from worlds.judging_world import label_in_child")
            cell = f"label_in_child({str(tmp_path / 'judgments.jsonl')!r}, '300', '1200')"
            message = client.execute(cell)
            while len(server.requests) < 30:
                time.sleep(0.02)
            began = time.monotonic()
            manager.interrupt_kernel()
            while True:
                reply = client.get_shell_msg(timeout=30)
                if reply["parent_header"]["msg_id"] == message:
                    break
            took = time.monotonic() - began
            saved = (tmp_path / "judgments.jsonl").read_text().count("\n")
            print(f"kernel interrupt: {took:.2f} s, {saved} saved of {server.billed} billed")
            assert reply["content"]["ename"] == "KeyboardInterrupt"
            assert took < 2.0
            assert saved == server.billed
            answered = client.execute_interactive(cell, timeout=60, output_hook=lambda _: None)
            assert answered["content"]["status"] == "ok"
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)


def headless(server: FakeServer, root: Path, output: str) -> subprocess.Popen[bytes]:
    """Notebook 01 through papermill against the server, with the project folder `root`."""
    code = ("import papermill, sys\npapermill.execute_notebook(sys.argv[1], sys.argv[2], "
            "{'profile': 'full', 'overrides': ['seed=0']}, cwd=sys.argv[3], "
            "kernel_name='python3', progress_bar=False)")
    with (root / "output.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", code, str(ROOT / "notebooks" / "01_label_ai.ipynb"),
             str(root / output), str(root / "notebooks")], env=child_environment(server),
            stdout=log, stderr=log, start_new_session=True)


def test_notebook_01_labels_2150_pairs_headless_killed_once_and_resumed(tmp_path):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    pool = tmp_path / "data" / "preferences" / "ai_pool_responses.jsonl"
    write_jsonl(pool, map(pair_row, pairs_of(2150)))
    limits = {"anthropic-ratelimit-requests-limit": "6000"}
    with FakeServer(latency_s=0.2, headers=limits) as server:
        process = headless(server, tmp_path, "killed.ipynb")
        while len(server.requests) < 2000 and process.poll() is None:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        killed_at = len(server.requests)
        assert headless(server, tmp_path, "resumed.ipynb").wait(400) == 0, (
            tmp_path / "output.txt").read_text()[-3000:]
        asked = len(server.requests)
        assert headless(server, tmp_path, "again.ipynb").wait(400) == 0
        assert len(server.requests) == asked
    labeled = read_jsonl(pool.with_name("ai_pool_labeled.jsonl"), parse_labeled, made_by="01")
    lines = pool.with_name("ai_judgments.jsonl").read_text().splitlines()
    keys = [json.loads(line)["key"] for line in lines]
    print(f"killed after {killed_at} requests, {asked} in all for {len(keys)} judgments")
    assert [item.pair.pair_id for item in labeled] == [f"pair-{i}" for i in range(2150)]
    assert {item.pair.pair_id: item.label for item in labeled} == right_labels(2150)
    assert len(keys) == len(set(keys))
    assert 4300 <= len(keys) <= asked <= len(keys) + 256
    no_marked_key(tmp_path)


@pytest.fixture
def served(tmp_path):
    """The address of `transformers serve` with a demo model that some run left here."""
    python = os.environ.get("PERSUASION_SERVE_PYTHON", sys.executable)
    models = sorted(ROOT.glob("models/*/checkpoints/base/config.json"))
    has_extra = subprocess.run([python, "-c", "import fastapi, uvicorn"], capture_output=True)
    if has_extra.returncode or not models:
        pytest.skip("needs transformers[serving] and a demo model (make run)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (tmp_path / "serve.txt").open("w") as log:
        process = subprocess.Popen(
            [python, "-m", "transformers.cli.transformers", "serve", str(models[0].parent),
             "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, "HF_HUB_OFFLINE": "1"}, stdout=log, stderr=log)
    try:
        wait_until_it_listens(port, process)
        yield f"http://127.0.0.1:{port}/v1", str(models[0].parent)
    finally:
        process.terminate()
        process.wait(20)


def wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "transformers serve ended"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.2)
    raise TimeoutError("transformers serve does not listen")


def test_a_model_that_babbles_behind_transformers_serve_is_never_guessed_for(served, project):
    endpoint, model = served
    config = project / "configs" / "data_config.yaml"
    config.write_text(config.read_text().replace(
        "    claude-sonnet-5-5:", f"    {model}: [0, 0]\n    claude-sonnet-5-5:", 1))
    overrides = ["label_ai.judge=openai", f"openai.base_url={endpoint}", f"openai.model={model}",
                 "openai.max_tokens=24", "openai.temperature=0", "oracle.source=openai"]
    settings = load_config("full", overrides)
    outcome = label_pairs(pairs_of(3), make_judge(settings, "label_ai"), log=project / "log")
    reasons = {reason.split(":")[0] for reason in outcome.errors.values()}
    print(f"transformers serve: {outcome.ledger.calls} calls, {outcome.ledger.input_tokens} tokens "
          f"in, {outcome.ledger.output_tokens} out, unscored because {reasons}")
    assert (outcome.done, len(outcome.errors)) == (0, 3)
    assert reasons <= {"cut", "unreadable"}
    assert outcome.ledger.output_tokens > 0 and outcome.ledger.usd == 0
