"""05b in a real JupyterLab: six final replies ranked by keys, resumed, and blind on every wire."""

from __future__ import annotations

import json

import pytest

from persuasion_lib.core.rankings import parse_comparison
from worlds.synthetic_evaluation import make_evaluation

pytestmark = pytest.mark.browser
NAMES = ("rlaif", "rlhf", '"sft"', '"base"', '"human"')
BOXES = ("[...document.querySelectorAll('.plab-cards article')].map(card => {"
         "const box = card.getBoundingClientRect();"
         "return [box.width, box.height].map(Math.round)})")


def six_replies(count):
    """An evaluation in which the judge ranked the person's own reply; one model is long-winded."""
    content = make_evaluation(count)
    for row in content["per_example"]:
        row["responses"]["rlaif_rlhf"] += " And so it goes on." * 60
        row["human_response"] = f"What a person wrote to {row['example_id']}."
        for call in row["judgments"]:
            call["ranking"].insert(2, "human")
            call["position_map"]["F"] = "human"
    return content


def test_six_replies_are_ranked_by_keys_in_a_notebook_and_resumed_in_another_kernel(desk):
    desk = desk([], "human_eval.kind=ranking", "human_eval.comparisons=4", final=six_replies(4))
    for before in (0, 2):
        frames = listen(desk.page)
        desk.run_all(f"Done: {before} of 4 planned")
        boxes = set()
        for number in range(2):
            boxes |= set(map(tuple, desk.page.evaluate(BOXES)))
            for key in ("3", "1", "6", "2", "5", "4", "Enter"):
                desk.press(key)
            desk.wait_status(f"{before + number + 1} done")
        assert len(boxes) == 1                          # every card has one size
        shown = desk.page.locator(".plab").inner_html()
        assert not any(name in text for name in NAMES for text in [shown, *frames])
        for kernel in desk.lab.kernels():
            kernel.kill()
        desk.page.close()
        desk.page = desk.open()
    desk._run("Done: 4 of 4 planned")
    rows = [json.loads(line) for line in
            (desk.project / "results/demo/human_comparisons.jsonl").read_text().splitlines()]
    made = [parse_comparison(row) for row in rows]
    assert len(made) == 4
    assert all(sorted(one.ranks.values()) == [1, 2, 3, 4, 5, 6] for one in made)
    assert all(set(one.replies) == {"base", "sft", "rlhf", "rlaif", "rlaif_rlhf", "human"}
               for one in made)
    assert len({max(one.ranks, key=one.ranks.get) for one in made}) > 1     # places are drawn


def listen(page):
    """What the kernel sends to a widget from now on."""
    frames: list[str] = []

    def received(payload):
        text = payload if isinstance(payload, str) else payload.decode("utf-8", "replace")
        if '"comm_' in text:
            frames.append(text)

    page.on("websocket", lambda socket: socket.on("framereceived", received))
    return frames
