"""Words for contrast agent in the name of a series and in ContrastBolusAgent.

The words of eleven languages are in ``mri_pipeline/data/contrast_words.toml``. A name is split at word boundaries.
Words that deny the agent ("ohne KM", "w/o contrast") are matched before the agent itself.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from importlib.resources import files

_LONGEST_PHRASE = 3
_PLUS, _MINUS, _BOTH = "+", "~", "±"
_UNCLEAR, _ASIDE, _BREAK, _HYPHEN = "?", "∓", "/", "¬"
_DASHES = dict.fromkeys(map(ord, "‐‑‒–—−"), "-")  # noqa: RUF001
_ZERO = r"0+(?:[.,]0+)?"
_OFF = r"[(\[]\s*-\s*[)\]]"
_SIGNS = (
    (re.compile(r"(?<![a-z])(t1|t2|pd)w(?![a-z/])"), r"\1 "),  # the w of T1w is no "with"
    (re.compile(r"(?<![a-z])w\s*/\s*o(?:ut)?(?![a-z])"), " without "),
    (re.compile(r"(?<![a-z])(t1)c(?![a-z])"), r"\1 + c"),
    (re.compile(rf"(?<=[a-z])\s*[:=]\s*(?:-\s*$|{_ZERO}(?![.,:]?\d)|no?(?![a-z]))"), " nil "),  # "KM=0", "Gd: no"
    (re.compile(rf"(?<![\d.,]){_ZERO}\s*(?:ml|cc|mmol)\b(?!\s*/\s*s)"), " nil "),
    (re.compile(rf"^\W*(?:t1\W*)?{_OFF}|(?<=[a-z])\s*{_OFF}\s*$"), f" {_MINUS} "),  # "(-) KM", "KM [-]"
    (re.compile(_OFF), f" {_ASIDE} "),  # "FS (-) KM"
    (re.compile(r"\+\s*/\s*-"), f" {_BOTH} "),
    (re.compile(r"\+"), f" {_PLUS} "),
    (re.compile(r"(?<![a-z0-9+/])-(?=[a-z])"), f" {_HYPHEN} "),  # " -C"; not "T1-Gd"
    (re.compile(r"(?<=[a-z])-(?![a-z0-9])"), f" {_MINUS} "),  # "C-"; not "Gd-DOTA"
    (re.compile(r"(?<!\S)-(?!\S)"), f" {_UNCLEAR} "),  # "T1 - C", "KM -": a minus or a dash
    (re.compile(r"[,;]"), f" {_BREAK} "),
)
_TOKEN = re.compile(rf"[a-z]+|[{_PLUS}{_MINUS}{_BOTH}{_UNCLEAR}{_ASIDE}{_BREAK}{_HYPHEN}]")
_SENSE = re.compile(r"(?<![a-z])(?<!cs[ _-])(?<!compressed[ _-])(?<!c-)sense(?![a-z])", re.IGNORECASE)
_PHILIPS = re.compile(r"t1w_|[tf]fe|(?<![a-z])wip(?![a-z])", re.IGNORECASE)
_DOSE = re.compile(r"(?P<amount>\d+(?:[.,]\d+)?)\s*(?:ml|cc|mmol)(?![a-z]|\s*/\s*(?:m?l|s))")


class Said(StrEnum):
    """What the name of a series says about contrast agent."""

    BEFORE = "before contrast"
    AFTER = "after contrast"


_SIGNED = {_PLUS: Said.AFTER, _MINUS: Said.BEFORE}
_PREPOSITIONS = (
    ("without", Said.BEFORE), ("before", Said.BEFORE), ("after", Said.AFTER), ("with", Said.AFTER),
)  # fmt: skip


@cache
def _table() -> Mapping[str, frozenset[str]]:
    text = (files("mri_pipeline") / "data" / "contrast_words.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    values = table.pop("values")
    return {name: frozenset(words) for name, words in (table | values).items()}


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
        None if the name says nothing, or both ("with and without contrast").

    Examples
    --------
    >>> said_of_contrast("t1_se_tra m.KM").value, said_of_contrast("AX T1 W/O CONTRAST").value
    ('after contrast', 'before contrast')
    >>> said_of_contrast("T1 posterior fossa") is None
    True
    """
    for part in name.split(" | "):
        said = set(_statements(_tokens(part)))
        if said:
            return said.pop() if len(said) == 1 else None
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
        False if it states that none was given. None if it is empty, only punctuation or not recognised, or if it denies
        something other than an agent ("no flush").

    Examples
    --------
    >>> agent_given("Gd-DOTA"), agent_given("no contrast"), agent_given("n/a")
    (True, False, None)
    """
    words = [w for w in re.split(r"[^a-z0-9]+", _plain(value)) if w]
    text = " ".join(words)
    if not words or text in _table()["unknown"]:
        return None
    numbers = [_amount(n) for n in re.findall(r"\d+(?:[.,]\d+)?", value)]
    doses = _doses(_plain(value))
    said = said_of_contrast(_without_signs(value) if any(doses) else value)
    if any(amounts and not any(amounts) for amounts in (numbers, doses)) or text in _table()["none"]:
        return False
    if not any(doses) and re.search(r"\s-\s*$", _plain(value)):
        return None  # a minus or a dash
    if said is Said.BEFORE:
        return False
    denied = words[0] in _table()["none"] or (_is_word(words[0]) and words[0] in _table()["without"])
    return None if denied and said is not Said.AFTER else True


def _amount(number: str) -> float:
    return float(number.replace(",", "."))


def _doses(text: str) -> list[float]:
    """Doses in a text, but not that of a flush ("20 ml NaCl", "NaCl 20 ml") and no concentration ("1 mmol/ml")."""
    dose_first = text[:1].isdigit()
    found = []
    for dose in _DOSE.finditer(text):
        before, behind = (re.findall("[a-z]+", part) for part in (text[: dose.start()], text[dose.end() :]))
        fluid = behind[:1] if dose_first else before[-1:]
        if not _table()["flushes"].intersection(fluid):
            found.append(_amount(dose["amount"]))
    return found


def _without_signs(value: str) -> str:
    """Without zero doses and signs: "Gadovist 7 ml (-)" was given. Denials in words stay."""
    return re.sub(rf"{_OFF}|(?<![\d.,]){_ZERO}\s*(?:ml|cc|mmol)\b|-\s*$", " ", _plain(value))


def _plain(text: str) -> str:
    """Lower case without accents, with one kind of dash."""
    folded = text.lower().replace("ø", "oe").replace("æ", "ae").replace("ß", "ss")
    letters = (c for c in unicodedata.normalize("NFKD", folded) if not unicodedata.combining(c))
    return "".join(letters).translate(_DASHES)


def _tokens(name: str) -> list[str]:
    text = re.sub(f"[{_MINUS}{_UNCLEAR}{_ASIDE}{_HYPHEN}]", " ", name)
    if not _PHILIPS.search(text):
        text = _SENSE.sub(_catalan_or_philips, text)
    text = _plain(text).replace("_", " ")
    for pattern, replacement in _SIGNS:
        text = pattern.sub(replacement, text)
    found = _TOKEN.findall(text)
    found = [_MINUS if t == _HYPHEN and _agent(found[i + 1 :]) else t for i, t in enumerate(found)]
    found = [t for t in found if t != _HYPHEN]  # "Gd -fs": the sign of another word
    return [t for i, t in enumerate(found) if t != _BREAK or _phrase(found[i - 1 : i], "agents")]


def _catalan_or_philips(sense: re.Match[str]) -> str:
    """Mark "sense" that may be the Catalan "without": in lower case, or at the start of a name."""
    start = not re.search("[A-Za-z]", sense.string[: sense.start()])
    return f" {_UNCLEAR} {sense[0]}" if start or not sense[0].isupper() else sense[0]


def _statements(tokens: Sequence[str]) -> Iterator[Said]:
    position = 0
    while position < len(tokens):
        said, length = _statement(tokens[position:])
        if said is not None:
            yield said
        position += length


def _statement(tokens: Sequence[str]) -> tuple[Said | None, int]:
    """What the beginning of a list of tokens says, and how many tokens that takes."""
    silent = _phrase(tokens, "neutral") or _unclear(tokens)
    if silent:
        return None, silent
    for rule in (_beside_a_word, _beside_a_sign, _alone):
        said, length = rule(tokens)
        if length:
            return said, length
    return _glued(tokens[0]), 1


def _unclear(tokens: Sequence[str]) -> int:
    """Tokens of "- C" between words and of "sense Gd", which may deny or not, and of a dash; 0 for anything else."""
    if tokens[0] != _UNCLEAR:
        return 0
    if any(_phrase(tokens[1:], words) for words in ("before_alone", "without")):
        return 1
    start = 2 if tokens[1:2] == ["sense"] else 1
    rest = tokens[start:]
    if rest and any(rule(rest)[1] for rule in (_beside_a_word, _beside_a_sign)):
        return start  # "- con KM", "- C+"
    if start == 1 and rest and len(rest[0]) > 1:
        return start  # "- KM": a dash
    return start + _agent_after(rest)


def _beside_a_word(tokens: Sequence[str]) -> tuple[Said | None, int]:
    """Read "ohne KM", "post Gd", and the first half of "with and without contrast"; length 0 for anything else."""
    for words, said in _PREPOSITIONS:
        length = _phrase(tokens, words)
        if not length:
            continue
        length += tokens[length : length + 1] in ([_UNCLEAR], [_ASIDE])
        rest = tokens[length:]
        agent = _agent_after(rest) if len(tokens[0]) > 1 else _agent_in_a_row(rest, _agent(rest))  # "S to I Gd"
        denied = _denial(rest[agent:]) if agent and said is Said.AFTER else 0
        if denied:
            return None, length + agent + denied
        if agent or (_is_word(tokens[0]) and _other_follows(rest)):
            return said, length + agent
    return None, 0


def _beside_a_sign(tokens: Sequence[str]) -> tuple[Said | None, int]:
    """Read "+C", "-C", "C+", "C-", "+/- KM" and "KM nein"; length 0 for anything else."""
    if tokens[0] == _BOTH:
        return None, 1 + _agent(tokens[1:])
    if tokens[0] in _SIGNED and _agent(tokens[1:]):
        return _SIGNED[tokens[0]], 1 + _agent(tokens[1:])
    agent = _agent(tokens)
    if not agent or len(tokens) == agent:
        return None, 0
    behind = tokens[agent]
    if behind == _ASIDE or list(tokens[agent:]) == [_UNCLEAR]:  # "KM (-) fs" denies one of both; "KM -"
        return None, agent + 1
    if behind in _SIGNED and not _agent(tokens[agent + 1 :]):
        return _SIGNED[behind], agent + 1
    agent = _phrase(tokens, "agents")
    denied = _denial(tokens[agent:]) if agent else 0
    return (Said.BEFORE, agent + denied) if denied else (None, 0)


def _denial(tokens: Sequence[str]) -> int:
    """Tokens that deny the agent before them: "nein", "nicht verabreicht", "no" at the end; 0 if none do."""
    if not tokens:
        return 0
    start = int(tokens[0] in (_BREAK, _UNCLEAR))
    rest = tokens[start:]
    length = 0 if _phrase(rest, "none_nowhere") else _phrase(rest, "none")
    if not _phrase(rest[length:], "flushes") and (
        length > 1 or (length and length == len(rest)) or _phrase(rest, "none_anywhere")
    ):
        return start + length
    word = _phrase(rest, "without")
    given = _phrase(rest[word:], "given") if word and len(rest[0]) > 1 else 0
    return start + word + given if given else 0


def _alone(tokens: Sequence[str]) -> tuple[Said | None, int]:
    """Words that are enough on their own; length 0 for anything else."""
    for words, said in (
        ("before_alone", Said.BEFORE), ("after_alone", Said.AFTER), ("agents", Said.AFTER),
    ):  # fmt: skip
        length = _phrase(tokens, words)
        if length:
            return said, length
    if len(tokens) == 1 and tokens[0] in _table()["before_at_the_end"]:
        return Said.BEFORE, 1
    return None, 0


def _glued(word: str) -> Said | None:
    """What a word such as "postgd" or "oKM" says."""
    for words, said in _PREPOSITIONS:
        for start in _table()[words]:
            if word.startswith(start) and _phrase([word[len(start) :]], "agents"):
                return said
    return None


def _agent_after(tokens: Sequence[str]) -> int:
    """Tokens up to the agent, if it follows directly or behind words such as "de" and "mezzo di".

    All names of the agent in a row are one: "i.v. KM", "injection de gado".
    """
    return _agent_in_a_row(tokens, _agent(tokens) or _next_agent(tokens))


def _agent_in_a_row(tokens: Sequence[str], end: int) -> int:
    while end and (further := _next_agent(tokens[end:])):
        end += further
    return end


def _next_agent(tokens: Sequence[str]) -> int:
    skipped = 0
    while skipped < min(len(tokens), _LONGEST_PHRASE + 1):
        rest = tokens[skipped:]
        agent = _phrase(rest, "agents")
        if agent:
            return skipped + agent
        between = _phrase(rest, "between") or _phrase(rest, "given")
        if not between:
            break
        skipped += between
    return 0


def _other_follows(tokens: Sequence[str]) -> bool:
    rest = tokens[1:] if tokens and tokens[0] in _table()["and"] else tokens
    return bool(rest) and _is_word(rest[0]) and any(_phrase(rest, words) for words, _ in _PREPOSITIONS)


def _is_word(text: str) -> bool:
    """Single letters abbreviate "with" and "without" only directly before an agent, apart from the English w."""
    return len(text) > 1 or text == "w"


def _agent(tokens: Sequence[str]) -> int:
    return _phrase(tokens, "agents") or _phrase(tokens, "agents_beside_a_word")


def _phrase(tokens: Sequence[str], name: str) -> int:
    """Number of tokens of the longest phrase of a list at the beginning of the tokens; 0 if there is none."""
    words = _table()[name]
    for length in range(min(_LONGEST_PHRASE, len(tokens)), 0, -1):
        phrase = " ".join(tokens[:length])
        shortest = max(2, phrase.rfind(" ") + 2)  # a beginning belongs to one word
        if phrase in words or any(phrase[:n] + "*" in words for n in range(shortest, len(phrase) + 1)):
            return length
    return 0
