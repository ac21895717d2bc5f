"""Words for contrast agent in the name of a series and in ContrastBolusAgent.

Rules read the tokens of a name from left to right (`_statement`). The words of twelve languages are in
``mri_pipeline/data/contrast_words.toml``. Words that deny the agent ("ohne KM", "w/o contrast") are matched before the
agent itself. A name that can be read in two ways says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import lru_cache

from mri_pipeline.intake.contrast_tokens import NIL, OFF, agent_at, phrase_at, plain, table, tokens_of

_DOSE = re.compile(r"(?P<amount>\d+(?:[.,]\d+)?)\s*(?:ml|cc|mmol)(?![a-z]|\s*/\s*(?:m?l|s))")


_MOST_BETWEEN = 3
"""Tokens between a preposition and the agent ("senza il mezzo di contrasto")."""


class Said(StrEnum):
    """What the name of a series says about contrast agent."""

    BEFORE = "before contrast"
    AFTER = "after contrast"


_Statement = tuple[frozenset[Said], int]
"""What the beginning of a list of tokens says, and how many tokens that takes; 0 if a rule does not apply."""

_SILENT = frozenset[Said]()
_BEFORE, _AFTER = frozenset({Said.BEFORE}), frozenset({Said.AFTER})
_EITHER = frozenset(Said)
_NO_RULE: _Statement = (_SILENT, 0)

_SIGNS = {"<plus>": _AFTER, "<minus>": _BEFORE}
_SIGNS_BEHIND = {"<+>": _AFTER, "<->": _BEFORE}
_LETTERS = {f"<{letter}>": letter for letter in "sfv"}
_PREPOSITIONS = (
    ("without", _BEFORE), ("before", _BEFORE), ("after", _AFTER), ("with", _AFTER),
)  # fmt: skip


def said_of_contrast(name: str) -> Said | None:
    """What the name of a series says about contrast agent.

    Parameters
    ----------
    name : str
        Description of the series, in any spelling. Parts separated by ``" | "`` are read one after the other; the
        first one that says something decides.

    Returns
    -------
    Said or None
        None if the name says nothing, or both ("with and without contrast"), or if it can be read in two ways.

    Examples
    --------
    >>> said_of_contrast("t1_se_tra m.KM").value, said_of_contrast("AX T1 W/O CONTRAST").value
    ('after contrast', 'before contrast')
    >>> said_of_contrast("T1 posterior fossa") is None
    True
    """
    for part in name.split(" | "):
        said = _statements(part)
        if said:
            return next(iter(said)) if len(said) == 1 else None
    return None


@lru_cache(maxsize=1024)
def agent_given(value: str) -> bool | None:
    """Whether a value of ContrastBolusAgent states that contrast agent was given.

    Parameters
    ----------
    value : str

    Returns
    -------
    bool or None
        False if it states that none was given. None if it is empty, only punctuation or not recognised, if it can be
        read in two ways, or if it denies something other than an agent ("no flush").

    Examples
    --------
    >>> agent_given("Gd-DOTA"), agent_given("no contrast"), agent_given("n/a")
    (True, False, None)
    """
    words = [w for w in re.split(r"[^a-z0-9]+", plain(value)) if w]
    text = " ".join(words)
    if not words or text in table()["unknown"]:
        return None
    numbers = [_amount(n) for n in re.findall(r"\d+(?:[.,]\d+)?", value)]
    doses = _doses(plain(value))
    if any(amounts and not any(amounts) for amounts in (numbers, doses)) or text in table()["none"]:
        return False
    said = _statements(_without_signs(value) if any(doses) else value)
    if said == _BEFORE:
        return False
    if said == _EITHER and not any(doses):
        return None
    denied = words[0] in table()["none"] or (_is_word(words[0]) and words[0] in table()["without"])
    return None if denied and said != _AFTER else True


def _amount(number: str) -> float:
    return float(number.replace(",", "."))


def _doses(text: str) -> list[float]:
    """Doses in a text, but not that of a flush ("20 ml NaCl", "NaCl 20 ml") and no concentration ("1 mmol/ml")."""
    dose_first = text[:1].isdigit()
    found = []
    for dose in _DOSE.finditer(text):
        before, behind = (re.findall("[a-z]+", part) for part in (text[: dose.start()], text[dose.end() :]))
        fluid = behind[:1] if dose_first else before[-1:]
        if not table()["flushes"].intersection(fluid):
            found.append(_amount(dose["amount"]))
    return found


def _without_signs(value: str) -> str:
    """Without zero doses, signs and "free": "Gadovist 7 ml (-)" was given. Other denials in words stay."""
    signs = rf"{OFF}|(?<![\d.,]){NIL}\s*(?:ml|cc|mmol)\b|(?<!\S)-(?!\S)|-\s*$|\bminus\b"
    return re.sub(rf"{signs}|\b(?:{'|'.join(table()['free'])})\b", " ", plain(value))


def _statements(name: str) -> frozenset[Said]:
    """Everything that a name says. A word of doubt ("if needed", "refused") opens "after", but never "before"."""
    tokens = tokens_of(name)
    said = _SILENT.union(*_each(tokens))
    doubtful = any(phrase_at(tokens[i:], "doubtful") for i in range(len(tokens)))
    return _EITHER if doubtful and Said.AFTER in said else said


def _each(tokens: Sequence[str]) -> Iterator[frozenset[Said]]:
    position = 0
    while position < len(tokens):
        said, length = _statement(tokens[position:])
        position += length
        yield _EITHER if said and tokens[position : position + 1] == ["<question>"] else said


def _statement(tokens: Sequence[str]) -> _Statement:
    silent = phrase_at(tokens, "neutral")
    if silent:
        return _SILENT, silent
    for rule in (_either, _unclear, _beside_a_word, _beside_a_sign, _denied_behind, _alone):
        said, length = rule(tokens)
        if length:
            return said, length
    return _glued(tokens[0]), 1


def _either(tokens: Sequence[str]) -> _Statement:
    """Read "with and without contrast", "o. + m. KM", "KM +/-" and "+/- KM"."""
    agent = agent_at(tokens)
    if "<both>" in (tokens[0], *tokens[agent : agent + 1]):
        behind = agent_at(tokens[agent + 1 :])
        return (_EITHER if agent or behind else _SILENT), agent + 1 + behind
    both = phrase_at(tokens, "either")
    if both:
        return _EITHER, both
    letters = tokens[0].split("/")
    opposite = _opposite([_LETTERS.get(t, t) for t in (*letters, *tokens[1:])])
    return (_EITHER, opposite - len(letters) + 1) if opposite else _NO_RULE


def _opposite(tokens: Sequence[str]) -> int:
    """Tokens of "with and without", with the agent behind it; 0 for anything else.

    Single letters need the agent. Without "and", "sin con" and "non con" may be "without contrast".
    """
    first, start = _preposition(tokens)
    joined = int(tokens[start : start + 1] == ["<plus>"]) or phrase_at(tokens[start:], "and")
    for between in (joined, 0) if start else ():
        rest = tokens[start + between :]
        second, length = _preposition(rest)
        if not length or second == first or (not between and len(rest[0]) > 1 and agent_at(rest)):
            continue
        words = _is_word(tokens[0]) and _is_word(rest[0])
        agent = _agent_after(rest[length:]) if words else phrase_at(rest[length:], "agents")
        if agent or (words and length == len(rest)):
            return start + between + length + agent
    return 0


def _preposition(tokens: Sequence[str]) -> _Statement:
    """The longest one counts: the Persian "pas az" is "after", the French "pas" is "no"."""
    found = [(said, phrase_at(tokens, words)) for words, said in _PREPOSITIONS]
    return max(found, key=lambda statement: statement[1])


def _unclear(tokens: Sequence[str]) -> _Statement:
    """Read what may deny the agent or not ("- C" in a name, "_-KM", "S KM", "ohne tra KM", "sense Gd"), and dashes."""
    agent = agent_at(tokens[1:])
    if tokens[0] == "<joint>":
        return (_EITHER if phrase_at(tokens[1:], "agents") else _BEFORE), 1 + agent
    if phrase_at(tokens, "ambiguous"):
        return (_EITHER, 1 + agent) if agent else _NO_RULE
    if tokens[0] == "<zero>" and agent:
        return _EITHER, 1 + agent
    without = phrase_at(tokens, "without") if _is_word(tokens[0]) else 0
    between = phrase_at(tokens[without:], "acquisition") if without else 0
    if between and agent_at(tokens[without + between :]):
        return _EITHER, without + between + agent_at(tokens[without + between :])
    return _behind_a_dash(tokens) if tokens[0] == "<dash>" else _NO_RULE


def _behind_a_dash(tokens: Sequence[str]) -> _Statement:
    if any(phrase_at(tokens[1:], words) for words in ("before_alone", "without")):
        return _SILENT, 1
    start = 2 if tokens[1:2] == ["sense"] else 1
    rest = tokens[start:]
    if rest and any(rule(rest)[1] for rule in (_beside_a_word, _beside_a_sign, _denied_behind)):
        return _SILENT, start  # "- con KM", "- C+"
    if start == 1 and rest and len(rest[0]) > 1:
        return _SILENT, start  # "- KM": a dash
    agent = _agent_after(rest)
    return (_EITHER if agent else _SILENT), start + agent


def _beside_a_word(tokens: Sequence[str]) -> _Statement:
    """Read "ohne KM" and "post Gd"."""
    said, length = _preposition(tokens)
    if not length:
        return _NO_RULE
    length += tokens[length : length + 1] in (["<dash>"], ["<aside>"])
    rest = tokens[length:]
    agent = _agent_after(rest) if len(tokens[0]) > 1 else _agent_in_a_row(rest, agent_at(rest))  # "S to I Gd"
    if not agent:
        return _NO_RULE
    denied = _denied(rest[agent:])[1] if said == _AFTER else 0
    denied = denied or int(len(tokens[0]) == 1 and rest[agent : agent + 1] == ["<->"])  # "p KM-"
    return (_EITHER if denied else said), length + agent + denied


def _beside_a_sign(tokens: Sequence[str]) -> _Statement:
    """Read "+C", "-C", "C+" and "C-"."""
    if tokens[0] in _SIGNS and agent_at(tokens[1:]):
        length = 1 + agent_at(tokens[1:])
        also = _SIGNS_BEHIND.get("".join(tokens[length : length + 1]), _SILENT)
        return _SIGNS[tokens[0]] | also, length + bool(also)
    agent = agent_at(tokens)
    behind = tokens[agent] if 0 < agent < len(tokens) else ""
    if behind in _SIGNS_BEHIND:
        return _SIGNS_BEHIND[behind], agent + 1
    if behind == "<plus>" and not agent_at(tokens[agent + 1 :]):
        return _AFTER, agent + 1
    if behind in ("<aside>", "<question>") or (
        agent and list(tokens[agent:]) == ["<dash>"]
    ):  # "KM (-) fs"; "KM -"
        return _EITHER, agent + 1
    return _NO_RULE


def _denied_behind(tokens: Sequence[str]) -> _Statement:
    """Read "KM nein", "Gd-free" and "KM 0"."""
    agent = agent_at(tokens)
    free = phrase_at(tokens[agent + 1 :], "free") if agent and tokens[agent : agent + 1] == ["<hyphen>"] else 0
    if free:
        return _BEFORE, agent + 1 + free
    agent = _agent_in_a_row(tokens, phrase_at(tokens, "agents"))
    said, denied = _denied(tokens[agent:]) if agent else _NO_RULE
    return (said, agent + denied) if denied else _NO_RULE


def _denied(tokens: Sequence[str]) -> _Statement:
    """Read what denies the agent before it, or may deny it."""
    start = int(tokens[:1] in (["<break>"], ["<dash>"], ["<hyphen>"]))
    rest = tokens[start:]
    if not rest or phrase_at(rest, "neutral"):
        return _NO_RULE
    for said, length in ((_BEFORE, _denial(rest)), (_EITHER, _open_denial(rest))):
        if length:
            return said, start + length
    return _NO_RULE


def _denial(tokens: Sequence[str]) -> int:
    """Tokens of "nein" and "nicht verabreicht", and of "no" and "frei" at the end; 0 if there is no denial."""
    none = 0 if phrase_at(tokens, "none_nowhere") else phrase_at(tokens, "none")
    if none and not phrase_at(tokens[none:], "flushes"):
        sure = none > 1 or phrase_at(tokens, "none_anywhere")
        if sure or _ends(tokens[none:]):
            return none
    without = phrase_at(tokens, "without") if len(tokens[0]) > 1 else 0
    given = phrase_at(tokens[without:], "given") if without else 0
    if given:
        return without + given
    free = phrase_at(tokens, "free_alone")
    return free if _ends(tokens[free:]) else 0


def _open_denial(tokens: Sequence[str]) -> int:
    """Tokens of "0", of "frei" before other words, of "ohne" before "tra", and of "vor" and "n/a" at the end; or 0."""
    free = phrase_at(tokens, "free_alone") or int(tokens[0] == "<zero>")
    if free:
        return free
    last = (
        phrase_at(tokens, "unknown")
        or phrase_at(tokens, "free")
        or (phrase_at(tokens, "before") if len(tokens[0]) > 1 else 0)
    )
    if last and _ends(tokens[last:]):
        return last
    word = max(phrase_at(tokens, "none"), phrase_at(tokens, "without")) if len(tokens[0]) > 1 else 0
    return word if word and phrase_at(tokens[word:], "acquisition") else 0


def _ends(tokens: Sequence[str]) -> bool:
    return not tokens or tokens[0] == "<break>"


def _alone(tokens: Sequence[str]) -> _Statement:
    """Read words that are enough on their own."""
    if _is_free_of_agent(tokens[0]):
        return _BEFORE, 1
    for words, said in (("before_alone", _BEFORE), ("after_alone", _AFTER), ("agents", _AFTER)):
        length = phrase_at(tokens, words)
        if length:
            return said, length
    if len(tokens) == 1 and tokens[0] in table()["before_at_the_end"]:
        return _BEFORE, 1
    without = phrase_at(tokens, "without")
    given = phrase_at(tokens[without:], "given") if without else 0
    return (_EITHER, without + given) if given else _NO_RULE  # "KM wurde nicht gegeben"


def _is_free_of_agent(word: str) -> bool:
    """True for "kontrastmittelfrei"."""
    return any(word.endswith(free) and phrase_at([word.removesuffix(free)], "agents") for free in table()["free"])


def _glued(word: str) -> frozenset[Said]:
    """What a word such as "postgd" or "oKM" says."""
    for words, said in _PREPOSITIONS:
        for start in table()[words]:
            if word.startswith(start) and phrase_at([word[len(start) :]], "agents"):
                return said
    return _SILENT


def _agent_after(tokens: Sequence[str]) -> int:
    """Tokens up to the agent, if it follows directly or behind words such as "de" and "mezzo di".

    All names of the agent in a row are one: "i.v. KM", "injection de gado".
    """
    return _agent_in_a_row(tokens, agent_at(tokens) or _next_agent(tokens))


def _agent_in_a_row(tokens: Sequence[str], end: int) -> int:
    while end and (further := _next_agent(tokens[end:])):
        end += further
    return end


def _next_agent(tokens: Sequence[str]) -> int:
    skipped = 0
    while skipped < min(len(tokens), _MOST_BETWEEN + 1):
        rest = tokens[skipped:]
        agent = phrase_at(rest, "agents")
        if agent:
            return skipped + agent
        between = phrase_at(rest, "between") or phrase_at(rest, "given")
        if not between:
            break
        skipped += between
    return 0


def _is_word(text: str) -> bool:
    """Single letters abbreviate "with" and "without" only directly before an agent, apart from the English w."""
    return len(text) > 1 or text == "w"
