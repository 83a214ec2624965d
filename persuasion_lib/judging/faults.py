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

Action = Literal["retry", "reread", "pause", "item", "stop"]
LONGEST_WAIT_S = 120.0

_MONEY = re.compile(r"spend.?limit|insufficient_quota|credit balance|usage limits?|billing", re.I)
_TOO_LONG = re.compile(r"too (?:long|large)|context.?(?:length|window)|maximum.{0,20}tokens", re.I)
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


def broken_reply(message: str) -> Fault:
    """A reply came that is none; whether it is paid for is not known."""
    return Fault("broken reply", "retry", message, unknown_cost=True)


def scrub(text: str) -> str:
    """A message without anything that looks like an API key, one line, at most 300 characters."""
    text = re.sub(r"\b(?:sk-|Bearer\s+)[\w\-.]{6,}", "[key]", text)
    return " ".join(text.split())[:300]


def classify(error: BaseException) -> Fault:
    """The fault behind an exception of either SDK; an exception that is our own bug is raised."""
    if isinstance(error, Fault):
        return error
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and hasattr(error, "response") and status >= 400:
        return _http_fault(error, status)
    names = {cls.__name__ for cls in type(error).__mro__}
    broken = {"APIConnectionError", "APIResponseValidationError", "DecodingError", "TransportError"}
    if names & broken or isinstance(error, TimeoutError | OSError | ValueError):
        unsent = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
        return Fault(type(error).__name__, "retry", str(error) or type(error).__name__,
                     unknown_cost=not unsent)
    raise error


def _http_fault(error: Any, status: int) -> Fault:
    headers = error.response.headers
    said = _said(error)
    message = f"{status} {said}"
    speaks_of_money = status == 402 or _MONEY.search(f"{type(error).__name__} {said}")
    is_too_long = status == 413 or (status == 400 and _TOO_LONG.search(said))
    if status in (400, 402, 429) and speaks_of_money:
        return Fault("money", "stop", f"{message}. {_HINTS[402]}")
    if is_too_long:
        return Fault("too long", "item", message)
    if status == 429:
        return _come_back("rate limit", headers, message)
    if status in (503, 529):
        return _come_back("overloaded", headers, message)
    if status >= 500 or status in (408, 409):
        return Fault(f"status {status}", "retry", message, unknown_cost=True)
    return Fault(f"status {status}", "stop", f"{message}. {_HINTS.get(status, '')}".strip())


def _said(error: Any) -> str:
    body = error.body if isinstance(getattr(error, "body", None), dict) else {}
    inner = body.get("error", body)
    if not isinstance(inner, dict):
        return str(inner)[:200]
    words = (inner.get("type"), inner.get("code"), inner.get("message"))
    details = inner.get("details")
    code = details.get("error_code") if isinstance(details, dict) else None
    return " ".join(str(w) for w in (*words, code) if w)[:200] or str(error)[:200]


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
