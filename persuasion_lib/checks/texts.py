"""What a reply must not hold: signs that it is no reply, or not in the words of its model.

Every measure takes texts by place (an id, or `file:line`) and gives the share of them in which it
finds something. Give it the texts of one slot, one model or one file at a time, so that a fault
that only one of them has is not thinned out: the targets of SFT, `response_1` and `response_2` of
a pool, the replies of each evaluated model.

On 10,600 replies of people (PersuasionForGood) the measures find one text in another language,
which is Spanish, and nothing else.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from persuasion_lib.checks.check import Check, Slot
from persuasion_lib.checks.languages import another_language, usual_language
from persuasion_lib.checks.measured import Measured, need
from persuasion_lib.data.cleaning import RULES
from persuasion_lib.data.gates import control_tokens
from persuasion_lib.stats.blocks import TOO_FEW

Texts = Mapping[str, str | None]       # place -> text; None is no text, and is not counted

_SHOWN = 60         # characters of the worst place

# What prompts of models are built with: turns of Llama, Gemma and Alpaca, the four blocks of
# data/README.md, and blanks that nobody filled in; and what models think aloud in.
_ENTITY = re.compile(r"&#?\w+;?")
_MARKER = re.compile(
    r"\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<\|?(?:im_start|im_end|endoftext|eot_id)"
    r"\b|^#{2,} ?(?:instruction|response|input|human|assistant|user|system)\b"
    r"|\[(?:SYSTEM|CONTEXT|TASK|RESPONSE)\]|\[\W*context truncated\W*\]|\{\{[^{}\n]{1,40}\}\}"
    r"|</?(?:p|br|div|span|strong|em|ul|li|blockquote)\b[^<>]{0,40}>"
    r"|</?(?:think(?:ing)?|thoughts?|reasoning|scratchpad|reflection|seed:think)>|\[/?THINK\]"
    r"|◁/?think▷|\[(?:your|insert|recipient'?s?|company) [^\]\n]{1,40}\]",
    re.IGNORECASE | re.MULTILINE)
_ROLE = re.compile(
    r"(?:^|\n|[.!?…\"')\]]\s)[\s*_#>\"-]*"
    r"(?:human|(?:ai )?assistant|user|system|ai|bot|(?:chat)?gpt|model|them|persuade[re]"
    r"|original post|op|comment \d+|response [a-f1-6])"
    r"\s?(?:\*\*|__)?\s?:(?!/)", re.IGNORECASE)
# On these no sentence ends: .2 % of 10,600 replies of people do, 20 % of the same cut anywhere.
_BROKEN = re.compile(
    r"(?:\b(?:the|an?|of|and|or|but|because|with|for|from|at|by|if|than|my|your|our|their|its|his"
    r"|very|was|were|who|which|when|while|into|these|every)|[,;，、；]|(?<!:)[(\[])\s*\Z",
    re.IGNORECASE)
_BY_CHANCE = 3      # texts that may break off among a few
_REPEATED = 5       # times from which a text is there again and again

_CANNOT = (r"(?:can(?:no|')?t|can not|could(?:n't| not)|(?:am|'m) (?:unable|not able) to|won't"
           r"|will not)")
# "I'm sorry, but I can't agree with you" is an argument.
_ARGUES = (r"(?:\w+ly )?(?:agree|accept|believe|imagine|see|think|understand|follow|let|stop|take"
           r"|get|be|buy|say|tell you|even|resist|feel|stand|find|go|fathom|relate)\b")
_WORK = (r"(?:help(?! but)|assist|comply|fulfill?|generate|create|produce|write|continue|provide"
         r"|engage|answer|respond|participate|complete|discuss|support|process)\b")
_KIND = r"(?:AI|artificial intelligence|(?:large )?language model)\b"
_REFUSAL = re.compile(
    rf"\bas an? (?:\w+ )?{_KIND}|\bI(?:'m| am) (?:just |only |merely )?an? {_KIND}"
    rf"|^\W*(?:I(?:'m| am) (?:\w+ )?sorry|sorry|my apologies|I apologi[sz]e|unfortunately)\b"
    rf"[^.!?\n]{{0,20}}\bI ?{_CANNOT}(?! {_ARGUES})\b|^\W*I ?{_CANNOT} (?:\w+ly )?{_WORK}",
    re.IGNORECASE)


def entities(texts: Texts) -> Measured:
    """Share of texts with an HTML entity, such as `&gt;`.

    People write none,
    and 40 % of the earlier run's replies have some (LESSONS 9), which SFT had taught. Clean the
    corpus (notebook 00 does) and train SFT again.
    """
    return _share(texts, _entity)


def _entity(text: str) -> str:
    return _found(_ENTITY, text) if RULES["HTML entities"](text) != text else ""


def markers(texts: Texts, special: Iterable[str] = ()) -> Measured:
    """Share of texts with a control token or a marker of a prompt template.

    2 % of the earlier run's replies repeat "[TASK]" or "[...context truncated...]". Remove the
    rows; in replies, use one prompt builder with the model's own template, and train SFT with its
    end token.

    Args:
        special: the control tokens of the model's tokenizer.
    """
    special = list(special)
    return _share(texts, lambda text: next(iter(control_tokens(text, special)), "")
                  or _found(_MARKER, text))


def role_names(texts: Texts) -> Measured:
    """Share of texts in which a speaker is named ("Human:", "Assistant:", "THEM:", "Comment 2:").

    A reply that goes on
    with the other side's turn was not ended. Train SFT with the end token (LESSONS 5).
    """
    return _share(texts, lambda text: _found(_ROLE, text))


def refusals(texts: Texts) -> Measured:
    """Share of texts in which a model declines, or says that it is one.

    It finds
    phrases at the beginning ("I'm sorry, but I can't help with that") and "as an AI" anywhere.
    Remove the rows; in replies, look at the system prompt and at what SFT learned from.
    """
    return _share(texts, lambda text: _found(_REFUSAL, text))


def other_language(texts: Texts, prompts: Iterable[str]) -> Measured:
    """Share of texts that are in another language than most of the prompts.

    1 in 10,600 real replies is. A judge may take any fluent text. Remove the rows, or train SFT
    longer.
    """
    usual = usual_language(prompts)
    need(usual, "the prompts do not say in which language they are")
    return _share(texts, lambda text: another_language(text, usual))


def one_opening(texts: Texts) -> Measured:
    """Share of texts that begin as the commonest one does: with three words, or with one sign.

    In real corpora it is .03, in replies of a small model .6, in the earlier
    run's second slot .97 (LESSONS 7). One seed for every prompt does that, or a model that
    collapsed: sample the pool again, or raise pairs.temperature.
    """
    return _commonest(texts, _opening)


def one_text(texts: Texts) -> Measured:
    """Share of texts that are the commonest one, whatever case and punctuation.

    The commonest of 10,600 real replies ("hello") is 1 % of them. A model that collapsed answers
    nobody: lower the learning rate, or sample the pool again.
    """
    return _commonest(texts, said)


def one_text_again(texts: Texts) -> Measured:
    """The same, of a text that is there `_REPEATED` times: a batch pasted in, or a loop of SFT.

    One reply to many posts answers none of them, and is learned by heart. Keep it once.
    """
    found = one_text(texts)
    if found.value * (found.n - 1) + 1 < _REPEATED - 0.5:
        return Measured(0, found.n)
    return found


def broken_off(texts: Texts) -> Measured:
    """Share of texts that end where no sentence can: on "the", on "because", on a comma.

    A cap of tokens leaves such ends, or a cut of a file's texts; `finish` may not say so. Raise
    the cap, or take the rows out: a model learns to stop where these do.
    """
    found = _share(texts, lambda text: _found(_BROKEN, text))
    if found.value * found.n < _BY_CHANCE + 0.5:
        return Measured(0, found.n)
    return found


def said(text: str) -> str:
    """The words of a text, whatever case, punctuation and white space; itself if it has none."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text.strip()


def _found(pattern: re.Pattern[str], text: str) -> str:
    hit = pattern.search(text.replace("’", "'").replace("\u00a0", " "))
    return hit.group(0) if hit else ""


def _share(texts: Texts, find: Callable[[str], str]) -> Measured:
    """The share of texts in which something is found, and the first of them."""
    given = _given(texts)
    need(given, "there are no texts")
    found = {place: sign for place, text in given.items() if (sign := find(text))}
    example = "".join(f"{place}: {_shown(found[place])}" for place in list(found)[:1])
    return Measured(len(found) / len(given), len(given), example)


def _commonest(texts: Texts, part: Callable[[str], str]) -> Measured:
    """How many of the other texts have the part that most have, as a share."""
    given = _given(texts)
    need(len(given) >= TOO_FEW, f"{len(given)} texts are too few, {TOO_FEW} are needed")
    parts = {place: part(text) for place, text in given.items()}
    commonest, count = Counter(parts.values()).most_common(1)[0]
    place = next(place for place in parts if parts[place] == commonest)
    return Measured((count - 1) / (len(given) - 1), len(given), f"{place}: {_shown(commonest)}")


def _opening(text: str) -> str:
    text = RULES["HTML entities"](text).casefold()
    found = re.match(r"\s*([^\w\s]|(?:\w+\W*){1,3})", text)
    return said(found.group(1)) if found else ""


def _given(texts: Texts) -> dict[str, str]:
    return {place: text for place, text in texts.items() if text is not None}


def _shown(text: str) -> str:
    return f"“{' '.join(text.split())[:_SHOWN]}”"


def _row(of: str, name: str, look: Callable[[Slot], Measured], limit: float, what: str, *,
         stops: bool, remedy: str) -> Check:
    return Check(name, of, look, limit, "from 10,600 replies of people, as above",
                 f"{{value:.1%}} of {{n}} texts {what} ({{example}}), the limit is {{limit:.0%}}.",
                 remedy, stops=stops)


_LOOKS: tuple[tuple[str, Callable[[Slot], Measured], float, float, str], ...] = (
    # name, measure, limit where learned from, limit of evaluated replies, what it is
    ("HTML entities in replies", lambda slot: entities(slot.texts), 0.01, 0.01,
     "hold an HTML entity"),
    ("template markers", lambda slot: markers(slot.texts), 0.01, 0,
     "hold a template marker, or what a model thinks aloud"),
    ("names of speakers", lambda slot: role_names(slot.texts), 0.01, 0.01,
     "name a speaker, as the next turn would"),
    ("refusals", lambda slot: refusals(slot.texts), 0.01, 0.01, "decline, or say 'as an AI'"),
    ("another language", lambda slot: other_language(slot.texts, slot.prompts), 0.01, 0.01,
     "are in another language than the prompts"),
    ("one opening", lambda slot: one_opening(slot.texts), 0.8, 0.8, "begin alike"),
    ("one text for all", lambda slot: one_text(slot.texts), 0.1, 0.1, "are one text"))

# Those that are learned from stop, evaluated ones warn; and so does what a clean file may have.
TEXTS = (
    *(row for name, measure, learned, evaluated, what in _LOOKS for row in (
        _row("texts to learn from", name, measure, learned, what, stops=True,
             remedy="Remove these rows, or sample them again."),
        _row("evaluated replies", f"{name} (evaluated)", measure, evaluated, what,
             stops=False, remedy="Look at what SFT learned from."))),
    *(_row(of, name, lambda slot: broken_off(slot.texts), 0.02, "break off in a sentence",
           stops=False, remedy="Raise the cap of tokens, or take these rows out.")
      for of, name in (("texts to learn from", "texts that break off"),
                       ("evaluated replies", "texts that break off (evaluated)"))),
    _row("texts to learn from", "one text again and again", lambda slot: one_text_again(slot.texts),
         0.05, "are one text", stops=False, remedy="Keep it once."))
