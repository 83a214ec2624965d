"""Did DPO begin where it must: with a policy that is its own reference?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from persuasion_lib.checks.measured import Measured, NotMeasured, Result

Log = Sequence[Mapping[str, Any]]
EARLY = 10                # steps in which nothing much can have been learned yet


def is_of_dpo(log: Log) -> bool:
    """Whether a log has the rewards of DPO."""
    return any("rewards/chosen" in row or "eval_rewards/chosen" in row for row in log)


def first_loss(log: Log) -> Result:
    """The first loss of DPO minus ln 2, which it is while policy and reference are one model."""
    return _first(log, "loss", -math.log(2))


def first_reward(log: Log) -> Result:
    """How far from 0 the first implicit reward of the chosen replies is."""
    found = _first(log, "rewards/chosen", 0.0)
    return found if isinstance(found, NotMeasured) else Measured(
        abs(found.value), found.n, found.example)


def _first(log: Log, name: str, plus: float) -> Result:
    """The first value of a metric, in training or validation, within `EARLY` steps."""
    for row in log:
        value = row.get(name, row.get(f"eval_{name}"))
        if isinstance(value, int | float) and row.get("step", 0) <= EARLY:
            return Measured(value + plus, 1, f"{value:.3f} at step {row.get('step', 0)}")
    return NotMeasured(f"the log holds no {name} of the first {EARLY} steps")
