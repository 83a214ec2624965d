"""A key belongs to its host, for judges, embeddings and the server of the pools alike."""

from __future__ import annotations

import re

import httpx2
import pytest
import yaml

from persuasion_lib.core.config import load_config
from persuasion_lib.core.errors import ConfigError
from persuasion_lib.core.keys import (
    NO_KEY,
    check_address,
    endpoint_of,
    is_on_this_machine,
    key_for,
)
from persuasion_lib.data.server import Sampled
from persuasion_lib.judging.check import check
from persuasion_lib.judging.connect import Line
from persuasion_lib.judging.embed import embed
from persuasion_lib.judging.roles import make_judge, place_of
from persuasion_lib.judging.tasks.compare import label_pairs
from worlds.fakeserver import FakeServer
from worlds.judging_world import MARKED_KEY, REAL_KEYS, pairs_of
from worlds.scratch import ROOT

HERE = ("openai.base_url", "openai.api_key_env")
ELSEWHERE = ["https://api.openai.com.evil.example/v1", "https://evil.example/api.openai.com",
             "https://openai.com/v1", "https://api.openai.com.:443/v1", "https://eu.example/v1",
             "https://xn--api-openai.com/v1", "https://api.anthropic.com"]
NO_ADDRESS = ["https://api.openai.com@evil.example/v1", "https://user:pw@host/v1", "localhost:8000",
              "https://api.openai.com\\@evil.example", "ftp://host", "https://host/v1?api-key=abc",
              "https://host/#x", "https://ho st/v1", "https://", "//host/v1", "https://a\nb/v1",
              "https://host:99999999/v1", "file:///etc/passwd"]
IN_THE_CLEAR = ["http://api.openai.com/v1", "http://192.168.1.5:11434/v1", "http://10.0.0.1/v1",
                "http://localhost.evil.example/v1", "http://127.0.0.1.nip.io/v1",
                "http://0.0.0.0:8000/v1", "http://host.docker.internal/v1", "http://[fe80::1]/v1"]
LOOPBACK = ["http://localhost:8000/v1", "http://127.0.0.1/v1", "http://127.8.9.1:80/v1",
            "http://[::1]:8000/v1", "https://localhost/v1"]


@pytest.fixture
def keys(project, monkeypatch):
    for name, key in {**REAL_KEYS, "MY_KEY": MARKED_KEY}.items():
        monkeypatch.setenv(name, key)
    return project


def asked(root, endpoint, named=None, provider="openai"):
    return key_for(root, provider, endpoint, named, settings=HERE)


def test_a_provider_gets_its_own_key_at_its_own_host(keys):
    assert asked(keys, "https://api.openai.com/v1") == REAL_KEYS["OPENAI_API_KEY"]
    assert asked(keys, "https://API.openai.com/v1", "MY_KEY") == MARKED_KEY
    assert asked(keys, "https://api.anthropic.com", provider="anthropic") == REAL_KEYS[
        "ANTHROPIC_API_KEY"]


@pytest.mark.parametrize("endpoint", ELSEWHERE)
def test_another_host_needs_a_key_of_its_own(keys, endpoint):
    with pytest.raises(ConfigError, match="needs a key of its own.*openai.api_key_env"):
        asked(keys, endpoint)
    for name in REAL_KEYS:
        with pytest.raises(ConfigError, match=f"{name} goes to its own host alone"):
            asked(keys, endpoint, name)
    assert (asked(keys, endpoint, "MY_KEY"), asked(keys, endpoint, "none")) == (MARKED_KEY, NO_KEY)


@pytest.mark.parametrize("endpoint", [*NO_ADDRESS, *IN_THE_CLEAR])
def test_an_odd_address_or_one_without_encryption_is_refused_with_any_key(keys, endpoint):
    for named in (None, "none", "MY_KEY"):
        with pytest.raises(ConfigError, match="not a plain address|not encrypted|its own"):
            asked(keys, endpoint, named)


@pytest.mark.parametrize("endpoint", LOOPBACK)
def test_a_server_on_this_machine_needs_no_key_and_gets_none(keys, endpoint):
    assert asked(keys, endpoint) == NO_KEY
    assert asked(keys, endpoint, "MY_KEY") == MARKED_KEY


@pytest.mark.parametrize("value", ["", "  ", "a b", "kéy"])
def test_a_named_key_that_is_none_is_refused_and_not_shown(keys, monkeypatch, value):
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="^MY_KEY (is not set|has spaces)"):
        asked(keys, "https://host/v1", "MY_KEY")


def test_a_key_in_place_of_the_name_of_its_variable_is_refused_and_not_printed(keys):
    with pytest.raises(ConfigError, match="openai.api_key_env") as caught:
        load_config("full", ["openai.api_key_env=gsk_0123456789abcdef0123456789"])
    assert "0123456789" not in str(caught.value)


@pytest.mark.parametrize("name", ["ollama", "EMPTY", "lm-studio", "x"])
def test_a_word_in_place_of_a_key_does_no_harm_at_a_server_of_ones_own(project, monkeypatch, name):
    monkeypatch.setenv("OPENAI_API_KEY", name)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:11434/v1")
    assert make_judge(load_config("full", ["label_ai.judge=openai"]), "label_ai").key() == NO_KEY


def test_an_address_is_looked_for_where_the_key_is(project, monkeypatch):
    assert endpoint_of(project, "openai", None) == "https://api.openai.com/v1"
    (project / ".env").write_text("OPENAI_BASE_URL=http://localhost:1/v1\nMY_KEY=abc\n"
                                  "ANTHROPIC_BASE_URL=http://localhost:2\n")
    config = load_config("full", ["label_ai.judge=openai", "openai.api_key_env=MY_KEY"])
    assert make_judge(config, "label_ai").endpoint == "http://localhost:1/v1"
    assert place_of(config, "openai").key() == "abc"
    assert make_judge(config, "evaluate").endpoint == "http://localhost:2"
    monkeypatch.setenv("OPENAI_BASE_URL", "http://localhost:3/v1")
    assert endpoint_of(project, "openai", None) == "http://localhost:3/v1"
    assert endpoint_of(project, "openai", "http://localhost:4/v1") == "http://localhost:4/v1"


def test_every_role_has_an_address_a_key_and_parameters_of_its_own(keys, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "other-key-0123456789")
    with FakeServer() as judging, FakeServer() as embedding:
        config = load_config("full", [
            f'servers.judge={{base_url: "{judging.url}/v1", model: j, price: [0, 0], '
            'api_key_env: MY_KEY, extra_body: {top_k: 1}}',
            f'servers.vectors={{base_url: "{embedding.url}/v1", model: v, price: [0, 0], '
            'api_key_env: OTHER_KEY}',
            "label_ai.judge=judge", "evaluation.judge=anthropic", "safety.judge=offline",
            "similarity.embedder=vectors"])
        assert check(config)["embedder"] == ""
        label_pairs(pairs_of(1), make_judge(config, "label_ai"), log=keys / "log")
        embed(["one", "two"], config, cache=keys / "vectors")
    assert (judging.keys, embedding.keys) == ({MARKED_KEY}, {"other-key-0123456789"})
    assert judging.requests[0]["body"]["top_k"] == 1
    assert (embedding.requests[0]["path"], embedding.requests[0]["body"]["model"]) == (
        "/v1/embeddings", "v")
    assert make_judge(config, "evaluate").endpoint == "https://api.anthropic.com"
    assert make_judge(config, "label_ai").name == "judge/j"


@pytest.mark.parametrize("override, words", [
    ("label_ai.judge=nobody", "setting label_ai.judge: there is no 'nobody'.*offline"),
    ("similarity.embedder=anthropic", "has no embeddings"),
    ('servers.openai={base_url: "http://localhost", model: m}', "a meaning of its own"),
    ("servers.x={model: m}", "servers.x.base_url"), ("servers.x=3", "servers.x"),
    ("servers=3", "servers"), ('servers.x={base_url: "http://localhost", api_key: k}',
                               "unknown setting servers.x.api_key")])
def test_a_role_or_server_that_is_described_wrongly_is_one_sentence(project, override, words):
    with pytest.raises(ConfigError, match=words):
        load_config("full", [override])


def test_what_is_read_of_a_server_is_recorded_setting_by_setting(project):
    config = load_config("full", ['servers.x={base_url: "http://localhost", model: m}',
                                  "label_ai.judge=x"])
    config.reads.clear()
    assert config.servers["x"].model == "m" and config.servers["x"].timeout == 120
    assert config.reads.settings == {"servers.x.model"}
    assert config.peek("servers.x.model") == "m"


def test_headers_of_the_environment_stay_at_home_and_no_proxy_is_used_here(keys, monkeypatch):
    secret = {"OPENAI_ORG_ID": "org-secret", "OPENAI_PROJECT_ID": "proj-secret",
              "OPENAI_CUSTOM_HEADERS": "x-gateway: gate-secret",
              "ANTHROPIC_CUSTOM_HEADERS": "x-gateway: gate-secret",
              "ANTHROPIC_AUTH_TOKEN": "token-secret", "OPENAI_ADMIN_KEY": "admin-secret"}
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    with FakeServer() as proxy, FakeServer() as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        Line("openai", server.url + "/v1", NO_KEY, 5).client(blocking=True).models.list()
        Line("anthropic", server.url, NO_KEY, 5).client(blocking=True).messages.create(
            model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}])
    assert server.keys == {NO_KEY} and not proxy.sent_headers
    assert "secret" not in str(server.sent_headers)


def test_the_parts_of_the_client_that_we_rely_on_are_there():
    assert hasattr(httpx2.Response(200, content=b"x"), "_content")
    assert "key" not in repr(Line("openai", "https://host/v1", "the-key-itself", 5))
    assert Sampled.task == "sample"


def test_every_recipe_of_the_documentation_is_a_server_with_an_address_that_may_be_used(project):
    text = (ROOT / "docs" / "judges.md").read_text()
    recipes = yaml.safe_load(re.search(r"```yaml\n(servers:.*?)```", text, re.S)[1])["servers"]
    (project / "configs" / "profiles" / "mine.yaml").write_text(
        yaml.safe_dump({"extends": "demo", "servers": recipes}))
    config = load_config("mine")
    for name, server in config.servers.items():
        check_address(server.base_url, name)
        is_here = is_on_this_machine(server.base_url)
        assert server.api_key_env or is_here, name
        assert server.price or not is_here, name
