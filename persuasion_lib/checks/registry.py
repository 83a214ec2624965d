"""Everything that is checked, a row a check: what it looks at, its limit, what it means.

A limit that is a setting is named; the others are overridden by their name in `checks.allow`.
"""

from persuasion_lib.checks import judge, models, people, pools, yardsticks
from persuasion_lib.checks.adopted import ALARMED, GATED, JUDGED, said
from persuasion_lib.checks.check import Check
from persuasion_lib.checks.consistent import CONSISTENT
from persuasion_lib.checks.measured import Measured
from persuasion_lib.checks.rankings import RANKED
from persuasion_lib.checks.similarity import SIMILAR
from persuasion_lib.checks.texts import TEXTS
from persuasion_lib.checks.training import TRAINED
from persuasion_lib.data.gates import control_faults
from persuasion_lib.reporting.evaluated import Evaluated
from persuasion_lib.stats.blocks import TOO_FEW

# What is looked at, and the files that hold it.
KINDS = {
    "pairs": "a pool of pairs (*_responses.jsonl)",
    "texts to learn from": "SFT rows or a pool of pairs (sft_train.jsonl, *_responses.jsonl)",
    "labels": "labelled pairs (*_labeled.jsonl)",
    "labels by a person": "pairs labelled by a person (human_pool_labeled.jsonl)",
    "labels by a judge": "pairs labelled by a judge (ai_pool_labeled.jsonl)",
    "pool and labels": "a pool together with its labels",
    "split": "both sides of a split (*_train.jsonl and *_val.jsonl)",
    "split and labels": "a split together with the labels that it was made of",
    "sets": "two sets of rows (test, SFT rows, pools)",
    "people's rankings": "rankings of final replies by people (human_comparisons.jsonl)",
    "event log": "the event log of an annotator (human_events.*.jsonl)",
    "judgment log": "a log of judgments (*_judgments.jsonl)",
    "labels and log": "a judge's labels together with its log",
    "agreement": "one pool labelled by a person and by a judge",
    "minds": "a judge's labels of pairs of which one really won (minds_judged.jsonl)",
    "evaluation": "an evaluation (final_evaluation.json)",
    "evaluated replies": "an evaluation (final_evaluation.json)",
    "declared comparison": "an evaluation (final_evaluation.json)",
    "rankings": "an evaluation (final_evaluation.json)",
    "panel": "an evaluation by several judges (final_evaluation.json)",
    "DPO log": "the log of a DPO training (training_log.json beside a checkpoint)",
    "DPO start": "the log of a DPO training that begins as its reference",
}


def _replies(data: Evaluated) -> dict[str, list[str | None]]:
    """Every model's replies in the order of the prompts."""
    return {model: [row.responses.get(model) for row in data.rows] for model in data.models}


def _unlike_sft(data: Evaluated) -> Measured:
    rows = sorted(data.rows, key=lambda row: row.example_id)
    return models.unlike_sft({name: [row.responses.get(name) for row in rows]
                              for name in data.models})


def _columns(data: Evaluated) -> dict[str, list[str | None]]:
    """Replies and prompts, row by row."""
    return {"prompt": [str(row.prompt or row.messages or "") for row in data.rows],
            **_replies(data)}


_POOLS = (
    Check("few conversations supply the pairs", "pairs", pools.concentration, 1 / TOO_FEW,
          "below 20 independent units no interval is worth much (stats.blocks.TOO_FEW)",
          "two pairs drawn at random are of one conversation with {value:.0%} probability "
          "({example}). Losses, intervals and ties count every pair as new.",
          "Take pairs of more conversations (data.prompts_per_conversation)."),
    Check("the same pair twice", "pairs", pools.same_pair_again, 0, "a pair counts once",
          "{value:.0f} of {n} pairs stand there again under another id or with exchanged sides "
          "({example}).", "Keep one of each."),
    Check("contradicting labels", "labels", pools.contradicting, 0, "one label a pair",
          "{value:.0f} pairs have two labels that contradict each other, by their texts ({example})"
          ".", "Keep one label per pair, or none.", stops=True),
    Check("pairs without a label", "pool and labels", pools.unlabelled, 0,
          "planned against done", "{value:.1%} of the pool has no label: {example}.",
          "Label them, or say why not."),
    Check("labels of other texts", "pool and labels", pools.of_other_texts, 0,
          "a label belongs to the texts that were read",
          "{value:.0f} of {n} labels are of texts that the pool does not have ({example}).",
          "Label the pool's own texts.", stops=True),
    Check("too many held out", "split", pools.held_out, 1 / 3,
          "planned is a tenth; above a third most labels teach nothing",
          "{value:.0%} of the decided pairs are held out ({example}): a few conversations hold "
          "most of them, and a conversation stays whole.",
          "Take pairs of more conversations.", stops=True),
    Check("conversations on both sides", "split", pools.split_shares, 0,
          "validation on trained conversations shows memory",
          "{value:.0f} of {n} conversations are in training and in validation ({example}).",
          "Split by conversation.", stops=True),
    Check("ties trained on", "split", pools.ties_trained_on, 0, "a tie has no preference",
          "{value:.0%} of the rows are ties ({example}): their chosen reply is a coin flip.",
          "Leave ties out.", stops=True),
    Check("conversations in two sets", "sets", pools.shared_conversations, 0,
          "a test prompt must be new to every model", "{example}",
          "Remove these rows from the set that is trained on.", stops=True),
    Check("prompts copied in another set", "sets", pools.copied_prompts, None, "a setting",
          "{value:.0%} of a prompt stands in another set ({example}), the limit is {limit:.0%} "
          "(data.max_shared_passages).", "Remove these rows from the set that is trained on.",
          stops=True, setting="data.max_shared_passages"),
    Check("near copies of test prompts", "sets", yardsticks.learned_in_sets, 0,
          "beyond what rows of different conversations have in common",
          "{value:.1%} of {n} test prompts are nearly ones that models learned from ({example}).",
          "Read the two, and remove the row that is learned from."),
    Check("control tokens", "sets", said(lambda sets: [
        text for name, rows in sets.items() for text in control_faults(name, rows)]), 0,
        "such a token is read as a turn", "{example}", stops=True),
)

_PEOPLE = (
    Check("answers faster than reading", "labels by a person", people.faster_than_reading, 0.2,
          "238 words a minute are read (Brysbaert 2019), here 1,000 count as reading",
          "{value:.0%} of {n} labels took less time than anybody needs to read both replies (worst "
          "{example}).", "Label these pairs again.", stops=True),
    Check("answers within two seconds", "event log", people.in_a_hurry, 0.2,
          "nobody reads two replies in less",
          "{value:.0%} of {n} answers came within two seconds ({example}).",
          "Label these pairs again.", stops=True),
    Check("always one side of the screen", "labels by a person", people.one_side, 0.8,
          "half is even; .8 of 20 has p = .01 by chance",
          "{value:.0%} of {n} decided labels are for {example}.", "Label the pool again.",
          stops=True),
    Check("always the same key", "event log", people.one_key, 0.9,
          "no pool has one answer to nine pairs of ten",
          "{value:.0%} of {n} answers are the same: {example}.", "Label the pool again.",
          stops=True),
    Check("left and right by turns", "event log", people.by_turns, 0.85,
          "half is chance; sides are drawn anew for every pair",
          "{value:.0%} of {n} answers are for the other side than the one before.",
          "Label the pool again.", stops=True),
    Check("always one place of the file", "labels", people.one_place, 0.8,
          "both places are sampled alike, so half is even",
          "{value:.0%} of {n} decided labels are for {example}, though both are sampled alike.",
          "Compare with what was shown, and in which order."),
    Check("the longer reply always wins", "labels", people.longer_wins, 0.9,
          "people and judges choose it in 60 to 75 % of pairs (AlpacaEval)",
          "in {value:.0%} of {n} decided pairs that differ in length the {example} reply won.",
          "These labels count characters. Label again.", stops=True),
    Check("chosen replies are longer", "labels by a person", people.surely_longer, 0.6,
          "judge_health's limit: what is beyond it is more than content explains",
          "the longer reply wins at least {value:.0%} of {n} pairs (95 % confidence): {example}.",
          "DPO will learn length; compare scores at equal length."),
    Check("self-agreement at chance", "labels by a person", people.unsteady, 0.8,
          "kappa below .2 is slight at best (Landis & Koch 1977)",
          "on {n} repeats the annotator gave {example}: such labels teach nothing, and measure no "
          "judge.", "Label again, with the guidelines at hand.", stops=True, unit="(1 − kappa)"),
    Check("obvious pairs failed", "event log", people.obvious_failed, 0.34,
          "two of three; somebody who errs on 5 % fails so in 1 of 140 sessions",
          "{value:.0%} of {n} obvious pairs (a reply against its own words, shuffled) were "
          "answered wrongly ({example}).", "Label the pool again.", stops=True),
    Check("labels nearly all the judge's", "agreement", people.nearly_the_judges, 0.939,
          "Wilson's bound of 60 of 60, labeling.alarms.COPIED",
          "{example} as the judge's of {n} pairs, which two readers hardly ever reach.",
          "Ask the annotator how they labelled."),
)

_JUDGE = (
    Check("one verdict whatever the content", "labels by a judge", judge.one_verdict, 0.9,
          "no pool has one answer to nine pairs of ten",
          "{value:.0%} of {n} verdicts, in the order shown, are {example!r}.", "Ask another judge.",
          stops=True),
    Check("the place decides", "labels by a judge", judge.by_the_place, 0.8,
          "as labeling.alarms; a second order would make ties of it, one order hides it",
          "{value:.0%} of {n} decided verdicts are for the reply shown {example}.",
          "Ask another judge, in both orders (label_ai.both_orders).", stops=True),
    Check("labels against their verdicts", "labels by a judge", judge.against_its_verdicts, 0,
          "a label is what its verdicts say",
          "{value:.0f} of {n} labels contradict the verdicts stored beside them ({example}).",
          "Derive the labels again from the log (notebook 01).", stops=True),
    Check("labels against the log", "labels and log", judge.against_the_log, 0,
          "a label is what its judgments say",
          "the verdicts of {value:.0f} of {n} labels are not those in the log ({example}).",
          "Derive the labels again from the log (notebook 01).", stops=True),
    Check("the judge changed", "labels by a judge", judge.model_versions, 0, "one judge, one model",
          "{value:.0f} models beside the commonest answered: {example}.",
          "Pin one version, and ask the rest again."),
    Check("the judge changed (log)", "judgment log", judge.model_versions, 0,
          "one judge, one model", "{value:.0f} models beside the commonest answered: {example}.",
          "Pin one version, and ask the rest again."),
    Check("the judge changed (evaluation)", "evaluation", judge.several_models, 0,
          "one judge, one model", "{value:.0f} models beside the first answered: {example}.",
          "Pin one version, and ask the rest again."),
    Check("the same reply to every question", "judgment log", judge.same_reply, 0.6,
          "the bare verdicts '1' and '2' have half each",
          "{value:.0%} of {n} replies of the judge are the same text: {example}.",
          "A cache or a stub answers. Delete the log and ask the model itself.", stops=True),
    Check("replies out of a cache", "judgment log", judge.same_request, 0.05,
          "every call has an id of its own",
          "{value:.0%} of {n} replies have the id of an earlier request ({example}).",
          "Ask past the cache."),
    Check("verdicts against their reply", "judgment log", judge.against_its_reply, 0,
          "a verdict is what the reply says",
          "{value:.0f} of {n} verdicts are not what the reply beside them says ({example}): they "
          "are read wrongly, perhaps upside down.", "Delete the log's verdicts and ask again.",
          stops=True),
    Check("what really won is not preferred", "minds", judge.against_what_won, 0.5, "chance",
          "of {n} pairs of which one really won the judge prefers the other ({example}).", "Look."),
    Check("the panel disagrees", "panel", judge.panel_differs, 0,
          "a verdict that depends on who judges is the judge's",
          "the {n} judges do not say the same of the declared comparison ({example}).",
          "Let people compare (05b)."),
    Check("one order on nearly all prompts", "evaluation", judge.one_order, 0.9,
          "models far apart reach it; with four or more no judge of texts does",
          "{value:.0%} of {n} rankings are {example}.", "Read some rankings beside their replies."),
    Check("the same reply twice", "evaluation", judge.twins_told_apart, 0.2,
          "in both orders an even judge ties; noise may not",
          "the judge told {value:.0%} of {n} pairs apart that are one reply twice ({example}).",
          "Ask another judge.", stops=True),
    Check("rankings against pairs", "evaluation", judge.against_its_pairs, 0.5,
          "half is what two unrelated verdicts have", "the judge's own pairwise verdicts on the "
          "same replies contradict its rankings: {example} of {n}. The rankings may be read "
          "upside down.", "Read some beside their replies.", stops=True),
)

_MODELS = (
    Check("the declared two say the same", "declared comparison",
          lambda both: models.same_text(*both), 0.5,
          "on these prompts their difference is the judge's noise",
          "the two models of the declared comparison give the same text on {value:.0%} of {n} "
          "prompts ({example}): what is left between them is the judge's noise.",
          "Was one loaded twice, or did the second training learn nothing?", stops=True),
    Check("scores that are no numbers", "evaluation", lambda data: yardsticks.not_numbers(
          {row.example_id: row.no_numbers() for row in data.rows}), 0, "a score is a number",
          "{value:.0%} of {n} examples have scores that are no numbers, left out ({example})."),
    Check("models that do not descend from SFT", "evaluation",
          _unlike_sft, 0.8,
          "the earlier run's misloaded adapters have .91 to .93, our demo .03 to .12",
          "by its texts alone a model does not descend from SFT: {value:.0%} of the replies of "
          "{example}.", "Load its adapter on base and SFT together, and evaluate again.",
          stops=True),
    Check("replies moved against prompts", "evaluation",
          lambda data: yardsticks.misplaced(_columns(data)), 0,
          "texts of one prompt are more alike than those of two",
          "columns do not belong to the prompts beside them: {example}.",
          "Join the files by id: a row was lost or doubled.", stops=True),
    Check("oracle moved against prompts", "evaluation",
          lambda data: yardsticks.moved([row.oracle for row in data.rows], _columns(data)), 0,
          "a reply is alike to what it answers, if to anything",
          "the oracle's replies are most alike to prompts and replies of other rows: by {example}.",
          "Join the files by id: a row was lost or doubled."),
    Check("the oracle is a candidate", "evaluation",
          lambda data: yardsticks.oracle_is_reply(
              [row.oracle for row in data.rows], _replies(data), {
              model: [row.similarity_scores.get(model) for row in data.rows]
              for model in data.models}), 0.05,
          "a yardstick is somebody else's", "{value:.0%} of {n} oracle replies are the reply of "
          "{example}: the similarities measure nothing.", "Look at oracle.source."),
    Check("test prompts twice", "evaluation", lambda data: yardsticks.asked_twice(
          {row.example_id: str(row.prompt or row.messages or "")
           for row in data.file.per_example}), 0,
          "a prompt that counts twice narrows every interval",
          "{value:.0%} of {n} test prompts stand there before under another id ({example}).",
          "Keep one of each.", stops=True),
    Check("a model's name in its reply", "evaluation",
          lambda data: yardsticks.names_in_replies(_replies(data)), 0, "a judge must be blind",
          "{value:.0%} of {n} replies of a model hold a model's name ({example}).",
          "Remove names from what models learn from."),
)

REGISTRY: tuple[Check, ...] = (*GATED, *TEXTS, *_POOLS, *_PEOPLE, *RANKED, *ALARMED, *_JUDGE,
                               *TRAINED, *CONSISTENT,
                               *_MODELS, *SIMILAR, *JUDGED)


def checks_of(*kinds: str) -> list[Check]:
    """The rows that look at these kinds."""
    return [check for check in REGISTRY if check.of in kinds]
