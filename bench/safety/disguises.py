"""Nineteen ways to disguise a word, written from their descriptions and not from the normaliser's tables.

Look-alike letters come from another package's copy of Unicode's confusables, drawn by a seed; a twentieth way draws
from letters picked by eye that `safety/data/confusables.txt` does not hold.
"""

from __future__ import annotations

import base64
import random
import unicodedata
from collections.abc import Callable, Mapping

from confusable_homoglyphs import confusables

from safety.normalise import CONFUSABLES

Disguise = Callable[[str, random.Random], str]
_LEET = {"a": "4@", "b": "8", "e": "3", "g": "9", "i": "1!", "l": "1", "o": "0", "s": "5$", "t": "7"}
# Picked by eye from the Latin Extended, IPA, phonetic and enclosed blocks.
_BY_EYE = {
    "a": "ạąⱥᶏ", "b": "ɓƃᵬ", "c": "ƈȼɕ", "d": "ɗƌᵭ", "e": "ęẹɇ", "f": "ƒᵮᶂ", "g": "ǥɠᶃ",
    "h": "ɦⱨḥ", "i": "ịįᵻ", "j": "ɉʝǰ", "k": "ƙⱪᶄ", "l": "ɭɫƚ", "m": "ɱᵯᶆ", "n": "ɲƞᵰ",
    "o": "ǫọɵ", "p": "ƥᵽᵱ", "q": "ɋʠ", "r": "ɽɍᵲ", "s": "ʂșᵴ", "t": "ƭʈț", "u": "ųụᵾ",
    "v": "ʋᶌṿ", "w": "ⱳẉŵ", "x": "ẋẍᶍ", "y": "ƴɏỵ", "z": "ȥƶʐ",
}  # fmt: skip
_VOWELS = "aeiou"


def _each_letter(change: Callable[[str], str]) -> Callable[[str], str]:
    return lambda word: "".join(change(char) if char.isascii() and char.isalpha() else char for char in word)


def _unicode_look_alikes(letter: str) -> list[str]:
    entries = confusables.confusables_data.get(letter, [])
    found = [str(entry["c"]) for entry in entries]
    return [char for char in found if len(char) == 1 and not char.isascii() and char.isalpha()]


def _look_alikes(word: str, choose: random.Random) -> str:
    drawn = {letter: _unicode_look_alikes(letter) for letter in set(word)}
    return "".join(choose.choice(drawn[char]) if drawn[char] else char for char in word)


def _by_eye(word: str, choose: random.Random) -> str:
    table = set(CONFUSABLES.read_text(encoding="utf-8"))
    held_out = {letter: [char for char in picks if char not in table] for letter, picks in _BY_EYE.items()}
    return "".join(choose.choice(held_out[char]) if held_out.get(char) else char for char in word)


def _leet(word: str, choose: random.Random) -> str:
    return "".join(choose.choice(_LEET[char]) if char in _LEET else char for char in word)


def _stretched(word: str, choose: random.Random) -> str:
    place = choose.randrange(len(word))
    return word[:place] + word[place] * choose.randint(3, 6) + word[place + 1 :]


def _inside(word: str, choose: random.Random) -> int:
    """A place between two letters."""
    places = [index for index in range(1, len(word)) if word[index] != " " and word[index - 1] != " "]
    return choose.choice(places)


def _cut(word: str, choose: random.Random, gap: str) -> str:
    place = _inside(word, choose)
    return word[:place] + gap + word[place:]


def _swapped(word: str, choose: random.Random) -> str:
    place = _inside(word, choose)
    return word[: place - 1] + word[place] + word[place - 1] + word[place + 1 :]


def _without_vowels(word: str, _choose: random.Random) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFKD", word) if not unicodedata.combining(char))
    return "".join(char for char in plain if char not in _VOWELS)


DISGUISES: Mapping[str, Disguise] = {
    "as it is": lambda word, _: word,
    "upper case": lambda word, _: word.upper(),
    "look-alike letters": _look_alikes,
    "leet": _leet,
    "zero-width spaces": lambda word, _: "\u200b".join(word),
    "soft hyphens": lambda word, _: "\u00ad".join(word),
    "dots": lambda word, _: ".".join(word),
    "full width": lambda word, _: _each_letter(lambda char: chr(ord(char) + 0xFEE0))(word),
    "mathematical bold": lambda word, _: _each_letter(lambda char: chr(0x1D41A + ord(char) - ord("a")))(word),
    "combining marks": lambda word, _: "".join(char + "\u0336" for char in word),
    "backwards": lambda word, _: word[::-1],
    "base64": lambda word, _: base64.b64encode(word.encode()).decode(),
    "weights": lambda word, choose: f"({word}:{choose.choice(('0.8', '1.1', '1.45'))})",
    "hyphen inside": lambda word, choose: _cut(word, choose, "-"),
    "stretched": _stretched,
    "spaced letters": lambda word, _: " ".join(word.replace(" ", "")),
    "split in two": lambda word, choose: _cut(word, choose, " "),
    "letters swapped": _swapped,
    "vowels dropped": _without_vowels,
}
GUESSWORK = ("spaced letters", "split in two", "letters swapped", "vowels dropped")
HELD_OUT: Mapping[str, Disguise] = {"look-alikes by eye, none of them in the table": _by_eye}
