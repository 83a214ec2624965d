"""Files that people already have, in the formats of data/README.md, instead of a corpus.

Nothing in them is changed: what the cleaning rules would change is counted and shown, what the
gates find stops notebook 00.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from persuasion_lib.core.brought import (
    LABELLED,
    PARSERS,
    Kind,
    find_brought,
    labels_in_folder,
    missing_at_the_end,
    read_brought,
)
from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import ConfigError, DataError, MissingInput
from persuasion_lib.core.fields import foreign_roles, notes_on_roles
from persuasion_lib.core.pipeline import POOLS
from persuasion_lib.core.records import (
    Conversation,
    Example,
    LabeledPair,
    Pair,
    Turn,
    content_id,
)
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.cleaning import rules_that_fire
from persuasion_lib.data.gates import blank_targets
from persuasion_lib.data.overlap import thread_of
from persuasion_lib.data.splits import SETS, Corpus

EXAMPLES = {"test": "final_eval_reserved.jsonl", "sft_val": "sft_val.jsonl",
            "sft_train": "sft_train.jsonl", **{pool: f"{pool}_prompts.jsonl" for pool in POOLS}}
# What the metadata of a pair says beside its label.
OF_A_PAIR = ("pair_id", "source", "conversation_id", "turn", "shortened", "finish", "tokens",
             "contrast", "server_model")
PAIRS = {pool: f"{pool}_responses.jsonl" for pool in POOLS}


def read_given_files(run: StageRun) -> Corpus:
    """Rows and pairs of the folder `data.path`, as they are; what is not there becomes a warning.

    Raises:
        ConfigError: `data.path` is not set, or holds the folder that the pipeline writes to.
        MissingInput: the folder is not there, or holds none of the files.
        DataError: a row is not in its format (file:line), or a pair stands in a file twice.
    """
    folder = _folder(run.config)
    corpus = Corpus({})
    for name in SETS:
        pairs = find_brought(run.config, PAIRS[name]) if name in PAIRS else None
        labels = labels_in_folder(run.config, name) if name in PAIRS else []
        examples = find_brought(run.config, EXAMPLES[name])
        if pairs:
            corpus.pairs[name] = _read(pairs, "pairs", run)
            _refuse_twins(pairs, corpus.pairs[name])
        elif labels:
            # Several people may have labelled one pair; 02 says where somebody did twice.
            corpus.pairs[name] = list({pair.pair_id: pair for path in labels for pair in map(
                _unlabeled, _read(path, "labels", run))}.values())
        elif examples:
            corpus.examples[name] = _read(examples, "examples", run)
    if not corpus.rows:
        names = ", ".join([*EXAMPLES.values(), *PAIRS.values(), *sum(LABELLED.values(), ())])
        raise MissingInput(f"{folder} holds none of {names}, nor do processed/ and preferences/ "
                           "in it or in its data/. Set data.path to the folder that does.")
    _hold_out(corpus, run.config)
    corpus.conversations = {name: [_as_conversation(row) for row in rows]
                            for name, rows in corpus.rows.items()}
    run.warnings += [*missing_at_the_end(run.config), *_what_is_missing(corpus)]
    return corpus


def _folder(config: Config) -> Path:
    if not config.data.path:
        raise ConfigError("data.source=files needs data.path=<the folder of your files>.")
    folder = config.named_file("data.path").resolve()
    if config.folder("data").resolve().is_relative_to(folder):
        raise ConfigError(f"{folder} is where this project writes its own data. Move your files "
                          "to another folder, for example data/mine, and set data.path to it.")
    if not folder.is_dir():
        raise MissingInput(f"{folder} is no folder. Set data.path to that of your files.")
    return folder


def _read(path: Path, kind: Kind, run: StageRun) -> list[Any]:
    roles: Counter[str] = Counter()

    def counted(row: dict[str, Any]) -> Any:
        parsed = PARSERS[kind](row)
        roles.update(foreign_roles(row))
        return parsed

    rows = read_brought(path, kind, counted)
    if not rows:
        raise DataError(f"{path} is empty. Remove it, or fill it.")
    run.warnings += notes_on_roles(path.name, roles)
    return rows


def _unlabeled(labeled: LabeledPair) -> Pair:
    """The pair of a labelled row, as the responses file would have it, without its label."""
    pair = labeled.pair
    kept = {name: value for name, value in pair.metadata.items() if name in OF_A_PAIR}
    return replace(pair, metadata=kept)


def _refuse_twins(path: Path, pairs: list[Pair]) -> None:
    first: dict[str, int] = {}
    for number, pair in enumerate(pairs, start=1):
        if first.setdefault(pair.pair_id, number) != number:
            raise DataError(f"{path}: rows {first[pair.pair_id]} and {number} are the same pair "
                            f"({pair.pair_id}); it would be labelled twice. Remove one.")


def _hold_out(corpus: Corpus, config: Config) -> None:
    """Without an `sft_val` file, whole conversations of `sft_train` are held out instead."""
    if "sft_val" in corpus.examples or "sft_train" not in corpus.examples:
        return
    rows = corpus.examples["sft_train"]
    order = sorted({thread_of(row) for row in rows},
                   key=lambda name: content_id("val", config.seed, name))
    if len(order) < 2:
        raise DataError(f"{EXAMPLES['sft_train']} holds one conversation only, so none can be "
                        f"held out. Add {EXAMPLES['sft_val']}, or rows of another conversation.")
    held = set(order[:max(1, round(len(order) * config.data.sft_val_fraction))])
    corpus.examples["sft_val"] = [row for row in rows if thread_of(row) in held]
    corpus.examples["sft_train"] = [row for row in rows if thread_of(row) not in held]


def _as_conversation(row: Example | Pair) -> Conversation:
    """For the tables of notebook 00: what was said, with `raw` where cleaning would change it."""
    said = [(m["role"], m["content"]) for m in row.prompt if m["role"] != "system"]
    if isinstance(row, Example):
        said.append(("assistant", row.response))
    turns = [Turn(role, text, raw=text if rules_that_fire(text) else None) for role, text in said]
    return Conversation(thread_of(row), str(row.metadata.get("source", "files")), tuple(turns))


def _what_is_missing(corpus: Corpus) -> list[str]:
    found = []
    for name in ("sft_val", "sft_train"):
        if blank := blank_targets(corpus.examples.get(name, [])):
            found.append(f"{blank} replies of {name} are empty or blank.")
    for name, rows in corpus.rows.items():
        without = sum(row.conversation_id is None for row in rows)
        if without:
            found.append(f"{without} of {len(rows)} rows of {name} have no conversation_id, so "
                         "nobody can see whether they share one with another set.")
    return found
