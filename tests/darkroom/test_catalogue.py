"""The catalogue: what is read, and the one sentence that a broken entry gives."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from darkroom.catalogue import Catalogue, load_catalogue
from darkroom.errors import ConfigurationError

ROOT = Path(__file__).parents[2]
EMPTY = hashlib.sha256(b"").hexdigest()
GOOD = """
[models.tiny]
source = { folder = "weights" }
licence = "Apache-2.0"
native_sizes = [[128, 64]]
"""
ADAPTER = f"""
[adapters.ink]
model = "tiny"
file = "ink.safetensors"
sha256 = "{EMPTY}"
licence = "MIT"
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "model_index.json").write_text("{}")
    (tmp_path / "ink.safetensors").write_bytes(b"")
    return tmp_path


def _load(folder: Path, text: str) -> Catalogue:
    path = folder / "catalogue.toml"
    path.write_text(text, encoding="utf-8")
    return load_catalogue(path)


def test_only_model_is_the_default_and_paths_start_at_the_file(folder: Path) -> None:
    catalogue = _load(folder, GOOD + ADAPTER)

    model = catalogue.default_model
    assert (model.name, model.width, model.height) == ("tiny", 128, 64)
    assert model.source.folder == folder / "weights"
    assert catalogue.adapters["ink"].file == folder / "ink.safetensors"


def test_tokenizer_file_is_found_where_there_is_one(folder: Path) -> None:
    assert _load(folder, GOOD).default_model.tokenizer_file is None

    (folder / "weights" / "tokenizer").mkdir()
    (folder / "weights" / "tokenizer" / "tokenizer.json").write_text("{}")

    found = _load(folder, GOOD).default_model.tokenizer_file
    assert found == folder / "weights" / "tokenizer" / "tokenizer.json"


def test_hub_model_needs_no_local_file(folder: Path) -> None:
    text = GOOD.replace('{ folder = "weights" }', f'{{ hub = "a/b", revision = "{"a" * 40}" }}')

    assert _load(folder, text).default_model.source.hub == "a/b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("[models", "[modles"), "unknown key 'modles'"),
        (("[models.tiny]", "models = 3\n[x]"), "unknown key 'x'"),
        (("[models.tiny]", "models = 3\n[adapters.x]"), r"`models` must hold tables, \[models.NAME\]"),
        (('source = { folder = "weights" }', "source = {}"), "models.tiny: source: .*exactly one of"),
        (('"weights"', '"elsewhere"'), "models.tiny: .*model_index.json does not exist"),
        (('folder = "weights"', 'file = "weights.ckpt"'), "must be a .safetensors file"),
        (('folder = "weights"', 'hub = "a/b"'), "belong together"),
        (('folder = "weights"', 'hub = "a/b", revision = "main"'), "source.revision"),
        (('folder = "weights"', 'file = "none.safetensors"'), "none.safetensors does not exist"),
        (("licence", "license"), "models.tiny: (licence|license): "),
        (("[[128, 64]]", "[]"), "native_sizes"),
        (("[[128, 64]]", "[[128, 60]]"), "native_sizes"),
        (("[[128, 64]]", "[[2048, 64]]"), "native size 2048x64 is outside"),
        (("licence", 'scheduler = "magic"\nlicence'), "scheduler 'magic' is unknown"),
        (("licence", 'scheduler = "lcm"\nnum_inference_steps = 60\nlicence'), "must be 1 to 50 for lcm"),
        (("licence", 'family = "gan"\nlicence'), "models.tiny: family"),
        (("[models.tiny]", "[models.Tiny]"), "models.Tiny: name"),
        (("licence", 'name = "other"\nlicence'), "models.tiny: name: .*the table's own"),
        (("[models.tiny]", 'default = "big"\n[models.tiny]'), "`default` must name one of tiny"),
        (("[models.tiny]", "[models.tiny"), "is not valid TOML"),
    ],
)
def test_broken_entry_is_one_sentence(folder: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        _load(folder, GOOD.replace(*change))

    assert "\n" not in str(caught.value)
    assert "catalogue.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('model = "tiny"', 'model = "big"'), "adapters.ink names no model"),
        (('"ink.safetensors"', '"gone.safetensors"'), "gone.safetensors does not exist"),
        ((EMPTY, "0" * 63), "adapters.ink: sha256"),
        ((EMPTY, "0" * 64), f"ink.safetensors is not the file that sha256 names: its digest is {EMPTY}"),
        (('"ink.safetensors"', '"ink.pt"'), "must be a .safetensors file"),
        (("licence", "default_scale = 3\nlicence"), "adapters.ink: default_scale"),
        (("licence", 'owners = "ada"\nlicence'), "adapters.ink: owners"),
    ],
)
def test_broken_adapter_is_one_sentence(folder: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _load(folder, GOOD + ADAPTER.replace(*change))


EMBEDDING = ADAPTER.replace("adapters.ink", "embeddings.moss").replace("licence", 'token = "<moss>"\nlicence')


def test_embeddings_are_words_of_their_model(folder: Path) -> None:
    assert _load(folder, GOOD + EMBEDDING).tokens_of("tiny") == ("<moss>",)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('model = "tiny"', 'model = "big"'), "embeddings.moss names no model"),
        (('"ink.safetensors"', '"gone.safetensors"'), "gone.safetensors does not exist"),
        ((EMPTY, "0" * 64), "is not the file that sha256 names"),
        (('"<moss>"', '"two words"'), "embeddings.moss: token"),
        (('"<moss>"', '"(moss)"'), "embeddings.moss: token"),
    ],
)
def test_broken_embedding_is_one_sentence(folder: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        _load(folder, GOOD + EMBEDDING.replace(*change))


def test_two_embeddings_can_not_share_a_word(folder: Path) -> None:
    again = EMBEDDING.replace("embeddings.moss", "embeddings.fern").replace("<moss>", "<MOSS>")

    with pytest.raises(ConfigurationError, match=r"embeddings.fern: its token is another embedding's too"):
        _load(folder, GOOD + EMBEDDING + again)


def test_an_adapter_is_seen_by_its_owners_alone(folder: Path) -> None:
    catalogue = _load(folder, GOOD + ADAPTER.replace("licence", 'owners = ["ada"]\nlicence'))

    assert list(catalogue.adapters_of("ada")) == ["ink"]
    assert list(catalogue.adapters_of("bob")) == []


@pytest.mark.parametrize(
    ("inpaint", "capabilities"),
    [
        ("blend", ("text_to_image", "image_to_image", "inpaint")),
        ("native", ("inpaint",)),
        ("none", ("text_to_image", "image_to_image")),
    ],
)
def test_capabilities_follow_from_the_kind_of_inpainting(
    folder: Path, inpaint: str, capabilities: tuple[str, ...]
) -> None:
    text = GOOD.replace("licence", f'inpaint = "{inpaint}"\nlicence')

    assert _load(folder, text).default_model.capabilities == capabilities


@pytest.mark.parametrize(("channels", "inpaint", "right"), [(9, "blend", "native"), (4, "native", "blend or none")])
def test_a_kind_of_inpainting_that_the_weights_lack_is_one_sentence(
    folder: Path, channels: int, inpaint: str, right: str
) -> None:
    (folder / "weights" / "unet").mkdir()
    (folder / "weights" / "unet" / "config.json").write_text(json.dumps({"in_channels": channels}))

    with pytest.raises(ConfigurationError, match=f"inpaint must be {right}: its UNet takes {channels} channels"):
        _load(folder, GOOD.replace("licence", f'inpaint = "{inpaint}"\nlicence'))


XL = GOOD.replace("licence", 'family = "sdxl"\nlicence')


def test_a_refiner_is_another_sdxl_model(folder: Path) -> None:
    polish = XL.replace("tiny", "polish")
    refined = XL.replace("licence", 'refiner = "polish"\nlicence')

    assert _load(folder, 'default = "tiny"\n' + refined + polish).default_model.capabilities[-1] == "refiner"
    for wrong in (refined, refined + GOOD.replace("tiny", "polish"), refined.replace("polish", "tiny")):
        with pytest.raises(ConfigurationError, match=r"models.tiny: refiner must name another sdxl model"):
            _load(folder, 'default = "tiny"\n' + wrong)


def test_two_models_need_a_default(folder: Path) -> None:
    two = GOOD + GOOD.replace("tiny", "second")

    with pytest.raises(ConfigurationError, match="`default` must name one of tiny, second"):
        _load(folder, two)
    assert _load(folder, 'default = "second"\n' + two).default_model.name == "second"


def test_missing_file_and_wrong_encoding_are_sentences(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="can't be read: No such file"):
        load_catalogue(folder / "none.toml")

    (folder / "catalogue.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="is not valid TOML"):
        load_catalogue(folder / "catalogue.toml")


def test_empty_catalogue_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"has no \[models.NAME\] entry"):
        _load(folder, "")


def test_shipped_catalogue_is_valid_toml_and_its_defaults_are_legal(tmp_path: Path) -> None:
    (tmp_path / "models" / "darkroom-tiny").mkdir(parents=True)
    (tmp_path / "models" / "darkroom-tiny" / "model_index.json").write_text("{}")
    (tmp_path / "models" / "darkroom-tiny-loras").symlink_to(ROOT / "models" / "darkroom-tiny-loras")

    model = _load(tmp_path, (ROOT / "catalogue.toml").read_text(encoding="utf-8")).default_model

    assert (model.name, model.width, model.height, model.scheduler) == ("darkroom-tiny", 128, 128, "dpmpp_2m")
    assert model.num_inference_steps == 25


def test_commented_example_is_a_valid_entry(tmp_path: Path) -> None:
    text = (ROOT / "catalogue.toml").read_text(encoding="utf-8")
    example = text[text.index("# [models.stable-diffusion") : text.index("# An adapter")].replace("# ", "")
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")

    model = _load(tmp_path, example.replace("/srv/models/stable-diffusion-v1-5", str(folder))).default_model

    assert (model.width, model.height, model.licence) == (512, 512, "CreativeML-OpenRAIL-M")
