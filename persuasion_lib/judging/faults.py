"""What may go wrong with a call, and what follows from it.

    retry   this call only: a reset connection, a timeout, a broken reply
    reread  this question only: a reply came and is paid for, but holds no verdict
    pause   everybody waits: rate limit, overload
    item    this question stays unscored: refused, cut off, too long
    stop    no call can succeed: key, money, model, settings
"""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Literal
from urllib.parse import urlsplit

Action = Literal["retry", "reread", "pause", "item", "stop"]
LONGEST_WAIT_S = 120.0

_MONEY = re.compile(r"spend.?limit|insufficient_quota|credit balance|usage limits?|billing", re.I)
_TOO_LONG = re.compile(r"too (?:long|large)|context.?(?:length|window)|maximum.{0,20}tokens", re.I)
# Of a service that read the question and will not have it answered; others it answers.
_REFUSAL = re.compile(r"content.?filter|content management policy|ResponsibleAIPolicy|"
                      r"(?:was|been) flagged|requires moderation|invalid_prompt", re.I)
_TOO_MANY_ASKED = re.compile(r"max_(?:completion_)?tokens\b.{0,20}(?:too large|must be|at most|>)|"
                             r"at most \d+ completion tokens", re.I)
_HINTS = {401: "Check the API key.", 402: "Add credit to the account.",
          403: "The key may not use this model.", 404: "Check the model name and the base URL.",
          400: "The request is wrong for this model: check effort, max_tokens and the model."}


class Fault(Exception):
    """A classified failure of one call; `unknown_cost`: it may have been paid for.

    `reply` is the text that came all the same.
    """

    def __init__(self, kind: str, action: Action, message: str, *, wait_s: float | None = None,
                 unknown_cost: bool = False) -> None:
        super().__init__(message)
        self.kind = kind
        self.action = action
        self.message = scrub(message)
        self.wait_s = wait_s
        self.unknown_cost = unknown_cost
        self.reply = ""
        self.status: int | None = None      # the server's, and
        self.said = ""                      # its words, where they may name a parameter


def broken_reply(message: str) -> Fault:
    """A reply came that is none; whether it is paid for is not known."""
    return Fault("broken reply", "retry", message, unknown_cost=True)


def scrub(text: str) -> str:
    """A message without what looks like a key or a password, one line, at most 300 characters."""
    text = re.sub(r"\b(?:sk-|gsk_|Bearer\s+)[\w\-.]{6,}", "[key]", text)
    text = re.sub(r"://[^\s/@]+@", "://[user]@", text)
    text = "".join(sign if sign.isprintable() else " " for sign in text)
    return " ".join(text.split())[:300]


def classify(error: BaseException) -> Fault:
    """The fault behind an exception of either SDK; an exception that is our own bug is raised."""
    for cause in (error, error.__cause__):      # the SDKs wrap what is raised while they read
        if isinstance(cause, Fault):
            return cause
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and hasattr(error, "response"):
        words = said_in(getattr(error, "body", None)) or str(error)
        return fault_of_status(status, f"{_code_of(error)}{words}", error.response.headers)
    names = {cls.__name__ for cls in type(error).__mro__}
    broken = {"APIConnectionError", "APIResponseValidationError", "DecodingError", "TransportError"}
    if names & broken or isinstance(error, TimeoutError | OSError | ValueError):
        unsent = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
        return Fault(type(error).__name__, "retry", str(error) or type(error).__name__,
                     unknown_cost=not unsent)
    raise error


def _code_of(error: Any) -> str:
    """The name of an error that says more than its words, `EnforcedSpendLimitReachedError`."""
    name = type(error).__name__
    return f"{name} " if _MONEY.search(name) else ""


def fault_of_status(status: int, said: str, headers: Any) -> Fault:
    """What follows from a status, of HTTP or inside a reply, and the server's words."""
    fault = _by_status(status, said[:200], headers)
    fault.status = status
    fault.said = said
    return fault


def _by_status(status: int, said: str, headers: Any) -> Fault:
    message = f"{status} {said}"
    is_too_long = status == 413 or (status == 400 and _TOO_LONG.search(said))
    if status < 400:
        return _elsewhere(status, headers)
    if status in (400, 402, 429) and (status == 402 or _MONEY.search(said)):
        return Fault("money", "stop", f"{message}. {_HINTS[402]}")
    if status in (400, 403, 422) and _REFUSAL.search(said):
        return Fault("refusal", "item", f"the service refused: {said}")
    if status in (400, 422) and _TOO_MANY_ASKED.search(said):
        return Fault("max_tokens", "stop", f"{message}. Lower max_tokens in "
                     "configs/api_config.yaml.")
    if is_too_long:
        return Fault("too long", "item", message)
    if status == 429:
        return _come_back("rate limit", headers, message)
    if status in (503, 529):
        return _come_back("overloaded", headers, message)
    if status >= 500 or status in (408, 409):
        return Fault(f"status {status}", "retry", message, unknown_cost=True)
    return Fault(f"status {status}", "stop", f"{message}. {_HINTS.get(status, '')}".strip())


def _elsewhere(status: int, headers: Any) -> Fault:
    """A redirect, which would take texts and key to another address, or a status without sense."""
    try:
        host = urlsplit(headers.get("location") or "").hostname
    except ValueError:
        host = None
    if host is None:
        return broken_reply(f"the server answered with status {status}, which is no reply")
    return Fault("redirect", "stop", f"the server points to {host} (status {status}). If that is "
                 "right, make it the base URL.")


def refused_words(error: Exception) -> str:
    """A server's words where they may refuse a parameter of the request, else ""."""
    try:
        fault = classify(error)
    except Exception:       # a bug of ours, which is raised where it is looked at
        return ""
    is_about_request = fault.status in (400, 404, 422, 500, 501) and fault.action in (
        "stop", "retry") and fault.kind != "money"
    return fault.said[:2000] if is_about_request else ""


def said_in(body: Any) -> str:
    """The words of an error's body, in the shapes of OpenAI, Anthropic, vLLM and FastAPI."""
    inner = body.get("error", body) if isinstance(body, dict) else body
    if not isinstance(inner, dict):
        return str(inner or "")
    details = inner.get("details")
    metadata = inner.get("metadata")
    words = [inner.get(name) for name in ("type", "code", "message", "param")]
    words += [details.get("error_code") if isinstance(details, dict) else None,
              metadata.get("raw") if isinstance(metadata, dict) else None, *_places(inner)]
    return " ".join(str(word) for word in words if word)


def _places(inner: dict[str, Any]) -> list[str]:
    """FastAPI's list of what is wrong where, without the values, which are our own texts."""
    found = inner.get("detail")
    if not isinstance(found, list):
        return [str(found)] if found else []
    return [f"{'.'.join(map(str, row.get('loc', ())))}: {row.get('msg', '')}"
            for row in found if isinstance(row, dict) and isinstance(row.get("loc", ()), list)]


def _come_back(kind: str, headers: Any, message: str) -> Fault:
    """The service is there and asks to be asked later."""
    wait_s = retry_after(headers)
    if kind == "rate limit" and headers.get("x-should-retry") == "false":
        return Fault(kind, "stop", f"{message}. The server asks not to try again.")
    if wait_s is not None and wait_s > LONGEST_WAIT_S:
        at = datetime.now(UTC) + timedelta(seconds=min(wait_s, 10**9))
        return Fault(kind, "stop", f"{message}. The server asks to wait "
                     f"{wait_s:.0f} s: run again after {at:%Y-%m-%d %H:%M} UTC.")
    return Fault(kind, "pause", message, wait_s=wait_s)


def retry_after(headers: Any) -> float | None:
    """Seconds that a reply asks to wait, None where it does not say or says no real time.

    A date is compared with the reply's own `date`, so a wrong clock here does not matter.
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers.get(name)) / unit
        except (TypeError, ValueError):
            continue
        return seconds if math.isfinite(seconds) and seconds > 0 else None
    try:
        until = parsedate_to_datetime(headers["retry-after"])
        now = parsedate_to_datetime(headers["date"]) if "date" in headers else datetime.now(UTC)
        return max(0.0, (until - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None
