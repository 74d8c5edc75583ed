"""Makes the detector of visible overlays: texts and logos laid over pictures, as stock sites do, painted by ourselves.

It learns from the painter's pictures, and from the shipped model's where a folder of them is given, each with and
without an overlay of random letters, place, size, angle, colour and opacity.

python -m training.watermark_detector --out models/darkroom-tiny-overlay [--generated FOLDER --count 300]
"""

from __future__ import annotations

import argparse
import random
import string
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch.nn.functional import binary_cross_entropy_with_logits
from tqdm import trange

from safety.calibration import fit
from safety.image.overlay_net import SIDE, OverlayInfo, OverlayNet, save_overlay_net, tensor_of
from training.painter import painted_pair

PICTURES, STEPS, BATCH, RATE = 1_500, 1_500, 32, 3e-3
HELD_OUT = 1_200
Pixels = NDArray[np.uint8]


def overlaid(pixels: Pixels, rng: random.Random) -> Pixels:
    """The picture with one watermark."""
    side = pixels.shape[0]
    layer = Image.new("L", (2 * side, 2 * side))
    rng.choice(MARKS)(ImageDraw.Draw(layer), side, rng)
    turned = layer.rotate(rng.choice((0, 0, rng.uniform(-50, 50))), Image.Resampling.BILINEAR)
    opacity = rng.uniform(0.25, 0.9)
    mask = turned.crop((side // 2, side // 2, side // 2 + side, side // 2 + side)).point(lambda v: round(v * opacity))
    ink = rng.choice(((255, 255, 255), (255, 255, 255), (0, 0, 0), tuple(rng.randrange(256) for _ in range(3))))
    image = Image.fromarray(pixels)
    image.paste(ink, mask=mask)
    found = np.asarray(image)
    return found if _visible(found, pixels) else overlaid(pixels, rng)


def _visible(found: Pixels, before: Pixels) -> bool:
    """Whether anybody could see it: white on white is no watermark."""
    changed = np.abs(found.astype(int) - before).max(axis=2) > 24
    return float(changed.mean()) > 0.004


def _words(rng: random.Random) -> str:
    letters = string.ascii_uppercase if rng.random() < 0.4 else string.ascii_letters + string.digits
    text = "".join(rng.choice(letters) for _ in range(rng.randint(4, 10)))
    return rng.choice(("", "", "\N{COPYRIGHT SIGN} ")) + text + rng.choice(("", "", ".com", " " + text[:4]))


def _font(side: int, rng: random.Random) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=rng.uniform(0.07, 0.16) * side)


def _line(draw: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    """One line of text anywhere, most often near an edge."""
    x, y = side // 2 + rng.uniform(0.02, 0.5) * side, side // 2 + rng.choice((0.05, 0.45, 0.82, 0.88)) * side
    draw.text((x, y), _words(rng), fill=255, font=_font(side, rng))


def _tiled(draw: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    """The same text again and again."""
    text, font = _words(rng), _font(side, rng)
    across, down = max(20.0, draw.textlength(text, font) * 1.3), rng.uniform(0.2, 0.4) * side
    for row in range(round(2 * side / down)):
        for column in range(round(2 * side / across) + 1):
            draw.text(((column - row % 2 / 2) * across, row * down), text, fill=255, font=font)


def _logo(draw: ImageDraw.ImageDraw, side: int, rng: random.Random) -> None:
    """A ring or a box with initials in it."""
    reach = rng.uniform(0.1, 0.18) * side
    x, y = (side // 2 + rng.uniform(0.2, 0.8) * side for _ in range(2))
    box, width = (x - reach, y - reach, x + reach, y + reach), max(1, round(0.02 * side))
    if rng.random() < 0.5:
        draw.ellipse(box, outline=255, width=width)
    else:
        draw.rectangle(box, outline=255, width=width)
    draw.text((x, y), _words(rng)[:3].strip(), fill=255, font=ImageFont.load_default(size=reach), anchor="mm")


MARKS: Sequence[Callable[[ImageDraw.ImageDraw, int, random.Random], None]] = (_line, _line, _tiled, _logo)


def pictures(seed: int, count: int) -> list[Pixels]:
    """Painted pictures without overlays."""
    return [np.asarray(painted_pair(seed + index, SIDE)[0]) for index in range(count)]


def train(net: OverlayNet, plain: Sequence[Pixels], *, seed: int, steps: int) -> None:
    """Show it pictures, half of them with an overlay."""
    rng = random.Random(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps)
    for _ in trange(steps, desc="overlays", mininterval=10.0):
        chosen = rng.choices(plain, k=BATCH)
        shown = [overlaid(each, rng) if index % 2 else each for index, each in enumerate(chosen)]
        loss = binary_cross_entropy_with_logits(
            net(torch.cat([tensor_of(each) for each in shown])), torch.arange(BATCH).remainder(2).float()
        )
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        rates.step()


def main() -> None:
    """Train, calibrate on pictures it has not seen, and write the files."""
    parser = argparse.ArgumentParser(description="Make the detector of visible overlays.")
    parser.add_argument("--out", type=Path, default=Path("models/darkroom-tiny-overlay"))
    parser.add_argument("--generated", type=Path, help="folder of bench.safety.generated, to learn from as well")
    parser.add_argument("--count", type=int, default=300, help="how many of those, from the first")
    parser.add_argument("--steps", type=int, default=STEPS)
    chosen = parser.parse_args()
    torch.manual_seed(1)
    plain, held = pictures(30_000_000, PICTURES), pictures(31_000_000, HELD_OUT)
    if chosen.generated:
        made = [np.asarray(Image.open(chosen.generated / f"{index:05}.png")) for index in range(chosen.count)]
        plain += made[: len(made) * 2 // 3]
        held += made[len(made) * 2 // 3 :]
    net = OverlayNet()
    train(net, plain, seed=2, steps=chosen.steps)
    net.eval()
    rng = random.Random(3)
    shown = [overlaid(each, rng) if index % 2 else each for index, each in enumerate(held)]
    with torch.inference_mode():
        raws = torch.cat([net(tensor_of(each)) for each in shown])
    labels = [bool(index % 2) for index in range(len(held))]
    save_overlay_net(chosen.out, net, OverlayInfo(schema=1, calibration=fit(raws.tolist(), labels)))
    right = ((raws > 0) == torch.tensor(labels)).float().mean().item()
    print(f"{sum(p.numel() for p in net.parameters())} parameters; right on {right:.4f} of {len(held)} held out")


if __name__ == "__main__":
    main()
