"""A strong reply to a prompt, as a yardstick."""

from collections.abc import Mapping
from typing import Any

from persuasion_lib.core.errors import JudgeReplyError
from persuasion_lib.demo.standins import OfflineJudge
from persuasion_lib.judging.clients import Judge
from persuasion_lib.judging.questions import Prompts, Question, answer_of


class Oracle(Question):
    """A conversation whose next message is to be written, as plain text."""

    task = "oracle"

    def read(self, reply: str) -> dict[str, str]:
        text = answer_of(reply)
        if not text:
            raise JudgeReplyError("the reply is empty")
        return {"text": text}

    def accepts(self, verdict: Mapping[str, Any]) -> bool:
        return isinstance(verdict.get("text"), str)

    def stand_in(self, judge: OfflineJudge) -> str:
        return judge.reply(self.messages)


def oracle_questions(prompts: Prompts, judge: Judge) -> dict[str, Oracle]:
    """The question per example id."""
    return {example_id: Oracle.compose(example_id, prompt, prompts=judge.prompts)
            for example_id, prompt in prompts.items()}
