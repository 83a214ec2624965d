"""What the figures of an evaluation cannot say, whatever they are."""

from __future__ import annotations

from persuasion_lib.reporting.evaluation_file import Setup


def stand_in_note(setup: Setup) -> list[str]:
    """One sentence that names the stand-ins behind an evaluation; none if all was real."""
    names = list(setup.stand_ins().values())
    if not names:
        return []
    return [f"Stand-ins without a real model, person or data: {', '.join(names)}. The figures show "
            "that the method works, and say nothing about real persuasion."]


def limits(setup: Setup) -> list[str]:
    """What these figures cannot say, for the end of every report."""
    return [
        *stand_in_note(setup), *_circular(setup),
        "One training seed per model: the claims are about these checkpoints, not the recipes.",
        "One sampled reply per prompt: the intervals cover the choice of prompts, not of samples.",
        "No interval covers the judge's taste: one that likes length, say, moves every score, and "
        "more prompts only make the moved figure look surer.",
        "One domain and one kind of prompt; a score depends on which models are compared and must "
        "never be compared across runs with other models.",
        "A judge's preference is not persuasion: nobody's view was measured before and after."]


def _circular(setup: Setup) -> list[str]:
    """Whether what judged also wrote the yardstick, or the labels that models learned from."""
    if not setup.judge:
        return ["The file does not say which model judged, labelled or wrote the oracle replies."]
    roles = [role for role in ("oracle", "labeller") if getattr(setup, role) == setup.judge]
    if not roles:
        return []
    asked = setup.asked_models or {}
    twins = [role for role in roles if asked.get(role) == asked.get("judge")]
    if "judge" in setup.stand_ins():
        who = "the same stand-in"
    elif asked and twins:
        who = f"the same model ({asked['judge']})"
    else:
        who = f"of the same service ({setup.judge})"
    names = " and ".join(setup.name_of(role) for role in (asked and twins or roles))
    return [f"The judge and {names} are {who}: similarity to the oracle and the judge's preference "
            "are not independent evidence."]
