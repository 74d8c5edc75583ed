"""Words of an operator's own mean what they mean to diffusers; a file that can't be used spoils its own word alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.parity import BOUND, difference, run_crowd
from bench.text_parity import TextReference
from darkroom.catalogue import EmbeddingSpec, Source
from darkroom.embedding_layout import MAX_VECTORS
from darkroom.errors import EmbeddingInvalid
from darkroom.tokens import PromptReader
from engine import EmbeddingFile, Engine, PipelineSpec
from engine.loader import FAMILIES
from engine.textual_inversion import MAX_FILE_BYTES, read_words
from tests.darkroom.factories import make_model
from tests.engine.factories import Notes, make_request
from tests.engine.tiny import TEXT_WIDTH
from tests.engine.tiny_sdxl import save_tiny_sdxl
from tests.engine.words import listed, random_vectors, save_embedding, save_fern, save_lichen, save_moss

CPU = torch.device("cpu")
PROMPTS = {
    "one vector": "a <moss> circle",
    "several vectors": "a fern circle",
    "in capitals": "A FERN CIRCLE",
    "both, twice": "fern <moss>, <moss> fern",
    "raised": "a (fern:1.4) circle",
    "lowered": "a [<moss>] circle on (fern:0.5)",
    # No chunk ends with an embedding: compel takes no vector for the end of a word, and would cut before it.
    "across chunks": "a fern on red circle, " * 6,
    "lowered across chunks": "of (<moss>:0.7) a circle, " * 8,
}
SDXL_PROMPTS = {name: text.replace("<moss>", "lichen").replace("fern", "lichen") for name, text in PROMPTS.items()}


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("words")
    return {"<moss>": save_moss(folder), "fern": save_fern(folder), "lichen": save_lichen(folder)}


@pytest.fixture(scope="module")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_sdxl(tmp_path_factory.mktemp("sdxl"))


@pytest.fixture(scope="module")
def specs(words: dict[str, Path], tiny: Path, sdxl: Path) -> dict[str, PipelineSpec]:
    files = {word: listed(path, word) for word, path in words.items()}
    return {
        "sd": PipelineSpec("tiny", str(tiny), embeddings=(files["<moss>"], files["fern"])),
        "sdxl": PipelineSpec("tiny", str(sdxl), family="sdxl", embeddings=(files["lichen"],)),
    }


@pytest.fixture(scope="module")
def references(specs: dict[str, PipelineSpec]) -> dict[str, TextReference]:
    return {
        kind: TextReference(
            Path(spec.source), family=kind, embeddings={file.token: Path(file.path) for file in spec.embeddings}
        )
        for kind, spec in specs.items()
    }


@pytest.fixture(scope="module")
def families(specs: dict[str, PipelineSpec]) -> dict[str, Any]:
    return {kind: FAMILIES[kind](spec, CPU, torch.float32) for kind, spec in specs.items()}


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def prompt_of(kind: str, case: str) -> str:
    return {"sd": PROMPTS, "sdxl": SDXL_PROMPTS}[kind][case]


@pytest.mark.parametrize("case", PROMPTS)
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_words_embedding_is_that_of_diffusers(kind: str, case: str, families: Any, references: Any) -> None:
    prompt = prompt_of(kind, case)

    ours = families[kind].encode(prompt)["encoder_hidden_states"]

    assert difference(ours, references[kind].embedding(prompt)) < BOUND


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_word_changes_what_the_prompt_means(kind: str, families: Any, tiny: Path, sdxl: Path) -> None:
    prompt = prompt_of(kind, "several vectors")
    plain = FAMILIES[kind](PipelineSpec("tiny", str({"sd": tiny, "sdxl": sdxl}[kind]), family=kind), CPU, torch.float32)

    with_word, without = (family.encode(prompt)["encoder_hidden_states"] for family in (families[kind], plain))

    assert difference(with_word, without) > 100 * BOUND


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_images_with_words_in_one_crowd_are_the_pipelines(kind: str, specs: Any, references: Any) -> None:
    prompts = {"sd": PROMPTS, "sdxl": SDXL_PROMPTS}[kind].values()
    wanted = [make_request(prompt=prompt, negative_prompt="grey", seed=seed) for seed, prompt in enumerate(prompts)]
    wanted.append(replace(wanted[0], prompt="a red circle", negative_prompt=prompt_of(kind, "raised")))
    wanted.append(replace(wanted[0], prompt="a red circle"))

    with Engine({"tiny": specs[kind]}, device="cpu", keep_latents=True) as engine:
        engine.load("tiny")
        crowd = run_crowd(engine, "tiny", wanted)

    for latents, request in zip(crowd, wanted, strict=True):
        assert difference(latents, references[kind].latents(request)) < BOUND, request


def test_neither_vocabulary_nor_weights_change(specs: Any, families: Any, references: Any) -> None:
    pipeline, spec = families["sd"].pipeline, specs["sd"]
    untouched = FAMILIES["sd"](replace(spec, embeddings=()), CPU, torch.float32).pipeline

    families["sd"].encode(PROMPTS["both, twice"])

    assert len(pipeline.tokenizer) == len(untouched.tokenizer)
    weights = untouched.text_encoder.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in pipeline.text_encoder.state_dict().items())
    assert (
        families["sd"]
        .encode("a red circle")["encoder_hidden_states"]
        .equal(references["sd"].pipeline.encode_prompt("a red circle", "cpu", 1, False)[0])
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_vectors_in_half_precision_are_read(dtype: torch.dtype, families: Any, tmp_path: Path) -> None:
    vectors = random_vectors(2, seed=5).to(dtype)
    file = listed(save_embedding(tmp_path / "moss.safetensors", {"emb_params": vectors}), "moss")

    word = read_words([file], encoders_of(families["sd"]))["moss"]

    assert torch.equal(word.vector(1, encoder="text_encoder"), vectors[1].float())


def encoders_of(family: Any) -> dict[str, Any]:
    names = ("text_encoder", "text_encoder_2")
    parts = {name: getattr(family.pipeline, name, None) for name in names}
    return {name: part for name, part in parts.items() if part is not None}


def with_one(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    vectors = random_vectors(2, seed=6).to(dtype)
    vectors[-1, -1] = value
    return vectors


UNSOUND = {
    "NaN": ({"emb_params": with_one(float("nan"))}, "holds NaN"),
    "infinity": ({"emb_params": with_one(float("inf"), torch.float16)}, "holds NaN"),
    "another width": ({"emb_params": torch.ones(2, TEXT_WIDTH + 1)}, "33 numbers; the model's text_encoder takes 32"),
    "integers": ({"emb_params": torch.ones(2, TEXT_WIDTH, dtype=torch.int64)}, "floating-point"),
    "too many vectors": ({"emb_params": torch.ones(MAX_VECTORS + 1, TEXT_WIDTH)}, "1 to 75 vectors"),
    "three dimensions": ({"emb_params": torch.ones(1, 2, TEXT_WIDTH)}, "1 to 75 vectors"),
    "two tensors": ({"one": torch.ones(TEXT_WIDTH), "two": torch.ones(TEXT_WIDTH)}, "one tensor, or clip_l and clip_g"),
    "for two encoders": (
        {"clip_l": torch.ones(1, TEXT_WIDTH), "clip_g": torch.ones(1, TEXT_WIDTH)},
        r"for 2 text encoder\(s\); the model has 1",
    ),
    "unequal counts": (
        {"clip_l": torch.ones(1, TEXT_WIDTH), "clip_g": torch.ones(2, TEXT_WIDTH)},
        "as many vectors for one text encoder as for the other",
    ),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_what_is_no_sound_embedding_is_refused(case: str, families: Any, tmp_path: Path) -> None:
    tensors, reason = UNSOUND[case]
    file = listed(save_embedding(tmp_path / "moss.safetensors", tensors), "moss")

    assert_refused(file, reason, families["sd"])


def assert_refused(file: EmbeddingFile, reason: str, family: Any) -> None:
    word = read_words([file], encoders_of(family))["moss"]
    with pytest.raises(EmbeddingInvalid, match=reason) as raised:
        word.vector(0, encoder="text_encoder")
    assert "embedding moss" in raised.value.detail
    assert str(file.path) not in raised.value.detail


def test_one_tensor_does_not_fit_a_model_with_two_text_encoders(families: Any, words: dict[str, Path]) -> None:
    assert_refused(listed(words["<moss>"], "moss"), "for 1 text encoder", families["sdxl"])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _endless_header(path: Path) -> None:
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")


def _deep_header(path: Path) -> None:
    text = b'{"a":' * 5_000
    path.write_bytes(len(text).to_bytes(8, "little") + text)


def _bytes_beyond_the_end(path: Path) -> None:
    text = b'{"emb_params": {"dtype": "F32", "shape": [2, 32], "data_offsets": [0, 256]}}'
    path.write_bytes(len(text).to_bytes(8, "little") + text + bytes(64))


def _pickled(path: Path) -> None:
    torch.save({"string_to_param": {"*": torch.ones(1, TEXT_WIDTH)}}, path)


def _huge(path: Path) -> None:
    path.touch()
    os.truncate(path, MAX_FILE_BYTES + 1)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (_empty, "not valid"),
        (_endless_header, "the header must be"),
        (_deep_header, "not a JSON object"),
        (_bytes_beyond_the_end, "do not fill the file"),
        (_pickled, "not valid"),
        (_huge, "larger than 8 MiB"),
        (_pipe, "not a plain file"),
        (Path.mkdir, "not a plain file|can't be read"),
        (lambda _path: None, "can't be read: No such file"),
    ],
)
def test_a_hostile_file_is_refused_at_once(
    make: Callable[[Path], None], reason: str, families: Any, tmp_path: Path
) -> None:
    path = tmp_path / "moss.safetensors"
    make(path)

    assert_refused(EmbeddingFile("moss", "moss", path, "0" * 64), reason, families["sd"])


def test_a_file_that_changed_since_it_was_listed_is_refused(families: Any, words: dict[str, Path]) -> None:
    file = replace(listed(words["fern"], "moss"), sha256="0" * 64)

    assert_refused(file, "the SHA-256 differs", families["sd"])


def test_a_spoiled_word_fails_its_own_jobs_and_no_other(specs: Any, references: Any, tmp_path: Path) -> None:
    spoiled = listed(save_embedding(tmp_path / "rot.safetensors", {"emb_params": with_one(float("nan"))}), "rot")
    spec = replace(specs["sd"], embeddings=(spoiled, *specs["sd"].embeddings))
    other = make_request(prompt="a fern circle", negative_prompt="grey", seed=2)

    with Engine({"tiny": spec}, device="cpu", keep_latents=True) as engine:
        engine.load("tiny")
        bad = engine.submit("tiny", make_request(prompt="a rot circle"))
        negative = engine.submit("tiny", make_request(negative_prompt="rot"))
        unread = engine.submit("tiny", make_request(negative_prompt="rot", guidance_scale=1.0))
        good = engine.submit("tiny", other)

        for handle in (bad, negative):
            assert isinstance(handle.future.exception(timeout=60), EmbeddingInvalid)
        assert unread.future.exception(timeout=60) is None
        latents = good.future.result(timeout=60).latents

    assert latents is not None
    assert difference(latents, references["sd"].latents(other)) < BOUND


def test_a_refused_file_is_logged_with_its_reason(families: Any, captured_logs: list[Any], tmp_path: Path) -> None:
    _empty(tmp_path / "moss.safetensors")

    read_words([EmbeddingFile("moss", "moss", tmp_path / "moss.safetensors", "0" * 64)], encoders_of(families["sd"]))

    (entry,) = captured_logs
    assert (entry["event"], entry["embedding"]) == ("embedding_refused", "moss")
    assert "not valid" in entry["reason"]


@pytest.fixture(scope="module")
def reader(tiny: Path, words: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], int]:
    """How many chunks the API counts."""
    folder = tmp_path_factory.mktemp("api")
    (folder / "tokenizer").mkdir()
    FAMILIES["sd"](PipelineSpec("tiny", str(tiny)), CPU, torch.float32).pipeline.tokenizer.save_pretrained(
        folder / "tokenizer"
    )
    installed = {
        file.name: EmbeddingSpec(name=file.name, model="tiny", file=Path(file.path), sha256=file.sha256, token=word)
        for word, file in ((word, listed(words[word], word)) for word in ("<moss>", "fern"))
    }
    prompts, model = PromptReader(installed), make_model(source=Source(folder=folder))

    def chunks(prompt: str) -> int:
        plan = prompts.read(model, prompt)
        assert plan is not None
        return len(plan.chunks)

    return chunks


@pytest.mark.parametrize(
    "prompt",
    [
        *PROMPTS.values(),
        "fern " * 25,
        "fern " * 26,
        "a" * 74 + " <moss>",
        "a" * 73 + " fern",
        "<moss>" * 700,
        "(fern:2)",
    ],
)
def test_the_api_counts_as_many_chunks_as_the_engine_encodes(
    prompt: str, reader: Callable[[str], int], families: Any
) -> None:
    encoded = families["sd"].encode(prompt)["encoder_hidden_states"]

    assert encoded.shape[1] == 77 * reader(prompt)


def test_the_cache_serves_prompts_with_words(specs: Any) -> None:
    notes = Notes()

    with Engine({"tiny": specs["sd"]}, device="cpu", observer=notes) as engine:
        engine.load("tiny")
        for seed in (1, 2, 3):
            engine.submit("tiny", make_request(prompt="a fern circle", guidance_scale=1.0, seed=seed)).future.result()

    assert notes.lookups == [False, True, True]
