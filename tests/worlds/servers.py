"""The servers of this field as data: what each refuses of a request and in which words.

A row is (parameter, status, body): the parameter's place in the request, "a.b" for b inside a, or
"system" for a first message of that role. A server refuses with its first row that applies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Refusals = list[tuple[str, int, Any]]


def _openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param,
                      "code": code}}


def _vllm(message: str) -> dict[str, Any]:
    return {"object": "error", "message": message, "type": "BadRequestError", "param": None,
            "code": 400}


def _anthropic(message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": "invalid_request_error", "message": message},
            "request_id": "req_1"}


SERVERS: dict[str, Refusals] = {
    "OpenAI, a reasoning model": [
        ("max_tokens", 400, _openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter")),
        ("temperature", 400, _openai(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the "
            "default (1) value is supported.", "temperature", "unsupported_value")),
        ("system", 400, _openai(
            "Unsupported value: 'messages[0].role' does not support 'system' with this model.",
            "messages[0].role", "unsupported_value"))],
    "Azure": [
        ("max_tokens", 400, _openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.", "max_tokens", "unsupported_parameter")),
        ("reasoning_effort", 400, _openai(
            "Unrecognized request argument supplied: reasoning_effort")),
        ("response_format.json_schema", 400, _openai(
            "Invalid parameter: 'response_format' of type 'json_schema' is not supported with "
            "this model.", "response_format"))],
    "OpenRouter": [
        ("response_format", 404, {"error": {"message": "No endpoints found that can handle the "
                                            "requested parameters.", "code": 404}})],
    "OpenRouter, inside a 200": [
        ("response_format.json_schema", 200, {"error": {
            "message": "Provider returned error", "code": 400,
            "metadata": {"raw": "json_schema is not supported by this model"}}})],
    "Groq": [
        ("response_format.json_schema", 400, _openai(
            "This model does not support response format `json_schema`. See supported models at "
            "https://console.groq.com/docs/structured-outputs#supported-models"))],
    "DeepSeek": [
        ("response_format.json_schema", 400, _openai(
            "This response_format type is unavailable now"))],
    "vLLM": [
        ("max_completion_tokens", 400, _vllm(
            "[{'type': 'extra_forbidden', 'loc': ('body', 'max_completion_tokens'), 'msg': "
            "'Extra inputs are not permitted'}]")),
        ("response_format.json_schema", 400, _vllm(
            "[{'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': "
            "\"Input should be 'text' or 'json_object'\"}]")),
        ("system", 400, _vllm("System role not supported"))],
    "llama.cpp": [
        ("response_format.json_schema", 400, {"error": {"code": 400, "type": "invalid_request_error"
         , "message": 'response_format type must be one of "text" and "json_object", but got: '
         'json_schema'}}),
        ("system", 500, {"error": {"code": 500, "type": "server_error", "message":
         "Jinja Exception: System role not supported at row 1, column 1"}})],
    "LM Studio": [
        ("response_format.json_schema", 400, {"error": "json_schema is not supported for this "
                                              "engine"}),
        ("response_format", 400, {"error": "'response_format.type' must be 'json_schema' or "
                                  "'text'"})],
    "Ollama": [],
    "transformers serve": [
        ("response_format", 422, {"detail": "Unexpected fields in the request: "
                                  "{'response_format'}"})],
    "FastAPI": [
        ("seed", 422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"],
                                   "msg": "Extra inputs are not permitted", "input": 0}]})],
    "Mistral's template": [
        ("system", 400, _vllm("Only user and assistant roles are supported!"))],
    "LiteLLM": [
        ("seed", 400, _openai("litellm.UnsupportedParamsError: bedrock does not support "
                              "parameters: ['seed'], for model=claude")),
        ("max_tokens", 400, _openai("unknown parameter: max_tokens. Did you mean "
                                    "max_completion_tokens?"))]}
CLAUDES: dict[str, Refusals] = {
    "claude-haiku-4-5": [
        ("output_config.effort", 400, _anthropic(
            "This model does not support the effort parameter."))],
    "an older Claude": [
        ("output_config.effort", 400, _anthropic(
            "output_config.effort: Extra inputs are not permitted")),
        ("output_config.format", 400, _anthropic(
            "output_config.format: structured outputs are not supported for this model"))]}


def _has(body: dict[str, Any], parameter: str) -> bool:
    if parameter == "system":
        return body["messages"][0]["role"] == "system"
    value: Any = body
    for name in parameter.split("."):
        if not isinstance(value, dict) or name not in value:
            return False
        value = value[name]
    return True


def refusing(refusals: Refusals) -> Callable[[int, dict[str, Any]], Any]:
    """The `faults` of a loopback server that refuses like this."""
    def fault(_: int, body: dict[str, Any]) -> tuple[int, Any] | None:
        return next(((status, said) for parameter, status, said in refusals
                     if _has(body, parameter)), None)

    return fault


def choice(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A chat completion whose one choice has other fields; `message` is merged."""
    def change(reply: dict[str, Any]) -> dict[str, Any]:
        first = reply["choices"][0]
        message = {**first["message"], **fields.get("message", {})}
        return reply | {"choices": [first | fields | {"message": message}]}

    return change


# The same answer in another place, as servers with reasoning models or parts send it.
RIGHT = '{"reasoning": "longer", "choice": "1"}'
ANSWERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "content as parts": choice(message={"content": [{"type": "text", "text": RIGHT}]}),
    "parts with a thought": choice(message={"content": [
        {"type": "reasoning", "text": "Choice: 2"}, {"type": "text", "text": RIGHT}]}),
    "reasoning beside it": choice(message={"content": RIGHT, "reasoning": "Choice: 2"}),
    "reasoning_content": choice(message={"content": RIGHT, "reasoning_content": '{"choice": "2"}'}),
    "a draft in <think>": choice(message={
        "content": '<think>{"choice": "2"} or so</think>' + RIGHT}),
    "a lone </think>": choice(message={"content": 'hm, {"choice": "2"}?\n</think>\n' + RIGHT}),
    "[THINK]": choice(message={"content": "[THINK]Choice: 2[/THINK]" + RIGHT}),
    "text of a quoted tag": choice(message={
        "content": '{"reasoning": "It says </think>, so what", "choice": "1"}'}),
    "an unknown finish": choice(message={"content": RIGHT}, finish_reason="eos_token"),
    "no finish": choice(message={"content": RIGHT}, finish_reason=None)}
# Usage that no budget can be kept with; the answer stays good.
USAGES: dict[str, Any] = {
    "none": None, "a list": [1, 2], "text": "many", "numbers as text": {
        "prompt_tokens": "120", "completion_tokens": "40"},
    "true": {"prompt_tokens": True, "completion_tokens": True},
    "nothing": {}, "nulls": {"prompt_tokens": None, "completion_tokens": None},
    "zero": {"prompt_tokens": 0, "completion_tokens": 0},
    "huge": {"prompt_tokens": 10**30, "completion_tokens": 1},
    "negative": {"prompt_tokens": -5, "completion_tokens": -5},
    "objects": {"prompt_tokens": {}, "completion_tokens": []}}
# What is no reply at all, in a 200.
BROKEN: dict[str, Any] = {
    "choices is text": {"choices": "x"}, "choices is empty": {"choices": []},
    "choices is null": {"choices": None}, "choices is an object": {"choices": {"0": 1}},
    "a choice is null": {"choices": [None]}, "a choice is text": {"choices": ["x"]},
    "no message": {"choices": [{}]}, "message is text": {"choices": [{"message": "x"}]},
    "message is a list": {"choices": [{"message": [1]}]}, "a list": [1, 2], "text": "hello",
    "null": None, "a number": 7, "deep": "[" * 100_000,
    "an error": {"error": {"message": "upstream went away", "code": 502}},
    "an error as text": {"error": "model is loading"},
    "an error in the choice": {"choices": [{"error": {"code": 502, "message": "x"},
                                            "message": {"content": ""}}]},
    "finish error": {"choices": [{"finish_reason": "error", "message": {"content": "Choi"}}]},
    "a long number": b'{"choices": ' + b"9" * 5000 + b"}"}
