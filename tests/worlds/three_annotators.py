"""Three annotators with rules anybody can apply, on the pairs of `labeling_pool`."""

from __future__ import annotations

from persuasion_lib import label_human
from persuasion_lib.core.stage import start

NAMES = ["ann", "ben", "cleo"]
THREE = ("label_human.source=widget", "label_human.annotators=[ann, ben, cleo]",
         "label_human.repeat_fraction=0", "label_human.checks=0")
# What each says of the pair with a number: ann always a; ben b if odd; cleo b, tie or a.
RULES = {"ann": lambda number: "a", "ben": lambda number: "b" if number % 2 else "a",
         "cleo": lambda number: "b" if number % 4 == 1 else "tie" if number % 4 == 3 else "a"}


def opened(*overrides):
    run = start("label_human", "demo", [*overrides])
    return run, label_human.open_session(run, label_human.read_pool(run))


def answer(session, rule, count=None):
    """Answer with the reply that `rule` gives for a pair's number."""
    while session.current and count != 0:
        item = session.current
        session.choose(session.token(item), item.choice_for(rule(int(item.pair.pair_id[1:4]))), 9.0)
        count = count and count - 1


def label_all(panel, rules=RULES):
    for name, rule in rules.items():
        answer(panel.work(name), rule)
    panel.read_again()


def send(screen, do, **fields):
    """A message as the browser would send it, and the status that answers it."""
    item = screen.state["item"] or {}
    screen._receive(None, {"id": "v:1", "do": do, "token": item.get("token"), **fields})
    return screen.state["status"]
