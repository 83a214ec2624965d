"""The labelling page answers this machine, and whoever has its token."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from worlds.labeling_pool import make_demo
from worlds.scratch import clean_environment

pytest.importorskip("voila")
pytestmark = pytest.mark.slow     # a server and its start


@pytest.fixture
def address(tmp_path):
    """The address that `persuasion label` prints."""
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "persuasion_lib.cli", "label"], cwd=make_demo(tmp_path / "demo"),
            env=clean_environment(), stdout=said, stderr=said, start_new_session=True)
    found = None
    deadline = time.monotonic() + 120
    while not found and process.poll() is None and time.monotonic() < deadline:
        found = re.search(r"http://127.0.0.1:\d+/\S*", (tmp_path / "said.txt").read_text())
        time.sleep(0.1)
    yield found[0] if found else (tmp_path / "said.txt").read_text()
    os.killpg(process.pid, 15)
    process.wait(20)


def status(url: str, **headers: str) -> tuple[int, str]:
    """The status, and where it leads."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as reply:
            return reply.status, reply.url
    except urllib.error.HTTPError as error:
        return error.code, error.url


def test_the_page_needs_its_token_and_no_other_name_of_the_machine_is_answered(address):
    page, _, token = address.partition("?token=")
    assert len(token) >= 32
    assert "/login" in status(page)[1]
    assert "/login" in status(f"{page}?token={token[:-1]}")[1]
    assert status(page + "login", Host="evil.example")[0] == 403
    assert status(f"{page}login?token={token}", Host="127.0.0.1.evil.example:8866")[0] == 403
    assert status(page + "login", Host="localhost:8866")[0] == 200
