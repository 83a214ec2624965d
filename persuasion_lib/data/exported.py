"""The project's rows as a folder for other tools: trl, Argilla, Label Studio, or the hub."""

import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from persuasion_lib.core.answers import NAME, PERSON, votes_of
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import MissingInput, PersuasionError
from persuasion_lib.core.hub import upload
from persuasion_lib.core.manifest import never_made
from persuasion_lib.core.pipeline import POOLS, STAGES, path_of, read_file
from persuasion_lib.core.records import CODE_OF_LABEL, Example, LabeledPair, Pair, render_text
from persuasion_lib.core.replacing import refuse_other_settings, stages_before
from persuasion_lib.core.store import whole_folder, write_json, write_text
from persuasion_lib.data.exported_card import TEXTS, Part, data_card

Row = dict[str, Any]
SIDES = ("response_1", "response_2")
CHOICES = {"1": SIDES[0], "2": SIDES[1], "EQUAL": "tie"}


def export_data(config: Config, folder: Path, *, to: str = "trl", push: str | None = None) -> Path:
    """Write SFT rows and preferences in a form of FORMS, with a data card.

    Held-out test prompts stay here. `push` is a repository of data sets on the hub.

    Raises:
        MissingInput: a stage has not run, or there is nothing to write.
        StaleInput: the rows were made with other settings than the card would name.
        PersuasionError: the folder is not empty, or the hub refuses it.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise PersuasionError(f"{folder} is not empty. Name a new folder, so that nothing is "
                              "overwritten.")
    last = STAGES["validate"]
    refuse_other_settings(config, "A data card", [*stages_before(config, last), last])
    pools = [_read(config, f"{pool}_labeled") for pool in POOLS] if to in ("trl", "hf") else []
    ties = sum(label.label == "tie" for labels in pools for label in labels)
    with whole_folder(folder) as new:
        parts = FORMS[to](config, new)
        if not parts:
            raise MissingInput("there is nothing to export: your files hold no rows and no "
                               "labels.")
        write_text(new / "README.md", data_card(config, to, parts, ties=ties))
    if push:
        upload(folder, push, kind="dataset")
    return folder


def _read(config: Config, name: str) -> list[Any]:
    """The rows of a file, none where nobody can make it of the user's files."""
    is_there = path_of(config, name).exists()
    return [] if not is_there and never_made(config, name) else read_file(config, name)


def _tables(config: Config, folder: Path, row: Callable[[LabeledPair], Row]) -> list[Part]:
    """A parquet file for every side of a split that has rows."""
    from datasets import Dataset, disable_progress_bars
    disable_progress_bars()
    parts = []
    for name in ("sft_train", "sft_val", "rlaif_train", "rlaif_val", "rlhf_train", "rlhf_val"):
        rows = _read(config, name)
        is_sft = name.startswith("sft")
        made = [sft_row(each) if is_sft else row(each) for each in rows
                if is_sft or each.label != "tie"]
        if made:
            Dataset.from_list(made).to_parquet(folder / f"{name}.parquet")
            parts.append(Part(f"{name}.parquet", len(made), _labelled_by(rows)))
    return parts


def _labelled_by(rows: Sequence[Any]) -> Counter[str]:
    return Counter(row.labeled_by for row in rows if isinstance(row, LabeledPair))


def sft_row(example: Example) -> Row:
    """What trl's SFTTrainer takes, and whose conversation it is."""
    return {"prompt": example.prompt, "completion": _said(example.response),
            "example_id": example.example_id, **_origin(example)}


def trl_row(label: LabeledPair) -> Row:
    """What trl's DPOTrainer takes: prompt, chosen and rejected as messages."""
    return {"prompt": label.pair.prompt, "chosen": _said(label.chosen),
            "rejected": _said(label.rejected), **_about(label)}


def hub_row(label: LabeledPair) -> Row:
    """As most preference sets of the hub: two whole conversations."""
    prompt = label.pair.prompt
    return {"chosen": [*prompt, *_said(label.chosen)],
            "rejected": [*prompt, *_said(label.rejected)], **_about(label)}


def _said(text: str) -> list[Row]:
    return [{"role": "assistant", "content": text}]


def _origin(row: Example | Pair) -> Row:
    return {"conversation_id": row.conversation_id, "source": row.metadata.get("source")}


def _about(label: LabeledPair) -> Row:
    return {"pair_id": label.pair.pair_id, **_origin(label.pair), "grader": label.labeled_by}


def _records(config: Config, folder: Path, record: Callable[[Pair, LabeledPair | None], Row],
             ) -> list[Part]:
    """A JSON file for every pool: with its labels, or to be labelled."""
    parts = []
    for pool in POOLS:
        name = f"{pool}_labeled" if path_of(config, f"{pool}_labeled").exists() else (
            f"{pool}_responses")
        rows = _read(config, name)
        if rows:
            made = [record(row.pair, row) if isinstance(row, LabeledPair) else record(row, None)
                    for row in rows]
            write_json(folder / f"{name}.json", made)
            parts.append(Part(f"{name}.json", len(made), _labelled_by(rows)))
    return parts


def argilla_record(pair: Pair, label: LabeledPair | None) -> Row:
    """A record for `records.from_json`: a person's label is a response, another's a suggestion.

    Of several people each has a response; they are told apart by the answer to `annotator`.
    """
    responses: dict[str, list[Row]] = {}
    suggestions: Row = {}
    if label and _by_person(label):
        for said in _votes(label):
            user = str(uuid.uuid5(uuid.NAMESPACE_DNS, said.get(NAME, PERSON)))
            for question, value in said.items():
                responses.setdefault(question, []).append({"value": value, "user_id": user})
    elif label:
        suggestions = {question: {"value": value, "score": None, "agent": label.labeled_by}
                       for question, value in _said_of(label).items()}
    return {"id": pair.pair_id, "fields": {"prompt": pair.prompt, **_replies(pair)},
            "metadata": _known(pair), "suggestions": suggestions, "responses": responses,
            "vectors": {}}


def _said_of(label: LabeledPair) -> dict[str, str]:
    reason = {"reason": label.reasoning} if label.reasoning.strip() else {}
    return {"preference": CHOICES[CODE_OF_LABEL[label.label]], **reason}


def _votes(label: LabeledPair) -> list[dict[str, str]]:
    """The answers of every person by question: of several people each with their name."""
    return [_said_of(vote) | {NAME: name} for name, vote in votes_of(label).items()] or [
        _said_of(label)]


def _replies(pair: Pair) -> dict[str, str]:
    return dict(zip(SIDES, (pair.response_a, pair.response_b), strict=True))


def _known(pair: Pair) -> Row:
    known = {"pair_id": pair.pair_id, **_origin(pair)}
    return {name: value for name, value in known.items() if value is not None}


def label_studio_task(pair: Pair, label: LabeledPair | None) -> Row:
    """A task to import: a person's label is an annotation, another's a prediction."""
    task = {"data": {"prompt": render_text(pair.prompt), "messages": pair.prompt, **_replies(pair),
                     **_known(pair)}}
    if label is None:
        return task
    if _by_person(label):
        return {**task, "annotations": [{"result": _results(said)} for said in _votes(label)]}
    return {**task, "predictions": [{"model_version": label.labeled_by,
                                     "result": _results(_said_of(label))}]}


def _results(said: Mapping[str, str]) -> list[Row]:
    return [{"from_name": name, "to_name": "prompt",
             "type": "choices" if name == "preference" else "textarea",
             "value": {"choices" if name == "preference" else "text": [value]}}
            for name, value in said.items()]


def _by_person(label: LabeledPair) -> bool:
    """Whether a person labelled it, or several did."""
    return label.labeled_by == PERSON or label.labeled_by.startswith(f"{PERSON} (")


def _to_argilla(config: Config, folder: Path) -> list[Part]:
    write_json(folder / "settings.json", TEXTS["argilla"])
    return _records(config, folder, argilla_record)


def _to_label_studio(config: Config, folder: Path) -> list[Part]:
    write_text(folder / "labeling_config.xml", TEXTS["label_studio"])
    return _records(config, folder, label_studio_task)


FORMS: dict[str, Callable[[Config, Path], list[Part]]] = {
    "trl": lambda config, folder: _tables(config, folder, trl_row),
    "hf": lambda config, folder: _tables(config, folder, hub_row),
    "argilla": _to_argilla, "label-studio": _to_label_studio}
