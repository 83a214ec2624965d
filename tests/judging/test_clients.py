"""What the SDKs do by themselves, pinned: an upgrade that changes it must fail here, loudly.

Our loop turns their retries off and owns what follows from each row; these rows are the reasons.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
import warnings
from typing import Any

import anthropic
import openai
import pytest

from worlds.fakeserver import FakeServer, vector_for

KEY = "sk-ant-api03-0123456789abcdef"
ASK = {"model": "claude-sonnet-5-5", "max_tokens": 50,
       "messages": [{"role": "user", "content": "which?"}]}

# fault: requests made, and the exception's name (None: a reply came back)
DEFAULTS = {
    "429-bare": (3, "RateLimitError"), "429-spend": (3, "RateLimitError"),
    "429-never": (1, "RateLimitError"), "529": (3, "OverloadedError"),
    "500": (3, "InternalServerError"), "502-html": (3, "InternalServerError"),
    "reset": (3, "APIConnectionError"), "close": (3, "APIConnectionError"),
    "short-body": (3, "APIConnectionError"),
    "cut-json": (1, "JSONDecodeError"), "empty-body": (1, "JSONDecodeError"),
    "not-utf8": (1, "UnicodeDecodeError"), "html-200": (1, None), "wrong-shape": (1, None),
    "no-usage": (1, None), "empty-content": (1, None), "refusal": (1, None),
    "max-tokens": (1, None), "bad-text": (1, None), "surrogate": (1, None),
    "400-long": (1, "BadRequestError"), "401": (1, "AuthenticationError"),
    "402": (1, "PaymentRequiredError"), "403": (1, "PermissionDeniedError"),
    "404": (1, "NotFoundError"), "413": (1, "ContentTooLargeError")}


async def ask_anthropic(fault: str) -> tuple[int, str | None]:
    with FakeServer([fault] * 9) as server:
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url) as client:
            try:
                await client.messages.create(**ASK)
            except Exception as error:
                return len(server.requests), type(error).__name__
        return len(server.requests), None


def test_the_anthropic_client_retries_what_it_retried():
    async def all_faults() -> list[tuple[int, str | None]]:
        return await asyncio.gather(*(ask_anthropic(fault) for fault in DEFAULTS))

    seen = dict(zip(DEFAULTS, asyncio.run(all_faults()), strict=True))
    assert seen == DEFAULTS


def test_an_html_page_with_status_200_comes_back_as_a_str():
    with FakeServer(["html-200", "wrong-shape"]) as server, anthropic.Anthropic(
            api_key=KEY, base_url=server.url) as client:
        assert isinstance(client.messages.create(**ASK), str)
        assert client.messages.create(**ASK).content is None


def test_the_anthropic_client_sleeps_as_long_as_a_server_says():
    async def hour() -> None:
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url) as client:
            await asyncio.wait_for(client.messages.create(**ASK), 0.7)

    with FakeServer(["429-3600"] * 3) as server, pytest.raises(TimeoutError):
        asyncio.run(hour())
    assert len(server.requests) == 1


def test_the_openai_client_does_not_wait_an_hour_but_retries_an_empty_account():
    message = [{"role": "user", "content": "which?"}]
    for fault, requests in (("429-3600", 1), ("429-quota", 3)):
        with FakeServer([fault] * 9) as server, openai.OpenAI(
                api_key=KEY, base_url=server.url + "/v1") as client:
            with pytest.raises(openai.RateLimitError):
                client.chat.completions.create(model="gpt-5.1", messages=message)
            assert len(server.requests) == requests


def test_the_timeout_bounds_each_read_and_not_the_call():
    with FakeServer(["trickle"]) as server, anthropic.Anthropic(
            api_key=KEY, base_url=server.url, timeout=1.0, max_retries=0) as client:
        began = time.monotonic()
        assert client.messages.create(**ASK).stop_reason == "end_turn"
        assert time.monotonic() - began > 2


def test_the_defaults_of_both_clients():
    client = anthropic.AsyncAnthropic(api_key=KEY)
    assert client.max_retries == openai.AsyncOpenAI(api_key=KEY).max_retries == 2
    assert (client.timeout.read, client.timeout.connect) == (600, 5.0)
    assert client._idempotency_header is None


def test_the_key_is_sent_as_a_bearer_token():
    with FakeServer() as server, anthropic.Anthropic(api_key=KEY, base_url=server.url) as client:
        client.messages.create(**ASK)
    assert server.keys == {KEY}


def test_sampling_settings_are_no_arguments_any_more():
    with anthropic.Anthropic(api_key=KEY) as client:
        for name in ("temperature", "top_p", "top_k"):
            with pytest.raises(TypeError):
                client.messages.create(**ASK, **{name: 1})
        assert "output_config" in inspect.signature(client.messages.create).parameters


def test_the_warning_about_the_old_judge_is_hidden_by_default_so_we_check_ourselves():
    from anthropic.resources.messages.messages import DEPRECATED_MODELS

    assert DEPRECATED_MODELS["claude-sonnet-4-5"] == "November 30th, 2026"
    assert "claude-sonnet-5-5" not in DEPRECATED_MODELS

    async def ask() -> None:
        async with anthropic.AsyncAnthropic(api_key=KEY, base_url=server.url) as client:
            await client.messages.create(**{**ASK, "model": "claude-sonnet-4-5"})

    with FakeServer() as server, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        asyncio.run(ask())
    places = [w.filename for w in caught if w.category is DeprecationWarning]
    assert places and all("asyncio" in place for place in places)


def test_parse_throws_away_the_usage_of_a_reply_that_was_paid_for():
    import pydantic

    class Verdict(pydantic.BaseModel):
        choice: str

    with FakeServer(["bad-text"]) as server, anthropic.Anthropic(
            api_key=KEY, base_url=server.url) as client, pytest.raises(
            pydantic.ValidationError) as caught:
        client.messages.parse(**ASK, output_format=Verdict)
    assert not hasattr(caught.value, "usage")


def test_a_lost_reply_makes_two_batches_unless_retries_are_off():
    request: Any = {"custom_id": "a", "params": ASK}
    for retries, made in ((2, 2), (0, 1)):
        with FakeServer() as server, anthropic.Anthropic(
                api_key=KEY, base_url=server.url, max_retries=retries) as client:
            server.batch_faults = ["lost"]
            try:
                client.messages.batches.create(requests=[request])
            except anthropic.APIConnectionError:
                assert retries == 0
            assert len(server.batches) == made


def test_embeddings_come_back_in_the_order_and_number_that_the_server_sends():
    with FakeServer(["shuffled", "short"]) as server, openai.OpenAI(
            api_key=KEY, base_url=server.url + "/v1") as client:
        rows = client.embeddings.create(model="m", input=["x", "y", "z"]).data
        assert [row.index for row in rows] == [2, 1, 0]
        assert rows[2].embedding == pytest.approx(vector_for("x"), rel=1e-5)
        assert len(client.embeddings.create(model="m", input=["x", "y", "z"]).data) == 2
    assert json.dumps(server.requests[0]["body"]).count("base64") == 1


def test_a_key_with_a_newline_is_printed_by_the_sdk_so_ours_are_stripped():
    with FakeServer() as server, anthropic.Anthropic(
            api_key=KEY + "\n", base_url=server.url, max_retries=0) as client, pytest.raises(
            anthropic.APIConnectionError) as caught:
        client.messages.create(**ASK)
    assert KEY in str(caught.value.__cause__)
