"""Split the name of a series into words and marks for `contrast_words`.

The words are in ``mri_pipeline/data/contrast_words.toml``. A mark is a token in angle brackets: a sign, a dash, the end
of a phrase, or a single letter that may be a direction.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files

_LONGEST_PHRASE = 3
NIL = r"0+(?:[.,]0+)?"
OFF = r"[(\[]\s*-\s*[)\]]"
_DASHES = dict.fromkeys("‐‑‒–—−", "-")  # noqa: RUF001
_MARKS = str.maketrans(_DASHES | dict.fromkeys("÷∅", " minus ") | dict.fromkeys("∕⁄", "/"))  # noqa: RUF001
_SPELLINGS = (
    (re.compile(r"_(?!-[a-z])"), " "),
    (re.compile(r"(?<![a-z])v\.?\s*\d+(?:[.,]\d+)*+(?![a-z\d])"), " "),  # a version: "V2.0 KM"
    (re.compile(r"(?<=[a-z])-(?=free[ _-]*(?:breath|hand)|freie|less[ _-])"), " "),  # "GD-free breathing"
    (re.compile(r"(?<![a-z])(t1|t2|pd)w(?![a-z/])-*"), r"\1 "),  # the w of T1w is no "with"
    (re.compile(r"(?<![a-z])w(?:\s*[/\\]\s*|[ .-])o(?:ut)?(?![a-z])"), "without"),
    (re.compile(r"(?<![a-z])(t1)c(?![a-z])"), r"\1+c"),
    (re.compile(r"(?<![a-z])[ie][. ]{0,2}v(?![a-z])"), "iv"),
    (re.compile(r"\./\."), " minus "),
    (re.compile(r"(?<![a-z+])[chipr]/o(?![a-z])"), " "),  # "r/o MS"
    (re.compile(r"(?<![a-z])[a-su-z]\d+(?![.,]?\d)"), " "),  # "p2", "C7"
    (re.compile(r"(?<![a-z])n[or]?[.° ]*[1-9]\d*+(?![a-z]|[.,]\d|\s*(?:ml|cc|mmol))"), " "),  # "no. 2"
    (re.compile(rf"(?<=[a-z])\s*[:=]\s*(?:-\s*$|{NIL}(?![.,:]?\d)|no?(?![a-z]))"), " nil "),  # "KM=0", "Gd: no"
    (re.compile(rf"(?<![\d.,]){NIL}\s*(?:ml|cc|mmol)(?![a-z]|\s*/\s*s)"), " nil "),
    (re.compile(r"\d+(?:[.,]\d+)?\s*(?:ml|cc|mmol)(?![a-z])"), " "),
    (re.compile(rf"^\W*(?:t1\W*)?{OFF}\s*(?=[a-z])"), " -"),  # "(-) KM"
    (re.compile(rf"(?<=[a-z])\s*{OFF}\s*$"), "- "),  # "KM [-]"
    (re.compile(r"([(\[])\s*-\s+(?=[a-z])"), r"\1-"),  # "(- KM)"
)
_TOKENS = re.compile(
    r"""
      (?P<direction>(?<![a-z0-9])[aefhilprsuz]\s?(?:-|-?>|\bto\b)\s?[aefhilprsuz](?![a-z]))  # "S-I", "F to H"
    | (?P<letters>(?<![a-z0-9])[aefhilprsuz]/[aefhilprsuz](?![a-z]))  # "S/A"
    | (?P<bare>(?<![a-z])[sfv](?=[ -]))  # "S Gd", "5s Gd"; not "s. Gd"
    | (?P<word>[23]d(?![a-z])|[a-z]+)
    | (?P<both>\+(?:\s*/\s*)?-|-(?:\s*/\s*)?\+|±)
    | (?P<aside>[(\[]\s*-\s*[)\]])
    | (?P<dashes>--+|-?->|=>)
    | (?P<behind>(?<=[a-z])[-+](?![a-z0-9]))  # "C-"; not "Gd-DOTA"
    | (?P<hyphen>(?<=[a-z])-(?=[a-z]))
    | (?P<joint>(?:_|(?<=[:;,]\s))-(?=[a-z]))
    | (?P<dash>(?<!\S)-(?!\S))
    | (?P<minus>(?:(?<![^\s(\[])|(?<=[a-z]/))-(?=[a-z]))  # " -C"; not "T1-Gd"
    | (?P<plus>\+)
    | (?P<question>\?)
    | (?P<zero>(?<![\d.,:/-])0(?:[.,]0+)?(?!\s*(?:[-.,:]?\s*\d|(?:s|sec|min|deg|grad|mm)(?![a-z])|[°'%])))
    | (?P<break>[,;/&)\]])
    """,
    re.VERBOSE,
)
_SENSE = re.compile(r"(?<![a-z])(?<!cs[ _-])(?<!compressed[ _-])(?<!c-)sense(?![a-z])", re.IGNORECASE)
_PHILIPS = re.compile(r"t1w_|[tf]fe|(?<![a-z])wip(?![a-z])", re.IGNORECASE)


@cache
def table() -> Mapping[str, frozenset[str]]:
    """Words of ``contrast_words.toml``.

    Returns
    -------
    mapping of str to frozenset of str
        By the name of the list.
    """
    text = (files("mri_pipeline") / "data" / "contrast_words.toml").read_text(encoding="utf-8")
    lists = tomllib.loads(text)
    values = lists.pop("values")
    return {name: frozenset(words) for name, words in (lists | values).items()}


def plain(text: str) -> str:
    """Lower case without accents, with one kind of dash; a division sign is a minus.

    Parameters
    ----------
    text : str

    Returns
    -------
    str
    """
    lower = re.sub(r"(?<![^\W_])ø(?![^\W_])", " minus ", text.lower())
    folded = lower.replace("ø", "oe").replace("æ", "ae").replace("ß", "ss")
    letters = (
        c
        for c in unicodedata.normalize("NFKD", folded)
        if not unicodedata.combining(c) and unicodedata.category(c) != "Cf"
    )
    return "".join(letters).translate(_MARKS)


def tokens_of(name: str) -> list[str]:
    """Words, and marks in angle brackets. Signs and hyphens of words other than the agent are left out.

    Parameters
    ----------
    name : str

    Returns
    -------
    list of str

    Examples
    --------
    >>> tokens_of("AX T1 FS- KM+"), tokens_of("Gd-free")
    (['ax', 't', 'fs', 'km', '<+>'], ['gd', '<hyphen>', 'free'])
    """
    text = name if _PHILIPS.search(name) else _SENSE.sub(_catalan_or_philips, name)
    text = plain(text)
    for pattern, replacement in _SPELLINGS:
        text = pattern.sub(replacement, text)
    found: list[str] = []
    for match in _TOKENS.finditer(text):
        found += _read(match, found)
    return [t for i, t in enumerate(found) if _belongs_to_agent(t, found[i + 1 :])]


def _read(match: re.Match[str], found: Sequence[str]) -> list[str]:
    """Tokens of a match behind the tokens found so far."""
    kind = match.lastgroup
    behind_agent = bool(agent_at(found[-1:]))
    if kind in ("word", "letters"):
        return [match[0]]
    if kind == "bare":
        return [f"<{match[0]}>"]
    if kind == "behind":
        first = (
            match[0] == "-"
            and phrase_at(found, "agents") == len(found)
            and re.match(r"\s+\w", match.string[match.end() :])
        )
        return ["<aside>" if first else f"<{match[0]}>"] if behind_agent else []  # "FS-"; "KM- T1"
    if kind == "break":
        denied = len(found) > 1 and phrase_at(found[-2:], "agents") and phrase_at(found[-1:], "none")
        return ["<break>"] if phrase_at(found[-1:], "agents") or (denied and match[0] != "/") else []
    return [] if kind in ("direction", "dashes") else [f"<{kind}>"]


def _belongs_to_agent(mark: str, rest: Sequence[str]) -> bool:
    if mark in ("<minus>", "<joint>"):
        return bool(agent_at(rest))
    return mark != "<hyphen>" or bool(phrase_at(rest, "free"))


def _catalan_or_philips(sense: re.Match[str]) -> str:
    """Mark "sense" that may be the Catalan "without": in lower case, or at the start of a name."""
    start = not re.search("[A-Za-z]", sense.string[: sense.start()])
    return f" - {sense[0]}" if start or not sense[0].isupper() else sense[0]


def agent_at(tokens: Sequence[str]) -> int:
    """Number of tokens of an agent at the beginning, "C" and "IV" included.

    Parameters
    ----------
    tokens : sequence of str

    Returns
    -------
    int
        0 if there is none.
    """
    return phrase_at(tokens, "agents") or phrase_at(tokens, "agents_beside_a_word")


def phrase_at(tokens: Sequence[str], name: str) -> int:
    """Number of tokens of the longest phrase of a list at the beginning of the tokens.

    Parameters
    ----------
    tokens : sequence of str
    name : str
        Name of the list in `table`.

    Returns
    -------
    int
        0 if there is none.
    """
    words = table()[name]
    for length in range(min(_LONGEST_PHRASE, len(tokens)), 0, -1):
        phrase = " ".join(tokens[:length])
        shortest = max(2, phrase.rfind(" ") + 2)  # a beginning belongs to one word
        if phrase in words or any(phrase[:n] + "*" in words for n in range(shortest, len(phrase) + 1)):
            return length
    return 0
