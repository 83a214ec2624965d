"""Connections to a service, for all calls of the product: what both SDKs would leave open is shut.

    redirects   are not followed: neither texts nor key go where a server points to
    headers     of the environment (organization, custom ones) go to the provider itself alone
    proxies     of the environment are taken, but never for this machine
    bodies      end at `LARGEST_BODY` bytes, counted after decompression, and at a deadline
    the key     is cut out of whatever a server sends back, so that it can get into no file
"""

import importlib
import re
import time
from dataclasses import dataclass
from typing import Any

from persuasion_lib.core.keys import NO_KEY, Provider, is_at_home, is_on_this_machine
from persuasion_lib.judging.faults import Fault, broken_reply

LARGEST_BODY = 32 * 2**20       # bytes; 256 long embeddings as text are 16 MB
LARGEST_RESULTS = 512 * 2**20   # of a batch: 10,000 replies with all their thinking
SHORTEST_SECRET = 8             # characters; a shorter "key" is a word that a reply may use
# What a client needs to say elsewhere than at home.
_PLAIN = re.compile(r"host|accept.*|connection|content-.*|user-agent|authorization|"
                    r"anthropic-(?:version|beta)|x-stainless-.*", re.I)


@dataclass(frozen=True)
class Line:
    """Where calls of one kind go, with which key; `api` is the provider whose API it speaks."""

    api: Provider
    endpoint: str
    key: str
    timeout_s: float
    largest: int = LARGEST_BODY

    def __repr__(self) -> str:
        return f"Line({self.api} at {self.endpoint})"      # without the key

    def client(self, *, blocking: bool = False) -> Any:
        """The SDK's client for this line, without retries of its own."""
        sdk = importlib.import_module(self.api)     # takes a second, so not before it is needed
        kind = {"openai": "OpenAI", "anthropic": "Anthropic"}[self.api]
        prefix = "" if blocking else "Async"
        hooks = self._hooks() if blocking else self._async_hooks()
        # Anthropic's client takes proxies even where the environment is not to be trusted.
        direct = dict.fromkeys(("http://", "https://", "all://"))
        is_here = is_on_this_machine(self.endpoint)
        http = getattr(sdk, f"Default{prefix}HttpxClient")(
            follow_redirects=False, trust_env=not is_here, mounts=direct if is_here else {},
            event_hooks=hooks)
        return getattr(sdk, prefix + kind)(
            api_key=self.key, base_url=self.endpoint, max_retries=0, timeout=self.timeout_s,
            http_client=http)

    def _hooks(self) -> dict[str, list[Any]]:
        def read(response: Any) -> None:
            body = _Body(self, response)
            for part in response.iter_bytes():
                body.add(part)
            body.put()

        return {"request": [self._tidy], "response": [read]}

    def _async_hooks(self) -> dict[str, list[Any]]:
        async def tidy(request: Any) -> None:
            self._tidy(request)

        async def read(response: Any) -> None:
            body = _Body(self, response)
            async for part in response.aiter_bytes():
                body.add(part)
            body.put()

        return {"request": [tidy], "response": [read]}

    def _tidy(self, request: Any) -> None:
        """Leave of a request's headers what may go to its host."""
        if is_at_home(self.api, self.endpoint):
            return
        for name in [name for name in request.headers if not _PLAIN.fullmatch(name)]:
            del request.headers[name]
        request.headers["authorization"] = f"Bearer {self.key}"


class _Body:
    """The body of a reply while it arrives, no larger than its line allows."""

    def __init__(self, line: Line, response: Any) -> None:
        self.line = line
        self.response = response
        self.parts: list[bytes] = []
        self.size = 0
        self.ends_at = time.monotonic() + line.timeout_s
        announced = response.headers.get("content-length", "")
        if announced.isdigit():
            self._check(int(announced[:18]))

    def add(self, part: bytes) -> None:
        self.size += len(part)
        self._check(self.size)
        if time.monotonic() > self.ends_at:
            raise Fault("slow reply", "retry", f"the reply did not end in {self.line.timeout_s:g} "
                        "s. Raise the timeout in configs/api_config.yaml if it is a long one.",
                        unknown_cost=True)
        self.parts.append(part)

    def _check(self, size: int) -> None:
        if size > self.line.largest:
            self.parts.clear()
            raise broken_reply("the reply is larger than "
                               f"{self.line.largest / 2**20:.0f} MiB, which no reply is")

    def put(self) -> None:
        """Give the response its body, without the key wherever the server repeats it."""
        content = b"".join(self.parts)
        key = self.line.key
        if key != NO_KEY and len(key) >= SHORTEST_SECRET:
            content = content.replace(key.encode(), b"[key]")
            for name, value in self.response.headers.items():
                if key in value:
                    self.response.headers[name] = value.replace(key, "[key]")
        # The client would read the body at any size; it reads none that is there already.
        self.response._content = content
