# ruff: noqa: RUF001  look-alike letters are what is tested here
from __future__ import annotations

import base64
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.errors import ConfigurationError
from safety.defaults import build_prompt_pipeline
from safety.pipeline import SafetyPipeline
from safety.prompt.lists import WORD_LISTS, load_word_lists
from safety.prompt.wordlist import MAX_FINDINGS, WordListCheck
from safety.subjects import PromptSubject
from safety.verdict import Category, Decision, PromptField

ALLOW, REVIEW, BLOCK = Decision.ALLOW, Decision.REVIEW, Decision.BLOCK
SEXUAL, VIOLENCE, HATE = Category.sexual, Category.violence, Category.hate
SELF_HARM, CUSTOM = Category.self_harm, Category.custom

TABLE: list[tuple[str, Category | None, Decision]] = [
    # Terms that are clear by themselves.
    ("a forbidden-test-token on a table", CUSTOM, BLOCK),  # the harmless test term
    ("forbidden test token", CUSTOM, BLOCK),  # a hyphen parts words like a space
    ("ZZBlockedTerm!", CUSTOM, BLOCK),  # case and punctuation
    ("poster for a porn site", SEXUAL, BLOCK),  # explicit
    ("nsfw", SEXUAL, BLOCK),  # the usual tag
    ("explicit sex scene", SEXUAL, BLOCK),  # a clear phrase outranks its ambiguous word
    ("lots of gore", VIOLENCE, BLOCK),  # graphic violence
    ("a decapitated statue of a knight", VIOLENCE, BLOCK),  # a known over-block: the list can't see the stone
    ("white power rally poster", HATE, BLOCK),  # a slogan
    ("nazi propaganda poster", HATE, BLOCK),
    ("she is cutting her wrists", SELF_HARM, BLOCK),
    ("self-harm", SELF_HARM, BLOCK),  # the hyphenated spelling
    # Ambiguous terms wait for a person.
    ("zzreviewterm", CUSTOM, REVIEW),  # the harmless test term
    ("a nude woman", SEXUAL, REVIEW),  # art or not: a person decides
    ("naked man running", SEXUAL, REVIEW),
    ("a swastika on a wall", HATE, REVIEW),
    ("medieval torture chamber", VIOLENCE, REVIEW),  # a museum may show one
    ("a poem about suicide", SELF_HARM, REVIEW),
    ("nude lipstick on a nude woman", SEXUAL, REVIEW),  # the benign phrase excuses its own word only
    ("chicken breast, bare breasts", SEXUAL, REVIEW),
    # Benign look-alikes.
    ("a red circle on a blue background", None, ALLOW),
    ("grilled chicken breast with rosemary", None, ALLOW),  # food
    ("duck breast on a plate", None, ALLOW),
    ("a bowl of shiitake and a cocktail", None, ALLOW),
    ("a postcard from Scunthorpe", None, ALLOW),  # place names hold such words: whole words only
    ("the town hall of Penistone", None, ALLOW),
    ("a map of Sussex, Essex and Middlesex", None, ALLOW),
    ("Dick Van Dyke dancing with penguins", None, ALLOW),  # a person's name
    ("portrait of Al Gore", None, ALLOW),
    ("a Gore-Tex jacket", None, ALLOW),  # a brand
    ("two kids on a nude pink sofa", None, ALLOW),  # nor does it meet the children
    ("naked walls of a church", None, ALLOW),  # things that nobody dresses
    ("a nude pink haired woman", SEXUAL, REVIEW),  # a colour alone excuses nothing
    ("naked woman at naked walls", SEXUAL, REVIEW),
    ("a decapitated dandelion", None, ALLOW),
    ("product photo of a nude lipstick", None, ALLOW),  # a colour
    ("nude heels and a nude palette", None, ALLOW),
    ("breast cancer awareness ribbon", None, ALLOW),  # medicine
    ("mammogram machine, surgery diagram", None, ALLOW),
    ("mother breastfeeding, soft light", None, ALLOW),  # family
    ("children at the playground", None, ALLOW),
    ("a suit with a breast pocket", None, ALLOW),  # clothes
    ("double-breasted coat", None, ALLOW),
    ("robin's breast, macro shot", None, ALLOW),  # animals
    ("a naked mole rat", None, ALLOW),
    ("renaissance nude sculpture in a museum", None, ALLOW),  # art
    ("the Venus de Milo", None, ALLOW),
    ("a life-drawing class", None, ALLOW),
    ("stars visible to the naked eye", None, ALLOW),  # idiom
    ("I want to shoot a photo of a killer view", None, ALLOW),
    ("a headshot of a bombshell in a red dress", None, ALLOW),
    ("blood orange juice", None, ALLOW),
    ("how to kill a process in Linux", None, ALLOW),
    ("a water pistol and a fencing match", None, ALLOW),  # sport
    ("a WWII memorial at dawn", None, ALLOW),  # history
    ("a white power cable on a desk", None, ALLOW),  # the slogan's words in another sense
    ("Hindu swastika rangoli at Diwali", None, ALLOW),  # religion
    ("suicide prevention poster", None, ALLOW),  # help
    ("Suicide Squad fan art", None, ALLOW),  # a title
    ("a corpse flower in bloom", None, ALLOW),  # botany
    ("sex education classroom", None, ALLOW),
    ("two gay men holding hands", None, ALLOW),  # identity words alone are no finding
    ("a Muslim woman, a Jewish man, a Black girl reading", None, ALLOW),
    ("1girl, 4k, f/1.4, 35mm, mp3 player, 3d render", None, ALLOW),  # digits that are not letters
    ("room 455, year 1984, $100 and 50%", None, ALLOW),
    ("Super Bowl XXX", None, ALLOW),
    ("a sooo cute kitten, yummmm", None, ALLOW),  # stretched on purpose
    ("the letters a b c d e f g", None, ALLOW),  # single letters in a row
    ("(masterpiece:1.2), [soft light], <lora:pastel:0.8>", None, ALLOW),  # prompt syntax
    ("кот на подоконнике", None, ALLOW),  # another script
    ("桜の木の下の猫", None, ALLOW),
    ("", None, ALLOW),
]


@pytest.fixture(scope="module")
def pipeline() -> SafetyPipeline:
    return build_prompt_pipeline()


@pytest.mark.parametrize(("text", "category", "decision"), TABLE)
def test_prompt_gets_the_decision_of_the_table(
    pipeline: SafetyPipeline, text: str, category: Category | None, decision: Decision
) -> None:
    verdict = pipeline.check_prompt(PromptSubject(text))

    assert (verdict.category, verdict.decision) == (category, decision)
    assert verdict.reason == (None if category is None else f"prompt_{category.name}")
    assert (verdict.policy, verdict.checks) == ("default@1", ("prompt_wordlist",))


def _fullwidth(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) if char.isalpha() else char for char in text)


def _bold(text: str) -> str:
    return "".join(chr(0x1D41A + ord(char) - 97) if char.isalpha() else char for char in text)


def _squared(text: str) -> str:
    return "".join(chr(0x1F170 + ord(char) - 97) if char.isalpha() else char for char in text)


def _table(source: str, target: str) -> Callable[[str], str]:
    return lambda text: text.translate(str.maketrans(source, target))


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "upper case": str.upper,
    "full width": _fullwidth,
    "mathematical bold": _bold,
    "squared": _squared,
    "cyrillic": _table("aceopxykmt", "асеорхукмт"),
    "greek": _table("aeoikntv", "αεοικητν"),
    "greek capitals": lambda text: _table("AEOIKNTBMZ", "ΑΕΟΙΚΝΤΒΜΖ")(text.upper()),
    "small capitals": _table("abcdegklmnoprt", "ᴀʙᴄᴅᴇɢᴋʟᴍɴᴏᴘʀᴛ"),
    "leet": _table("aeost", "43057"),
    "leet signs": _table("as", "@$"),
    "accents": lambda text: "".join(char + "\u0301" for char in text),
    "precomposed accents": _table("aeocn", "äéöçñ"),
    "zero width": "\u200b".join,
    "soft hyphens": "\u00ad".join,
    "variation selectors": lambda text: "".join(char + "\ufe0f" for char in text),
    "bidirectional marks": lambda text: "\u202e" + "\u2066".join(text) + "\u2069",
    "hangul fillers": "\u3164".join,
    "hyphens": "-".join,
    "dots": ".".join,
    "underscores": "_".join,
    "middle dots": "\u00b7".join,
    "brackets": lambda text: f"(({text}))",
    "weight": lambda text: f"({text}:1.3)",
    "weight inside": lambda text: f"{text[:2]}({text[2:4]}:1.25){text[4:]}",
    "weight with spaces": lambda text: f"({text} : 1.3 )",
    "long weight": lambda text: f"({text[:3]}:1.00000000000000000001){text[3:]}",
    "prompt editing": lambda text: f"[cat:{text}:0.5]",
    "alternation": lambda text: f"[cat|{text}|dog]",
    "spaced": " ".join,
    "spaced wide": "  ".join,
    "spaced dashes": " - ".join,
    "split in two": lambda text: text[:3] + " " + text[3:],
    "split in pieces": lambda text: " ".join([text[:1], text[1:3], text[3:]]),
    "split leet": lambda text: text[:3].replace("o", "0") + " " + text[3:].replace("e", "3"),
    "backwards": lambda text: text[::-1],
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 without padding": lambda text: base64.b64encode(text.encode()).decode().rstrip("="),
    "letters with hooks": _table("bcdgkmnpstz", "ɓƈɗɠƙɱɲƥʂƭȥ"),
    "regional indicators": lambda text: "".join(
        chr(0x1F1E6 + ord(char) - 97) + " " if char.isalpha() else char for char in text
    ),
    "spaced leet": lambda text: " ".join(text).replace("e", "3").replace("o", "0"),
    "stretched": lambda text: text[:2] + text[2] * 5 + text[3:],
    "stretched hyphens": lambda text: "-".join(text[:2] + text[2] * 5 + text[3:]),
    "stretched leet": lambda text: text[:2] + text[2] * 5 + text[3:].replace("e", "3"),
    "punctuation": lambda text: f"!!!{text}???",
    "leet and punctuation": lambda text: text.replace("e", "3").replace("o", "0") + "!!!",
}
TERMS = ["zzblockedterm", "forbidden-test-token", "gore", "decapitated"]


@pytest.mark.parametrize("disguise", DISGUISES)
@pytest.mark.parametrize("term", TERMS)
def test_disguised_term_is_blocked(pipeline: SafetyPipeline, term: str, disguise: str) -> None:
    text = f"portrait, {DISGUISES[disguise](term)}, sunset"

    assert pipeline.check_prompt(PromptSubject(text)).decision is BLOCK


@pytest.mark.parametrize("disguise", DISGUISES)
def test_disguises_do_not_make_a_benign_prompt_suspect(pipeline: SafetyPipeline, disguise: str) -> None:
    text = f"portrait of a {DISGUISES[disguise]('gardener')}, sunset"

    assert pipeline.check_prompt(PromptSubject(text)).decision is ALLOW


def test_one_may_stand_for_i_or_for_l(pipeline: SafetyPipeline) -> None:
    for text in ("zzb1ockedterm", "forb1dden test token", "zzb|ockedterm", "forb!dden test token", "zzbIockedterm"):
        assert pipeline.check_prompt(PromptSubject(text)).decision is BLOCK


def test_article_before_spaced_letters_hides_nothing(pipeline: SafetyPipeline) -> None:
    assert pipeline.check_prompt(PromptSubject("a " + " ".join("zzblockedterm"))).decision is BLOCK


def test_finding_points_into_the_original_text(pipeline: SafetyPipeline) -> None:
    disguised = "ｚz\u200bb-l(о:1.3)c\u0301kéd-t3rm"
    text = f"ﬁne \ufdfa art, {disguised} at dawn"

    (finding,) = pipeline.check_prompt(PromptSubject(text)).findings

    assert text[finding.start : finding.end] == disguised
    assert (finding.layer, finding.field, finding.score) == ("prompt_wordlist", PromptField.PROMPT, 1.0)


def test_base64_finding_spans_the_encoded_run(pipeline: SafetyPipeline) -> None:
    encoded = base64.b64encode(b"zzblockedterm").decode()
    text = f"portrait, {encoded}, sunset"

    (finding,) = pipeline.check_prompt(PromptSubject(text)).findings

    assert text[finding.start : finding.end] == encoded


def test_swapped_letters_and_missing_vowels_wait_for_a_person(pipeline: SafetyPipeline) -> None:
    for text in ("zzlbockedterm", "zzblockedtemr", "zzblckdtrm", "zzblockdterm", "dcpttd knight", "decapitaetd knight"):
        assert pipeline.check_prompt(PromptSubject(text)).decision is REVIEW


def test_ordinary_words_are_no_misspelling(pipeline: SafetyPipeline) -> None:
    for text in ("an ogre under a bridge", "a ship that will be heading north", "the pen is on the table"):
        assert pipeline.check_prompt(PromptSubject(text)).decision is ALLOW


@pytest.mark.parametrize("texts", [("a cat, zzbl", "ockedterm, blur"), ("a cat, z z b l o", "c k e d t e r m")])
def test_word_that_begins_in_the_prompt_and_ends_in_the_negative_is_found(
    pipeline: SafetyPipeline, texts: tuple[str, str]
) -> None:
    verdict = pipeline.check_prompt(PromptSubject(*texts))

    assert (verdict.decision, verdict.findings[0].field) == (BLOCK, PromptField.PROMPT)
    assert verdict.findings[0].end == len(texts[0])


def test_word_split_between_prompt_and_trigger_words_is_found(pipeline: SafetyPipeline) -> None:
    assert pipeline.check_prompt(PromptSubject("a cat, zzblock", triggers=("edterm",))).decision is BLOCK


def test_phrase_of_two_texts_is_no_phrase(pipeline: SafetyPipeline) -> None:
    # "white" ends the prompt and "power lines" begin what shall not be seen: nobody wrote a slogan.
    assert pipeline.check_prompt(PromptSubject("a house, all white", "power lines, blur")).decision is ALLOW


def test_excluding_a_word_in_the_negative_prompt_is_allowed_and_recorded(pipeline: SafetyPipeline) -> None:
    verdict = pipeline.check_prompt(PromptSubject("a garden", "nsfw, gore, self-harm"))

    assert verdict.decision is ALLOW
    assert {finding.category for finding in verdict.findings} == {SEXUAL, VIOLENCE, SELF_HARM}
    assert {finding.field for finding in verdict.findings} == {PromptField.NEGATIVE_PROMPT}


def test_other_categories_are_judged_in_the_negative_prompt_too(pipeline: SafetyPipeline) -> None:
    verdict = pipeline.check_prompt(PromptSubject("a garden", "zzblockedterm"))

    assert (verdict.decision, verdict.reason) == (BLOCK, "prompt_custom")


def test_negative_prompt_excuses_nothing_in_the_prompt(pipeline: SafetyPipeline) -> None:
    assert pipeline.check_prompt(PromptSubject("gore", "gore")).decision is BLOCK


def test_findings_are_few_even_where_matches_are_many() -> None:
    findings = WordListCheck(load_word_lists()).run(PromptSubject("zzreviewterm " * 150 + "zzblockedterm"))

    assert len(findings) == MAX_FINDINGS
    assert findings[0].score == 1.0


def test_every_benign_phrase_excuses_a_term() -> None:
    lists = load_word_lists()
    without_exceptions = WordListCheck([words.model_copy(update={"benign": (), "harmless": ()}) for words in lists])

    for words in lists:
        for phrase in words.all_benign():
            categories = {finding.category for finding in without_exceptions.run(PromptSubject(phrase))}
            assert words.category in categories, phrase


def test_shipped_lists_are_listed_once_and_licensed() -> None:
    for words in load_word_lists():
        terms = [term for group in words.groups for term in group.terms]
        assert len(terms) == len(set(terms))
        assert "Apache-2.0" in words.licence


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("score = 1.0", "score = 2.0"), "groups.0.score: Input should be less than or equal to 1"),
        (('category = "custom"', 'category = "weather"'), "category: Input should be 'sexual'"),
        (("schema = 1", "schema = 9"), "schema: Input should be 1"),
        (("terms =", "words ="), "groups.0.terms: Field required"),
        (("schema = 1", "schema ="), "is not valid TOML"),
    ],
)
def test_faulty_list_file_is_refused_with_a_sentence(tmp_path: Path, change: tuple[str, str], sentence: str) -> None:
    text = (WORD_LISTS / "custom.und.toml").read_text(encoding="utf-8")
    (tmp_path / "custom.und.toml").write_text(text.replace(*change), encoding="utf-8")

    with pytest.raises(ConfigurationError) as caught:
        load_word_lists(tmp_path)

    assert sentence in caught.value.detail
    assert "custom.und.toml" in caught.value.detail


def test_folder_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="there are no word lists"):
        load_word_lists(tmp_path)


def test_term_without_letters_is_refused() -> None:
    words = load_word_lists()[0]
    group = words.groups[0].model_copy(update={"terms": ("--",)})

    with pytest.raises(ConfigurationError, match="holds no letter or digit"):
        WordListCheck([words.model_copy(update={"groups": (group,)})])


def test_prompt_check_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from safety.defaults import build_prompt_pipeline; build_prompt_pipeline();"
        "print([name for name in ('torch', 'numpy', 'PIL', 'transformers') if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
