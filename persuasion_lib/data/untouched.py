"""Is the test set still independent of everything that models learned from?"""

from collections.abc import Sequence

from persuasion_lib.core.errors import DataError
from persuasion_lib.core.pipeline import made_by
from persuasion_lib.core.records import Example, LabeledPair, Pair
from persuasion_lib.core.stage import StageRun
from persuasion_lib.data.overlap import overlap_faults, shared_passages

_LEARNED_FROM = ("sft_train", "sft_val", "ai_pool_responses", "human_pool_responses",
                 "rlaif_train", "rlhf_train")


def check_untouched(run: StageRun, examples: Sequence[Example]) -> None:
    """Compare the test prompts with every file that models learned from; one not there is noted.

    Raises:
        DataError: a test prompt, a large part of it or its conversation occurs there, too.
    """
    sets: dict[str, Sequence[Example | Pair]] = {"test": examples}
    for name in _LEARNED_FROM:
        rows = run.read_if_there(name)
        sets[name] = [row.pair if isinstance(row, LabeledPair) else row for row in rows]
        if not rows:
            run.warnings.append(f"{name} is not there, so overlap with it was not checked.")
    shared = shared_passages(sets)
    faults = [fault for name in sets if name != "test" for fault in overlap_faults(
        {"test": examples, name: sets[name]}, shared, run.config.data.max_shared_passages)]
    if faults:
        raise DataError(f"{run.path('test')} is not independent of what models learned from, so "
                        "their scores would be too good:\n" + "\n".join(faults) + "\n"
                        f"Run {made_by('test')} again; it splits by conversation.")
