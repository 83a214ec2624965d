"""Best and worst replies of every model, chosen by a stated rule."""

import textwrap
from collections.abc import Mapping
from typing import Any

from persuasion_lib.core.records import content_id
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.reporting.evaluation_file import ExampleRow

SHOWN = 3                 # best and worst examples per model
_MOST = 1500              # characters of a prompt
_RULE = (f"Rule: per model the {SHOWN} scored examples with its highest and its lowest judge's "
         "score; equal scores in the order of a hash of the example's id. Extremes are not "
         "typical.")


def qualitative(result: Mapping[str, Any], data: Evaluated) -> str:
    """Best and worst replies per model by score, ties by a hash of the example's id."""
    rows = sorted((row for row in data.rows if any(row.grader_scores.values())),   # all 0: unscored
                  key=lambda row: content_id("qualitative", row.example_id))
    parts = ["QUALITATIVE EXAMPLES", "", textwrap.fill(_RULE, 100)]
    for model in result["models"]:
        own = [row for row in rows if row.grader_scores.get(model) is not None]
        for kind, sign in (("BEST", -1), ("WORST", 1)):
            ordered = sorted(own, key=lambda row, m=model, s=sign: s * row.grader_scores[m])
            for row in ordered[:SHOWN]:
                parts += ["", f"=== {model}: {kind} (score {row.grader_scores[model]:.2f}, "
                              f"example {row.example_id})", *_lines(row, model)]
    return "\n".join(parts) + "\n"


def _lines(row: ExampleRow, model: str) -> list[str]:
    prompt = str(row.prompt)
    if len(prompt) >= _MOST:
        prompt = "… " + prompt[-_MOST:]
    scores = ", ".join(f"{name} {score:.2f}" for name, score in row.grader_scores.items()
                       if score is not None)
    return [f"PROMPT: {prompt}", "", f"REPLY: {row.responses.get(model, '')}", "",
            f"SCORES: {scores}", f"REASON: {row.grader_explanation or ''}"]
