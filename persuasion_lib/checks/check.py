"""A row of the registry, and what it says of somebody's files."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from persuasion_lib.checks.measured import Measured, NotMeasured
from persuasion_lib.core.config import Config
from persuasion_lib.core.pipeline import POOLS
from persuasion_lib.data.gates import GATES, POOL_OF_MODEL, brought_in

ALLOW = "checks.allow"
BY_NAME = "A check without a limit of its own is allowed by its name in checks.allow."
Material = Mapping[str, Mapping[str, Any]]      # kind -> name of a file or set -> what is in it


def percent(share: float) -> str:
    """A share to be read: two digits of a small one, three of others."""
    return f"{100 * share:.{2 if share < 0.1 else 3}g}%"


class Slot(NamedTuple):
    """Texts of one kind by place (replies of a model, of a slot, targets), and their prompts."""

    texts: Mapping[str, str | None]
    prompts: Sequence[str]


@dataclass(frozen=True)
class Check:
    """One thing that is checked, wherever files of its kind are.

    look: measures, or raises NotMeasured; a value above the limit is a finding.
    limit: None where `setting` holds it.
    why: where the limit comes from.
    message: with {value}, {n}, {example} and {limit}; `remedy` says what to do next.
    stops: no label or GPU hour may be spent on it, and no verdict be given; otherwise it warns.
    setting: what overrides it: a limit of the settings, or the list of what is allowed by name.
    unit: of the figure where it is no share.
    """

    name: str
    of: str
    look: Callable[[Any], Measured]
    limit: float | None
    why: str
    message: str
    remedy: str = ""
    stops: bool = False
    setting: str = ALLOW
    unit: str = ""

    def within(self, figure: float, limit: float) -> str:
        """A figure beside the limit that it keeps, for whoever reads the table of checks."""
        if limit == 0:
            return "no fault found"
        if self.unit:
            return f"{figure:.3g} of at most {limit:.3g} {self.unit}"
        return f"{percent(figure)} of at most {percent(limit)}"


@dataclass(frozen=True)
class Finding:
    """What a check says of one file or set.

    `state` is "stop", "warn", "allowed", "not checked" or "fine"; `figure` what was measured,
    `text` what to say of it.
    """

    check: str
    subject: str
    state: str
    text: str
    figure: float | None = None

    def row(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def look(checks: Sequence[Check], material: Material, config: Config | None = None, *,
         allow: Sequence[str] = ()) -> list[Finding]:
    """Every check on everything of its kind; what is not there is not looked for.

    Args:
        config: for limits that the settings hold, and what they allow.
        allow: names of checks that may find something, beside those of the settings.
    """
    allowed = {*allow, *(config.peek("checks.allow") if config else ())}
    return [_finding(check, subject, thing, config, allowed)
            for check in checks for subject, thing in material.get(check.of, {}).items()]


def _finding(check: Check, subject: str, thing: Any, config: Config | None,
             allowed: set[str]) -> Finding:
    try:
        result = check.look(thing)
    except NotMeasured as why:
        return Finding(check.name, subject, "not checked", str(why))
    limit, figure = _limit(check, config), float(result.value)
    if figure <= limit:
        return Finding(check.name, subject, "fine", check.within(figure, limit), figure)
    state = "stop" if check.stops else "warn"
    told = check.message.format(value=result.value, n=result.n, limit=limit,
                                example=result.example)
    place = ""
    if config and check.name in GATES and subject in (*POOLS, *POOL_OF_MODEL):
        place = brought_in(subject, check.name, config)
    remedy = f"They came in {place}: take them out there." if place else check.remedy
    return Finding(check.name, subject, "allowed" if check.name in allowed else state,
                   f"{subject}: {told} {remedy}".strip(), figure)


def _limit(check: Check, config: Config | None) -> float:
    if check.limit is not None:
        return check.limit
    section, name = check.setting.split(".")
    return getattr(getattr(config, section), name)


def texts(findings: Sequence[Finding], state: str) -> list[str]:
    """The sentences of the findings in a state."""
    return [found.text for found in findings if found.state == state]
