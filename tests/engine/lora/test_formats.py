"""Every format's names lead to the same layers as diffusers' own converters take them to."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_kohya,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from darkroom.safetensors_header import Header, TensorEntry
from engine.lora.formats import match
from engine.lora.targets import Place, Targets
from tests.engine.lora.files import in_kohya_names, in_peft_names, random_lora

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT = ("q_proj", "k_proj", "v_proj", "out_proj")


@pytest.fixture(scope="module")
def unet() -> torch.nn.Module:
    """With the blocks of SDXL: two resnets a level, none, one and two transformer layers."""
    return UNet2DConditionModel(  # type: ignore[no-any-return]
        block_out_channels=(8, 8, 8),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1, 2),
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=4,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=32,
        use_linear_projection=True,
    )


@pytest.fixture(scope="module")
def networks(unet: torch.nn.Module) -> Mapping[str, torch.nn.Module]:
    config = CLIPTextConfig(
        vocab_size=10, hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, projection_dim=8
    )
    return {
        "unet": unet,
        "text_encoder": CLIPTextModel(config),
        "text_encoder_2": CLIPTextModelWithProjection(config),
    }


@pytest.fixture(scope="module")
def targets(networks: Mapping[str, torch.nn.Module]) -> Targets:
    return Targets(networks)


def places(tensors: Mapping[str, torch.Tensor], targets: Targets) -> dict[str, Place]:
    """Each matrix' layer, by the first tensor of its pair as our reader pairs them."""
    entries = [TensorEntry(name, "F32", tuple(tensor.shape), 0, 0) for name, tensor in tensors.items()]
    return {pair.down.name: pair.place for pair in match(Header(tuple(entries), {}, b""), targets)}


def original_names(unet: torch.nn.Module, targets: Targets) -> dict[str, torch.Tensor]:
    """One LoRA for every layer of the UNet, named as by the code that kohya trains SDXL with."""
    tensors = {}
    for name, place in targets._by_name.items():
        if name.startswith("lora_unet_") and not name.startswith(("lora_unet_down_blocks", "lora_unet_up_blocks")):
            layer = targets.layers[place]
            out, inner, *kernel = layer.weight.shape
            tensors[f"{name}.lora_down.weight"] = torch.zeros(2, inner, *kernel)
            tensors[f"{name}.lora_up.weight"] = torch.zeros(out, 2, *(1 for _ in kernel))
    # Where both codes have names for a layer, only the original one.
    diffusers = ("mid_block", "conv_", "time_embedding", "add_embedding")
    return {name: t for name, t in tensors.items() if not name.removeprefix("lora_unet_").startswith(diffusers)}


def test_every_original_name_leads_where_diffusers_takes_it(unet: torch.nn.Module, targets: Targets) -> None:
    tensors = original_names(unet, targets)
    ours = places(tensors, targets)
    marked = {name: torch.full_like(tensor, index) for index, (name, tensor) in enumerate(tensors.items())}

    converted, _ = StableDiffusionXLPipeline.lora_state_dict(dict(marked), unet_config=unet.config)
    peft = convert_unet_state_dict_to_peft(converted)

    names = list(tensors)
    theirs = {
        names[int(tensor.flatten()[0])]: name.removeprefix("unet.").removesuffix(".lora_A.weight")
        for name, tensor in peft.items()
        if name.endswith(".lora_A.weight")
    }
    assert {name: place.path for name, place in ours.items()} == theirs
    assert len(ours) == sum(place.part == "unet" for place in targets.layers), "every layer has such a name"


def test_every_layer_is_found_by_its_kohya_name(networks: Mapping[str, torch.nn.Module], targets: Targets) -> None:
    lora = random_lora(networks, layers=[""], seed=1)

    found = places(in_kohya_names(lora), targets)

    assert sorted(f"{place.part}.{place.path}" for place in found.values()) == sorted(lora)


def test_what_diffusers_exports_for_kohya_is_found(networks: Mapping[str, torch.nn.Module], targets: Targets) -> None:
    lora = random_lora(networks, layers=(*ATTENTION, *TEXT, "fc1"), seed=1)

    exported = convert_state_dict_to_kohya(in_peft_names(lora))

    assert sorted(f"{place.part}.{place.path}" for place in places(exported, targets).values()) == sorted(lora)


def test_diffusers_older_names_of_unets_are_found(unet: torch.nn.Module, targets: Targets) -> None:
    lora = random_lora({"unet": unet}, layers=ATTENTION, seed=1)
    new = in_peft_names(lora)
    processors = {
        name.replace(".to_out.0.", ".to_out.")
        .replace(".to_", ".processor.to_")
        .replace(".lora_A.", "_lora.down.")
        .replace(".lora_B.", "_lora.up."): tensor
        for name, tensor in new.items()
    }
    plain = {
        name.replace(".lora_A.", ".lora.down.").replace(".lora_B.", ".lora.up."): tensor for name, tensor in new.items()
    }

    for old in (processors, plain):
        assert convert_unet_state_dict_to_peft(old).keys() == new.keys(), "diffusers takes them for the same"
        assert set(places(old, targets).values()) == set(places(new, targets).values())


def test_diffusers_older_names_of_text_encoders_are_found(
    networks: Mapping[str, torch.nn.Module], targets: Targets
) -> None:
    lora = random_lora({"text_encoder_2": networks["text_encoder_2"]}, layers=TEXT, seed=1)
    new = in_peft_names(lora)
    old = convert_state_dict_to_diffusers(dict(new))
    oldest = {
        name.replace("_proj.lora_linear_layer", "_lora").replace(".self_attn.", ".self_attn.to_"): tensor
        for name, tensor in old.items()
    }
    assert any("to_out_lora" in name for name in oldest)

    for names in (old, oldest):
        assert convert_state_dict_to_peft(dict(names)).keys() == new.keys(), "diffusers takes them for the same"
        assert set(places(names, targets).values()) == set(places(new, targets).values())


def test_text_layers_are_found_with_and_without_the_level_that_transformers_dropped(
    networks: Mapping[str, torch.nn.Module], targets: Targets
) -> None:
    for part in ("text_encoder", "text_encoder_2"):
        lora = random_lora({part: networks[part]}, layers=["q_proj"], seed=1)
        bare = {name.replace(".text_model.", "."): tensor for name, tensor in in_peft_names(lora).items()}
        full = {name.replace(f"{part}.", f"{part}.text_model."): tensor for name, tensor in bare.items()}

        assert set(places(bare, targets).values()) == set(places(full, targets).values())


def test_pefts_own_files_are_the_unets(unet: torch.nn.Module, targets: Targets) -> None:
    lora = in_peft_names(random_lora({"unet": unet}, layers=["to_q"], seed=1))
    peft = {name.replace("unet.", "base_model.model."): tensor for name, tensor in lora.items()}

    assert set(places(peft, targets).values()) == set(places(lora, targets).values())


def test_both_kinds_of_one_layers_name_in_a_file_are_told_apart_from_a_pair(targets: Targets) -> None:
    converted, alphas = StableDiffusionPipeline.lora_state_dict(
        {
            "lora_unet_conv_in.lora_down.weight": torch.zeros(2, 4, 3, 3),
            "lora_unet_conv_in.lora_up.weight": torch.zeros(8, 2, 1, 1),
        }
    )
    assert alphas == {}

    assert set(places(converted, targets).values()) == {Place("unet", "conv_in")}
