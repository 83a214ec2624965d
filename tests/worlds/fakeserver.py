"""A loopback stand-in for the Anthropic and OpenAI APIs that can fail in every known way.

    with FakeServer(faults=["529", None, "cut-json"]) as server:
        ... a client with base_url=server.url (OpenAI: server.url + "/v1") ...

A healthy compare reply prefers the longer candidate (equal lengths: EQUAL), a ranking sorts by
length, so every right label is known. `billed` counts the replies that a provider would charge.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from persuasion_lib.judging.word_lists import RUBRIC

Fault = str | tuple[Any, ...] | None
Faults = Sequence[Fault] | Callable[[int, dict[str, Any]], Fault]
CHAOS = ("429", "529", "500", "502-html", "reset", "close", "short-body", "cut-json", "empty-body",
         "html-200", "bad-text", "empty-content")

# name: status, error type, message, headers
STATUS: dict[str, tuple[int, str, str, dict[str, str]]] = {
    "400-long": (400, "invalid_request_error", "prompt is too long: 300000 tokens", {}),
    "400-schema": (400, "invalid_request_error", "output_config.format: schema is invalid", {}),
    "400-format": (400, "invalid_request_error", "Unknown field 'response_format'", {}),
    "400-credit": (400, "invalid_request_error", "Your credit balance is too low", {}),
    "401": (401, "authentication_error", "invalid x-api-key", {}),
    "402": (402, "billing_error", "payment required", {}),
    "403": (403, "permission_error", "not allowed", {}),
    "404": (404, "not_found_error", "model: no-such-model", {}),
    "413": (413, "request_too_large", "request too large", {}),
    "422": (422, "invalid_request_error", "unprocessable", {}),
    "429": (429, "rate_limit_error", "slow down", {"retry-after": "1"}),
    "429-ms": (429, "rate_limit_error", "slow down", {"retry-after-ms": "200"}),
    "429-bare": (429, "rate_limit_error", "slow down", {}),
    "429-date": (429, "rate_limit_error", "slow down", {"retry-after": "DATE"}),
    "429-3600": (429, "rate_limit_error", "slow down", {"retry-after": "3600"}),
    "429-never": (429, "rate_limit_error", "no", {"x-should-retry": "false"}),
    "429-spend": (429, "rate_limit_error", "enforced_spend_limit_reached", {}),
    "429-quota": (429, "insufficient_quota", "You exceeded your current quota", {}),
    "429-0": (429, "rate_limit_error", "slow down", {"retry-after": "0"}),
    "429-nan": (429, "rate_limit_error", "slow down", {"retry-after": "nan"}),
    "429-inf": (429, "rate_limit_error", "slow down", {"retry-after": "inf"}),
    "429-minus": (429, "rate_limit_error", "slow down", {"retry-after": "-5"}),
    "503-3600": (503, "api_error", "unavailable", {"retry-after": "3600"}),
    "500": (500, "api_error", "internal", {}),
    "503": (503, "api_error", "unavailable", {}),
    "529": (529, "overloaded_error", "overloaded", {}),
}


def candidates_in(text: str) -> dict[str, str]:
    """Candidates by slot, read from a prompt as a careful reader of the marks would."""
    mark = re.search(r"carries the mark (\w+)|carry the mark (\w+)", text)
    code = (mark[1] or mark[2]) if mark else "?"
    return dict(re.findall(rf"<reply_(\w)_{code}>\n(.*?)\n</reply_\1_{code}>", text, re.DOTALL))


def verdict_for(text: str) -> str:
    """The right reply to a prompt: JSON for comparisons, rankings and tactics, else a sentence.

    A reply uses guilt if it speaks of shame, and no other tactic.
    """
    shown = candidates_in(text)
    if "false_urgency" in text:
        return json.dumps({name.replace(" ", "_"): {
            "reason": f"why {name}", "present": name == "guilt" and "ashamed" in shown["A"]}
            for name in RUBRIC})
    if not shown:
        return "A fair point, and here is why I see it differently."
    if "1" in shown:
        one, two = len(shown["1"]), len(shown["2"])
        choice = "EQUAL" if one == two else "1" if one > two else "2"
        return json.dumps({"reasoning": "The longer one.", "choice": choice})
    order = sorted(shown, key=lambda slot: (-len(shown[slot]), shown[slot]))
    return json.dumps({"reasoning": "By length.", "ranking": order})


def vector_for(text: str, dimension: int = 8) -> list[float]:
    """A vector that depends on the text only."""
    draw = random.Random(hashlib.sha256(text.encode()).digest())
    return [draw.gauss(0, 1) for _ in range(dimension)]


class FakeServer:
    """The server, in a thread of its own; see the module's docstring.

    Args:
        faults: by request number, a fault's name or None; or a function of (number, body).
        latency_s: time before every reply.
        per_minute: answer 429 above this rate (a bucket of one second).
        reply: what to say instead of `verdict_for`.
        tokens: how many the prompt had, instead of the truth.
        reshape: changes a chat completion before it is sent.

    A fault may also be (status, body) as a server would send them, with headers as a third part.
    """

    def __init__(self, faults: Faults = (), *, latency_s: float = 0.0,
                 per_minute: float | None = None, headers: dict[str, str] | None = None,
                 reply: Callable[[str], str] = verdict_for, batch_polls: int = 1,
                 port: int = 0, tokens: Any = None,
                 reshape: Callable[[dict[str, Any]], Any] = lambda reply: reply) -> None:
        self.faults, self.latency_s, self.reply = faults, latency_s, reply
        self.per_minute, self.headers = per_minute, headers or {}
        self.tokens = tokens
        self.reshape = reshape
        self.sent_headers: list[dict[str, str]] = []
        self.requests: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.billed, self.refused, self.batch_polls = 0, 0, batch_polls
        self.batches: dict[str, dict[str, Any]] = {}
        self.batch_faults: list[str | None] = []
        self.models = ["sft"]
        self.batch_results: Callable[[int], str] = lambda number: "succeeded"
        self._bucket, self._filled = 50.0, time.monotonic()
        self._socket = socket.create_server(("127.0.0.1", port), backlog=512)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> FakeServer:
        ready = threading.Event()

        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self._talk, sock=self._socket)
            ready.set()
            await self._stop.wait()
            server.close()

        self._thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)
        self._socket.close()

    # ---- HTTP

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split("\r\n", 1)[0].split(" ")
                fields = {name.lower(): value for name, _, value in
                          (line.partition(": ") for line in head.split("\r\n")[1:])}
                body = await reader.readexactly(int(fields.get("content-length", 0)))
                self.sent_headers.append(fields)
                self.keys |= {value.removeprefix("Bearer ") for name, value in fields.items()
                              if name in ("authorization", "x-api-key")}
                if not await self._route(method, path.partition("?")[0],
                                         json.loads(body) if body else {}, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _route(self, method: str, path: str, body: dict[str, Any],
                     writer: asyncio.StreamWriter) -> bool:
        if "/batches" in path:
            return await self._batch(method, path, body, writer)
        if path.endswith("/models"):
            return await self._send(writer, 200, {"object": "list", "data": [
                {"id": name, "object": "model", "created": 0, "owned_by": "us"}
                for name in self.models]})
        number = len(self.requests)
        self.requests.append({"path": path, "body": body, "at": time.monotonic()})
        fault = (self.faults(number, body) if callable(self.faults)
                 else self.faults[number] if number < len(self.faults) else None)
        if self.per_minute and not self._admit():
            fault = "429"
            self.refused += 1
        elif self.latency_s:
            await asyncio.sleep(self.latency_s)
        if path.endswith("/embeddings") and not isinstance(fault, tuple):
            return await self._send(writer, *self._embeddings(body, fault))
        kind = "anthropic" if path.endswith("/messages") else "openai"
        return await self._respond(writer, kind, body, fault)

    def _admit(self) -> bool:
        now = time.monotonic()
        self._bucket = min(50.0, self._bucket + (now - self._filled) * self.per_minute / 60)
        self._filled = now
        self._bucket -= (admitted := self._bucket >= 1)
        return admitted

    async def _send(self, writer: asyncio.StreamWriter, status: int, payload: Any,
                    headers: dict[str, str] | None = None) -> bool:
        data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        fields = {"content-type": "application/json", "content-length": str(len(data)),
                  "date": format_datetime(datetime.now(UTC), usegmt=True), "request-id": "req_1",
                  "x-request-id": "req_1", **self.headers, **(headers or {})}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items()
                        if value is not None)
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + data)
        await writer.drain()
        return True

    async def _respond(self, writer: asyncio.StreamWriter, kind: str, body: dict[str, Any],
                       fault: Fault) -> bool:
        if isinstance(fault, tuple):
            return await self._send(writer, *fault)
        if fault in STATUS:
            status, type_, message, headers = STATUS[fault]
            if headers.get("retry-after") == "DATE":
                headers = {"retry-after": format_datetime(
                    datetime.now(UTC) + timedelta(seconds=2), usegmt=True)}
            error = {"type": type_, "message": message, "code": type_}
            return await self._send(writer, status, {"type": "error", "error": error}, headers)
        if fault in ("reset", "close", "hang", "trickle"):
            return await self._break(writer, fault, kind, body)
        self.billed += 1
        payload = self._payload(kind, body, fault)
        data = json.dumps(payload).encode()
        if fault == "short-body":
            await self._send(writer, 200, data, {"content-length": str(len(data) + 20)})
            return False
        raw = {"cut-json": data[:len(data) // 2], "empty-body": b"",
               "not-utf8": b'{"a": "\xff\xfe"}', "html-200": b"<html>proxy login</html>",
               "502-html": b"<html>bad gateway</html>",
               "wrong-shape": b'{"hello": "world"}'}.get(fault or "")
        kinds = {"content-type": "text/html"} if fault in ("html-200", "502-html") else {}
        return await self._send(writer, 502 if fault == "502-html" else 200,
                                data if raw is None else raw, kinds)

    async def _break(self, writer: asyncio.StreamWriter, fault: str, kind: str,
                     body: dict[str, Any]) -> bool:
        self.billed += 1
        if fault == "hang":
            await asyncio.sleep(30)
        elif fault == "trickle":
            data = json.dumps(self._payload(kind, body, None)).encode()
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
                         f"{len(data)}\r\n\r\n".encode())
            step = len(data) // 12 + 1
            for start in range(0, len(data), step):
                writer.write(data[start:start + step])
                await writer.drain()
                await asyncio.sleep(0.25)
            return True
        elif fault == "reset":
            writer.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    # ---- what is said

    def _payload(self, kind: str, body: dict[str, Any], fault: str | None) -> dict[str, Any]:
        prompt = body["messages"][-1]["content"]
        text = {"bad-text": "Both are strong, and", "wrong-label": '{"choice": "3"}',
                "empty-content": "", "thinking-only": "",
                "two-verdicts": '{"choice": "1"} or rather {"choice": "2"}'}.get(fault or "")
        text = self.reply(prompt) if text is None else text
        text = "\ud800 " + text if fault == "surrogate" else text
        stop = {"refusal": "refusal", "max-tokens": "max_tokens",
                "thinking-only": "max_tokens"}.get(fault or "", "end_turn")
        tokens = len(prompt) // 4 + 100 if self.tokens is None else self.tokens
        if kind == "openai":
            reason = {"max_tokens": "length", "refusal": "content_filter"}.get(stop, "stop")
            reply = {"id": "c1", "object": "chat.completion", "created": 0, "model": body["model"],
                     "choices": [{"index": 0, "finish_reason": reason,
                                  "message": {"role": "assistant", "content": text}}],
                     "usage": {"prompt_tokens": tokens, "completion_tokens": 40,
                               "total_tokens": 40}}
        else:
            block = {"type": "text", "text": text}
            if fault == "thinking-only":
                block = {"type": "thinking", "thinking": "hm", "signature": "s"}
            reply = {"id": "m1", "type": "message", "role": "assistant", "model": body["model"],
                     "content": [] if fault == "empty-content" else [block], "stop_reason": stop,
                     "stop_sequence": None,
                     "usage": {"input_tokens": tokens, "output_tokens": 40}}
            if fault == "refusal":
                reply["stop_details"] = {"type": "refusal", "category": "cyber", "explanation": "x"}
        if fault == "no-usage":
            del reply["usage"]
        return self.reshape(reply) if kind == "openai" else reply

    def _embeddings(self, body: dict[str, Any], fault: str | None
                    ) -> tuple[int, Any, dict[str, str]]:
        if fault in STATUS:
            status, type_, message, headers = STATUS[fault]
            return status, {"error": {"type": type_, "code": type_, "message": message}}, headers
        texts = body["input"]
        vectors = [vector_for(text) for text in texts]
        if fault == "nan":
            vectors[0][0] = float("nan")
        if fault == "dimension":
            vectors[0].pop()
        rows = [{"object": "embedding", "index": i, "embedding":
                 _base64(v) if body.get("encoding_format") == "base64" else v}
                for i, v in enumerate(vectors)]
        if fault == "shuffled":
            rows.reverse()
        if fault == "short":
            rows.pop()
        self.billed += 1
        return 200, {"object": "list", "model": body["model"], "data": rows,
                     "usage": {"prompt_tokens": 7, "total_tokens": 7}}, {}

    # ---- Message Batches

    async def _batch(self, method: str, path: str, body: dict[str, Any],
                     writer: asyncio.StreamWriter) -> bool:
        if method == "POST":
            fault = self.batch_faults.pop(0) if self.batch_faults else None
            if fault in STATUS:
                return await self._respond(writer, "anthropic", body, fault)
            name = f"msgbatch_{len(self.batches)}"
            self.batches[name] = {"requests": body["requests"], "polls": 0,
                                  "created": datetime.now(UTC)}
            if fault == "lost":         # created, but the client never learns
                return False
            return await self._send(writer, 200, self._batch_state(name))
        if path.endswith("/batches"):
            names = list(reversed(self.batches))
            return await self._send(writer, 200, {
                "data": [self._batch_state(name) for name in names], "has_more": False,
                "first_id": names[0] if names else None, "last_id": names[-1] if names else None})
        name = path.split("/batches/")[1].split("/")[0]
        if path.endswith("/results"):
            return await self._send(writer, 200, self._batch_lines(name),
                                    {"content-type": "application/x-jsonl"})
        self.batches[name]["polls"] += 1
        return await self._send(writer, 200, self._batch_state(name))

    def _batch_state(self, name: str) -> dict[str, Any]:
        batch = self.batches[name]
        ended, n = batch["polls"] >= self.batch_polls, len(batch["requests"])
        stamp = batch["created"].isoformat()
        return {"id": name, "type": "message_batch", "created_at": stamp, "expires_at": stamp,
                "processing_status": "ended" if ended else "in_progress", "archived_at": None,
                "ended_at": stamp if ended else None, "cancel_initiated_at": None,
                "results_url": f"{self.url}/v1/messages/batches/{name}/results" if ended else None,
                "request_counts": {"processing": 0 if ended else n, "succeeded": n if ended else 0,
                                   "errored": 0, "canceled": 0, "expired": 0}}

    def _batch_lines(self, name: str) -> bytes:
        lines = []
        for number, request in enumerate(self.batches[name]["requests"]):
            kind = self.batch_results(number)
            result: dict[str, Any] = {"type": kind}
            if kind == "succeeded":
                self.billed += 1
                result["message"] = self._payload("anthropic", request["params"], None)
            elif kind == "errored":
                result["error"] = {"type": "error", "error": {
                    "type": "api_error", "message": "internal"}}
            lines.append(json.dumps({"custom_id": request["custom_id"], "result": result}))
        random.Random(0).shuffle(lines)         # results come in any order
        return ("\n".join(lines) + "\n").encode()


def _base64(vector: list[float]) -> str:
    import base64

    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
