"""Writes a tiny pipeline as one `.safetensors` file in the layout that Stable Diffusion was first published in.

Only the parts that the tiny pipeline has: two UNet levels with one layer each, four VAE levels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import diffusers
import torch
from safetensors.torch import save_file

Rules = Mapping[str, str]  # regular expression on a diffusers name -> the original name

UNET: Rules = {
    r"conv_in\.": "input_blocks.0.0.",
    r"time_embedding\.linear_1\.": "time_embed.0.",
    r"time_embedding\.linear_2\.": "time_embed.2.",
    r"down_blocks\.0\.resnets\.0\.": "input_blocks.1.0.",
    r"down_blocks\.0\.downsamplers\.0\.conv\.": "input_blocks.2.0.op.",
    r"down_blocks\.1\.resnets\.0\.": "input_blocks.3.0.",
    r"down_blocks\.1\.attentions\.0\.": "input_blocks.3.1.",
    r"mid_block\.resnets\.0\.": "middle_block.0.",
    r"mid_block\.attentions\.0\.": "middle_block.1.",
    r"mid_block\.resnets\.1\.": "middle_block.2.",
    r"up_blocks\.0\.resnets\.(\d)\.": r"output_blocks.\1.0.",
    r"up_blocks\.0\.attentions\.(\d)\.": r"output_blocks.\1.1.",
    r"up_blocks\.0\.upsamplers\.0\.": "output_blocks.1.2.",
    r"up_blocks\.1\.resnets\.0\.": "output_blocks.2.0.",
    r"up_blocks\.1\.resnets\.1\.": "output_blocks.3.0.",
    r"conv_norm_out\.": "out.0.",
    r"conv_out\.": "out.2.",
}
UNET_RESNET: Rules = {
    r"\.norm1\.(?=\w+$)": ".in_layers.0.",
    r"\.conv1\.": ".in_layers.2.",
    r"\.time_emb_proj\.": ".emb_layers.1.",
    r"\.norm2\.(?=\w+$)": ".out_layers.0.",
    r"\.conv2\.": ".out_layers.3.",
    r"\.conv_shortcut\.": ".skip_connection.",
}
VAE: Rules = {
    r"(en|de)coder\.mid_block\.resnets\.0\.": r"\1coder.mid.block_1.",
    r"(en|de)coder\.mid_block\.resnets\.1\.": r"\1coder.mid.block_2.",
    r"(en|de)coder\.mid_block\.attentions\.0\.": r"\1coder.mid.attn_1.",
    r"encoder\.down_blocks\.(\d)\.resnets\.(\d)\.": r"encoder.down.\1.block.\2.",
    r"encoder\.down_blocks\.(\d)\.downsamplers\.0\.": r"encoder.down.\1.downsample.",
    r"decoder\.up_blocks\.0\.resnets\.": "decoder.up.3.block.",  # the original counts these levels from the image
    r"decoder\.up_blocks\.1\.resnets\.": "decoder.up.2.block.",
    r"decoder\.up_blocks\.2\.resnets\.": "decoder.up.1.block.",
    r"decoder\.up_blocks\.3\.resnets\.": "decoder.up.0.block.",
    r"decoder\.up_blocks\.0\.upsamplers\.0\.": "decoder.up.3.upsample.",
    r"decoder\.up_blocks\.1\.upsamplers\.0\.": "decoder.up.2.upsample.",
    r"decoder\.up_blocks\.2\.upsamplers\.0\.": "decoder.up.1.upsample.",
    r"conv_norm_out\.": "norm_out.",
    r"\.conv_shortcut\.": ".nin_shortcut.",
    r"\.group_norm\.": ".norm.",
    r"\.to_q\.": ".q.",
    r"\.to_k\.": ".k.",
    r"\.to_v\.": ".v.",
    r"\.to_out\.0\.": ".proj_out.",
}


def save_original_checkpoint(folder: Path, file: Path) -> Path:
    """Write the pipeline in `folder` as one file."""
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, requires_safety_checker=False
    )
    tensors: dict[str, torch.Tensor] = {}
    for name, tensor in pipeline.unet.state_dict().items():
        original = _renamed(name, UNET)
        if "attentions" not in name:
            original = _renamed(original, UNET_RESNET)
        tensors[f"model.diffusion_model.{original}"] = tensor
    for name, tensor in pipeline.vae.state_dict().items():
        tensors[f"first_stage_model.{_renamed(name, VAE)}"] = tensor
    for name, tensor in pipeline.text_encoder.state_dict().items():
        prefix = "" if name.startswith("text_model.") else "text_model."
        tensors[f"cond_stage_model.transformer.{prefix}{name}"] = tensor
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file)
    return file


def _renamed(name: str, rules: Rules) -> str:
    for pattern, replacement in rules.items():
        name = re.sub(pattern, replacement, name)
    return name
