"""The files of a finished experiment in the demo world, made in seconds from its truth, untrained.

Texts are the demo corpus's own, models differ by how much `care` their replies take, labels are
those of the stand-ins, and a session of the labelling widget has seconds that fit its texts.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from persuasion_lib.core.config import load_config
from persuasion_lib.core.pipeline import STAGES
from persuasion_lib.core.records import (
    CODE_OF_LABEL,
    SLOT_OF_CODE,
    Example,
    LabeledPair,
    Pair,
    content_id,
    example_row,
    labeled_row,
    pair_row,
    render_text,
    unswap,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.core.store import write_json, write_jsonl
from persuasion_lib.demo.corpus import best_reply, make_conversations, make_reply, topic_of
from persuasion_lib.demo.standins import OfflineJudge, SimulatedAnnotator, embed
from persuasion_lib.labeling.items import showings
from persuasion_lib.labeling.session import Session
from persuasion_lib.validate import split_labels
from worlds.scratch import ROOT

CARE = {"base": 0.0, "sft": 0.35, "rlhf": 0.55, "rlaif": 0.7, "rlaif_rlhf": 0.95}
ORDERS = {"12": (0, 1), "21": (1, 0)}


def write_world(folder: Path, *, seed: int = 0, ai: int = 240, human: int = 100,
                tests: int = 60) -> Path:
    """Write every file that `persuasion audit` knows; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = _examples(ai + human + tests + 200, seed)
    judge = OfflineJudge(seed=seed)
    pools = {"ai": _pairs(prompts[:ai], seed), "human": _pairs(prompts[ai:ai + human], seed)}
    for name, pairs in pools.items():
        write_jsonl(folder / f"{name}_pool_responses.jsonl", map(pair_row, pairs))
    labels, log = _judged(pools["ai"], judge)
    write_jsonl(folder / "ai_pool_labeled.jsonl", map(labeled_row, labels))
    write_jsonl(folder / "ai_judgments.jsonl", log)
    write_jsonl(folder / "human_pool_judged.jsonl", map(labeled_row, _judged(
        pools["human"], judge)[0]))
    person, events = _labelled(pools["human"], seed)
    write_jsonl(folder / "human_pool_labeled.jsonl", map(labeled_row, person))
    write_jsonl(folder / "human_events.me.jsonl", events)
    _write_splits(folder, {"rlaif": labels, "rlhf": person}, seed)
    rest = prompts[ai + human:]
    write_jsonl(folder / "final_eval_reserved.jsonl", map(example_row, rest[:tests]))
    write_jsonl(folder / "sft_train.jsonl", map(example_row, rest[tests:]))
    write_json(folder / "final_evaluation.json", _evaluation(rest[:tests], judge, seed))
    write_json(folder / "training_log.json", {"history": [
        {"step": 0, "eval_loss": math.log(2), "eval_rewards/chosen": 0.0},
        {"step": 10, "loss": 0.6, "rewards/chosen": 0.2}]})
    return folder


def _examples(count: int, seed: int) -> list[Example]:
    """One prompt a conversation, no prompt twice, with the reply that a person wrote."""
    found = {}
    for conversation in make_conversations(n=2 * count, seed=seed):
        prompt = [{"role": "user", "content": conversation.turns[0].text}]
        found.setdefault(prompt[0]["content"], Example(
            conversation.conversation_id, prompt, conversation.turns[1].text,
            {"conversation_id": conversation.conversation_id}))
    return list(found.values())[:count]


def _reply(example: Example, care: float, name: object) -> str:
    rng = random.Random(content_id(example.example_id, str(name)))
    topic = topic_of(example.prompt[0]["content"])
    ground = next(g for g in topic.grounds if g in example.prompt[0]["content"])
    return make_reply(topic, ground, rng, care=care)


def _pairs(examples: list[Example], seed: int) -> list[Pair]:
    pairs = []
    for example in examples:
        replies = [_reply(example, CARE["sft"], f"{seed}/{slot}") for slot in (1, 2)]
        if replies[0] == replies[1]:
            replies[1] = _reply(example, CARE["sft"], f"{seed}/3")
        pairs.append(Pair(content_id(example.prompt, *replies), example.prompt, *replies, {
            "conversation_id": example.conversation_id, "finish": ["stop", "stop"]}))
    return pairs


def _judged(pairs: list[Pair], judge: OfflineJudge) -> tuple[list[LabeledPair], list[dict]]:
    """Labels in both orders as notebook 01 concludes them, and the log."""
    labels, log = [], []
    for pair in pairs:
        verdicts, keys = {}, []
        for shown, order in ORDERS.items():
            texts = [(pair.response_a, pair.response_b)[slot] for slot in order]
            code, why = judge.compare(render_text(pair.prompt), *texts)
            verdicts[shown] = code
            keys.append(content_id(pair.pair_id, shown))
            log.append({"key": keys[-1], "id": pair.pair_id, "task": "compare",
                        "order": list(order), "verdict": {"choice": code, "reasoning": why},
                        "reply": json.dumps({"reasoning": why, "choice": code}),
                        "model": "judge-1", "request_id": f"req_{keys[-1]}"})
        said = {unswap(SLOT_OF_CODE[code], swapped=shown == "21")
                for shown, code in verdicts.items()}
        extra = {"verdicts": verdicts, "judgments": keys, "judge_model": "judge-1",
                 "flip": len(said) > 1}
        labels.append(LabeledPair(replace(pair, metadata={**pair.metadata, **extra}),
                                  said.pop() if len(said) == 1 else "tie", "offline/stand-in"))
    return labels, log


def _labelled(pairs: list[Pair], seed: int) -> tuple[list[LabeledPair], list[dict[str, Any]]]:
    """A session of the widget, answered by the simulated annotator at 250 words a minute."""
    annotator, events, clock = SimulatedAnnotator(seed), [], [datetime(2026, 1, 1, tzinfo=UTC)]
    session = Session(showings(pairs, seed=seed, annotator="me", repeat_fraction=0.4, checks=3), [],
                      events.append, annotator="me", guidelines="", now=lambda: clock[0])
    while (item := session.current) is not None:
        seconds = len(" ".join(item.shown).split()) / 250 * 60
        clock[0] += timedelta(seconds=seconds)
        label = "a" if item.kind == "check" else annotator.label(
            item.pair.prompt, item.pair.response_a, item.pair.response_b,
            sample=1 if item.kind == "repeat" else 0)
        session.choose(session.token(item), item.choice_for(label), seconds)
    again = {item.pair.pair_id: event["preferred"] for item, event in session.chosen("repeat")}
    labels = [LabeledPair(replace(item.pair, metadata={
        **item.pair.metadata, "seconds": event["seconds"], "shown_swapped": event["swapped"]}),
        event["preferred"], "human", again=again.get(item.key))
        for item, event in session.chosen("pair")]
    return labels, events


def _write_splits(folder: Path, labels: dict[str, list[LabeledPair]], seed: int) -> None:
    run = StageRun(STAGES["validate"], load_config("demo", [f"seed={seed}"], root=ROOT), {})
    for model, pairs in labels.items():
        for side, part in zip(("train", "val"), split_labels(run, pairs), strict=True):
            write_jsonl(folder / f"{model}_{side}.jsonl", map(labeled_row, part))


def _evaluation(examples: list[Example], judge: OfflineJudge, seed: int) -> dict[str, Any]:
    rows = [_ranked(example, judge, number) for number, example in enumerate(examples)]
    controls = []
    for row, example in list(zip(rows, examples, strict=True))[:20]:
        for a, b in (("rlaif_rlhf", "rlhf"), ("rlaif_rlhf", "rlaif_rlhf")):
            pair = Pair("control", example.prompt, row["responses"][a], row["responses"][b])
            label = _judged([pair], judge)[0][0].label
            controls.append({"example_id": row["example_id"], "a": a, "b": b,
                             "label": CODE_OF_LABEL[label]})
    return {"config": {"profile": "demo", "seed": seed, "judge": "offline", "orders": 2,
                       "planned_examples": len(rows)},
            "per_example": rows, "controls": controls,
            "summary": {"num_examples": len(rows), "models_evaluated": list(CARE)}}


def _ranked(example: Example, judge: OfflineJudge, number: int) -> dict[str, Any]:
    replies = {model: _reply(example, care, model) for model, care in CARE.items()}
    models = random.Random(number).sample(list(CARE), len(CARE))
    calls = []
    for shown in (models, models[2:] + models[:2]):
        order, why = judge.rank(render_text(example.prompt), [replies[m] for m in shown])
        calls.append({"ranking": [shown[slot] for slot in order], "explanation": why, "error": "",
                      "position_map": dict(zip("ABCDE", shown, strict=True))})
    scores = {m: sum(4 - call["ranking"].index(m) for call in calls) / 8 for m in models}
    oracle = best_reply(topic_of(example.prompt[0]["content"]), example.prompt[0]["content"])
    vectors = embed([oracle, *replies.values()])
    near = (vectors[1:] @ vectors[0]).tolist()
    return {"example_id": example.example_id, "prompt": render_text(example.prompt),
            "messages": example.prompt, "responses": replies,
            "finish": dict.fromkeys(CARE, "stop"), "oracle": oracle, "grader_scores": scores,
            "grader_ranking": sorted(scores, key=lambda m: -scores[m]), "judgments": calls,
            "position_map": calls[0]["position_map"],
            "similarity_scores": dict(zip(replies, near, strict=True))}
