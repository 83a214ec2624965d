"""What came back, read from the JSON itself: a server may send anything.

    {"error": …} inside a 200    what its status would mean (OpenRouter, vLLM, a proxy)
    no choices, another shape    a broken reply, which is asked again
    content as parts             their texts; thoughts are no part of an answer
    a number of tokens           a whole one that can be true, else not said
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from persuasion_lib.judging.faults import Fault, broken_reply, fault_of_status, said_in, scrub

Stop = Literal["end", "cut", "refused"]
MOST_TOKENS = 1e9           # of one call; a greater number is none
_LIMITS = {"requests": ("anthropic-ratelimit-requests-limit", "x-ratelimit-limit-requests"),
           "input_tokens": ("anthropic-ratelimit-input-tokens-limit", "x-ratelimit-limit-tokens"),
           "output_tokens": ("anthropic-ratelimit-output-tokens-limit",)}
_STOPS: dict[str, Stop] = {
    "refusal": "refused", "content_filter": "refused",
    "max_tokens": "cut", "model_context_window_exceeded": "cut", "length": "cut"}
# Errors that have a name in place of a status.
_STATUS = {"invalid_request_error": 400, "authentication_error": 401, "billing_error": 402,
           "permission_error": 403, "not_found_error": 404, "rate_limit_error": 429,
           "rate_limit_exceeded": 429, "insufficient_quota": 429, "overloaded_error": 529}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
# Above so many words a token a prompt has been cut: no tokenizer has fewer than about one a word.
WORDS_PER_TOKEN = 2.0


@dataclass(frozen=True)
class Reply:
    """What came back: text, why it ended, and what it cost in tokens (None: not said)."""

    text: str
    stop: Stop
    model: str
    request_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    limits: dict[str, float] = field(default_factory=dict)


def body_of(response: Any) -> dict[str, Any]:
    """The JSON object of a reply with status 200.

    Raises:
        Fault: it is none, or it holds an error.
    """
    try:
        body = json.loads(response.content)
    except (ValueError, RecursionError):
        start = response.content[:80].decode("utf-8", "replace")
        raise broken_reply(f"not JSON: {start!r}") from None
    if not isinstance(body, dict):
        raise broken_reply(f"not an object: {str(body)[:80]!r}")
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    for found in (body, first):
        if isinstance(found, dict) and _is_error(found):
            raise _fault_of(found, response.headers)
    return body


def _is_error(found: Mapping[str, Any]) -> bool:
    return bool(found.get("error")) or found.get("object") == "error"


def _fault_of(found: Mapping[str, Any], headers: Any) -> Fault:
    """The fault of an error that came as if it were a reply."""
    error = found.get("error") or found
    code = None
    for name in ("code", "status", "type") if isinstance(error, dict) else ():
        with suppress(TypeError, ValueError, OverflowError):       # "429" is meant as 429
            code = code or int(_STATUS.get(str(error.get(name)), error.get(name)))
    said = said_in({"error": error})
    if code and 400 <= code < 600:
        return fault_of_status(code, said, headers)
    return broken_reply(f"an error as a reply: {said}")


def of_completion(body: Mapping[str, Any], headers: Any) -> Reply:
    """The reply in a chat completion."""
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise broken_reply(f"not a completion: {str(body)[:80]!r}")
    refusal = message.get("refusal")
    text = _text(message.get("content"))
    thoughts = next((message[name] for name in _THOUGHTS if message.get(name)), None)
    if not text.strip() and isinstance(thoughts, str):
        text = f"<think>{thoughts}"     # shown where it cannot be read; nothing is read from it
    usage = _object(body.get("usage"))
    return Reply(str(refusal or text), "refused" if refusal else _stop(choice.get("finish_reason")),
                 _name(body), headers.get("x-request-id"),
                 count(usage.get("prompt_tokens"), of="question"),
                 count(usage.get("completion_tokens"), of=text), limits_in(headers))


def of_message(body: Mapping[str, Any], headers: Mapping[str, str]) -> Reply:
    """The reply in a message of Anthropic's API."""
    content = body.get("content")
    if not isinstance(content, list):
        raise broken_reply(f"not a message: {str(body)[:80]!r}")
    stop = _stop(body.get("stop_reason"))
    text = _text(content)
    if stop == "refused":
        text = str(_object(body.get("stop_details")).get("category") or "no category given")
    usage = _object(body.get("usage"))
    cached = [count(usage.get(f"cache_{kind}_input_tokens")) or 0 for kind in ("creation", "read")]
    fresh = count(usage.get("input_tokens"))
    whole = None if fresh is None else count(fresh + sum(cached), of="question")
    return Reply(text, stop, _name(body), headers.get("request-id"), whole,
                 count(usage.get("output_tokens"), of=text), limits_in(headers))


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(content: Any) -> str:
    """Content as one text: a text, or a list of parts, of which the texts count."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part if isinstance(part, str) else part.get("text") for part in parts
             if isinstance(part, str) or _object(part).get("type") in ("text", "output_text")]
    return "".join(text for text in texts if isinstance(text, str))


def _stop(reason: Any) -> Stop:
    if reason == "error":
        raise broken_reply("the model behind the server failed while it answered")
    return _STOPS.get(str(reason), "end")


def _name(body: Mapping[str, Any]) -> str:
    return scrub(str(body.get("model")))[:200]


def count(value: Any, *, of: str = "") -> int | None:
    """A server's number of tokens `of` a text; None for what is none: text, NaN, 0 of something."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_one = is_number and 0 <= value < MOST_TOKENS
    return int(value) if is_one and (value or not of.strip()) else None


def limits_in(headers: Any) -> dict[str, float]:
    """Per-minute limits of the account, from the headers of a reply."""
    found: dict[str, float] = {}
    for name, sent_as in _LIMITS.items():
        for header in sent_as:
            with suppress(KeyError, ValueError):
                found[name] = float(headers[header])
    return {name: value for name, value in found.items() if value > 0}


def check_whole(reply: Reply, asked: str) -> Reply:
    """Refuse to go on where the server has read far fewer tokens than it was sent words.

    Ollama and llama.cpp cut the beginning of what does not fit, rubric first, without a word.
    """
    words = len(re.findall(r"\w+", asked))
    if reply.input_tokens and reply.input_tokens * WORDS_PER_TOKEN < words:
        raise Fault("cut prompt", "stop", f"the server read {reply.input_tokens} tokens of a "
                    f"question of {words} words: it cuts what does not fit. Give it a longer "
                    "context (Ollama: OLLAMA_CONTEXT_LENGTH or num_ctx; llama.cpp: -c; LM Studio: "
                    "context length; vLLM: --max-model-len).", unknown_cost=True)
    return reply
