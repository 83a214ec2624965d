"""What people bring in files instead of having it made here: where it lies, what it lacks."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from persuasion_lib.core.config import Config
from persuasion_lib.core.errors import DataError, PersuasionError
from persuasion_lib.core.foreign import read_each
from persuasion_lib.core.forms import as_ours, is_unanswered, without_answer
from persuasion_lib.core.overrides import key_of
from persuasion_lib.core.rankings import parse_comparison, parse_ranking
from persuasion_lib.core.records import parse_example, parse_labeled, parse_pair

Kind = Literal["labels", "pairs", "examples", "people's rankings"]
PARSERS = {"labels": parse_labeled, "pairs": parse_pair, "examples": parse_example,
           "people's rankings": parse_ranking}
MADE_BY = "the program that wrote it"
ENDINGS = (".jsonl", ".json", ".parquet")   # lines, one array, or a table of other tools
# Where a file may stand below `data.path`.
PLACES = ("", "processed", "preferences", "data/processed", "data/preferences")
# Labels of a pool, whole or as they were split for training.
LABELLED = {"ai_pool": ("ai_pool_labeled.jsonl", "rlaif_train.jsonl", "rlaif_val.jsonl"),
            "human_pool": ("human_pool_labeled.jsonl", "rlhf_train.jsonl", "rlhf_val.jsonl")}
# The setting that says who labels a pool here.
LABELLER = {"ai_pool": "label_ai.judge", "human_pool": "label_human.source"}


def brought_folder(config: Config) -> Path | None:
    """The folder of somebody's own files; None where a corpus is read instead."""
    path = config.peek("data.path")
    if config.peek("data.source") != "files" or not path:
        return None
    return config.user_path(path, "data.path")


def find_brought(config: Config, name: str) -> Path | None:
    """Somebody's own file in that folder or in the places below it that a pipeline has.

    Its name may end as other tools' files do.

    Raises:
        DataError: two files have the name, with different endings.
    """
    folder = brought_folder(config)
    places = [folder / part / name for part in PLACES] if folder else []
    for place in places:
        found = [file for ending in ENDINGS if (file := place.with_suffix(ending)).exists()]
        if len(found) > 1:
            raise DataError(f"{found[0]} and {found[1].name} beside it are the same set. Keep the "
                            "one that is meant.")
        if found:
            return found[0]
    return None


def read_brought(path: Path, kind: Kind,
                 parse: Callable[[dict[str, Any]], Any] | None = None) -> list[Any]:
    """The rows of somebody's file, in our form or in one of core.forms.

    Pairs that nobody has answered are no labels and are left out of those; of answered ones the
    pair is read where pairs are asked for. `parse` reads a row, if not the parser of the kind.

    Raises:
        DataError: a row is in no form that is known (file:line).
    """
    own = parse or PARSERS[kind]

    def parsed(row: dict[str, Any]) -> Any:
        ours = as_ours(row)
        if kind == "labels" and ours is not row and is_unanswered(ours):
            return None
        if kind == "pairs" and ours is not row:
            ours = without_answer(ours)
        return own(ours)

    return [row for row in read_each(path, parsed, made_by=MADE_BY) if row is not None]


def brought_labels(config: Config, pool: str) -> list[Path]:
    """The labelled files that somebody brought for a pool, none where it is labelled here.

    A setting that says who is to label goes before labels that lie in the folder `data.path`.
    """
    if pool == "human_pool" and config.peek("label_human.source") == "file":
        if path := config.peek("label_human.path"):
            return [config.user_path(path, "label_human.path")]
    elif _was_chosen(config, LABELLER[pool]):
        return []
    return labels_in_folder(config, pool)


def brought_comparisons(config: Config) -> list[Path]:
    """The file in which somebody brought comparisons of the final replies, if it is named."""
    path = config.peek("human_eval.path")
    if config.peek("human_eval.source") != "file" or not path:
        return []
    return [config.user_path(path, "human_eval.path")]


def labels_in_folder(config: Config, pool: str) -> list[Path]:
    """The labelled files of a pool in the folder `data.path`, whoever is to label."""
    whole, *parts = [find_brought(config, name) for name in LABELLED[pool]]
    return [whole] if whole else [part for part in parts if part]


def _was_chosen(config: Config, key: str) -> bool:
    return any(key_of(text) == key for text in config.overrides)


def graders(files: Sequence[Path]) -> Counter[str]:
    """How many labels of these files each labeller gave; an unreadable file has none."""
    found: Counter[str] = Counter()
    for path in files:
        if path.is_file():
            known = path.stat()
            found += _graders(path, known.st_mtime_ns, known.st_size)
    return found


@lru_cache(maxsize=64)
def _graders(path: Path, _mtime: int, _size: int) -> Counter[str]:
    try:
        labels = read_brought(path, "labels", parse_comparison)
    except PersuasionError:     # who reads its labels says what is wrong with it
        return Counter()
    return Counter(label.labeled_by for label in labels)


def missing_at_the_end(config: Config) -> list[str]:
    """What a run on somebody's own files will end without, known before it begins."""
    if brought_folder(config) is None:
        return []
    has = {pool: bool(labels_in_folder(config, pool)) or any(
        find_brought(config, f"{pool}_{kind}.jsonl") for kind in ("prompts", "responses"))
        for pool in LABELLED}
    lacking = {"rlaif": not has["ai_pool"], "rlhf": not has["human_pool"],
               "rlaif_rlhf": not all(has.values())}
    models = [name for name, is_lacking in lacking.items() if is_lacking]
    found = []
    if models:
        pools = " and no ".join(pool.replace("_", " ") for pool in LABELLED if not has[pool])
        found.append(f"There is no {pools}, so {', '.join(models)} will not be trained.")
    if not find_brought(config, "final_eval_reserved.jsonl"):
        found.append("There is no final_eval_reserved.jsonl with held-out prompts, so nothing will "
                     "be evaluated: 05 and 06 have nothing to do.")
    return found
