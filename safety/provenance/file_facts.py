"""What a file that a stranger sent says of itself: its manifest, its recipe; and its picture as a clean PNG.

A program, run in a process of its own under limits: the file may do there what it wants. Nothing is fetched, whatever
the file asks for. It is given the certificates to trust, and no secret.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import c2pa
from PIL import Image

from darkroom.input_images import CleanImage, ImageRefused, clean_picture, limit_myself
from safety.provenance.manifest_settings import QUIET

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
MAX_RECIPE = 64_000  # characters; a job's texts are far shorter
MAX_NAMES = 16
_TYPES: Mapping[str, str] = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "MPO": "image/jpeg"}


def facts_of(data: bytes, anchors: str) -> tuple[Mapping[str, Any], CleanImage]:
    """What the file says, and its picture.

    Raises:
        ImageRefused: it is not one picture of an allowed kind and size.
    """
    picture = clean_picture(data)
    with Image.open(BytesIO(data)) as image:
        content_type, recipe = _TYPES[str(image.format)], _recipe_text(image)
    facts = {
        "content_type": content_type,
        "width": picture.width,
        "height": picture.height,
        "recipe": recipe,
        "manifest": _manifest(data, content_type, anchors),
    }
    return facts, picture


def _recipe_text(image: Image.Image) -> str | None:
    """The recipe as tools write it: a PNG's `parameters`, else the EXIF user comment."""
    text = image.info.get("parameters")
    if isinstance(text, str):
        return text[:MAX_RECIPE]
    try:
        comment = image.getexif().get_ifd(EXIF_IFD).get(USER_COMMENT)
    except Exception:  # noqa: BLE001 -- EXIF comes broken in many ways
        return None
    if not isinstance(comment, bytes) or not comment.startswith(b"UNICODE\0"):
        return None
    return comment[8:].decode("utf-16-be", errors="replace")[:MAX_RECIPE]


def _manifest(data: bytes, content_type: str, anchors: str) -> Mapping[str, Any]:
    trust = {"trust": {"trust_anchors": anchors}, "verify": {**QUIET["verify"], "verify_trust": True}}
    try:
        context = c2pa.Context.from_dict({**QUIET, **trust} if anchors else dict(QUIET))
        with c2pa.Reader(content_type, BytesIO(data), context=context) as reader:
            return _told(str(reader.get_validation_state()), json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return {"state": "none"}
    except (c2pa.C2paError, ValueError, LookupError, AttributeError, TypeError):  # or not the shape it should have
        return {"state": "unreadable"}


def _told(state: str, store: Mapping[str, Any]) -> Mapping[str, Any]:
    """The few things that a reader asks for, out of the whole store."""
    active = store["manifests"][store["active_manifest"]]
    signature, generators = active.get("signature_info") or {}, active.get("claim_generator_info") or []
    actions = [
        action
        for assertion in active.get("assertions", [])
        if assertion.get("label", "").startswith("c2pa.actions")
        for action in assertion.get("data", {}).get("actions", [])
    ]
    failures = store.get("validation_results", {}).get("activeManifest", {}).get("failure", [])
    return {
        "state": state.lower(),
        "issuer": _text(signature.get("issuer")),
        "signed_at": _text(signature.get("time")),
        "generator": _text(generators[0].get("name")) if generators else None,
        "actions": [_text(action.get("action")) for action in actions][:MAX_NAMES],
        "digital_source_type": next(
            (_text(each["digitalSourceType"]) for each in actions if "digitalSourceType" in each), None
        ),
        "ingredients": len(active.get("ingredients", [])),
        "problems": [_text(each.get("code")) for each in failures][:MAX_NAMES],
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)[:200]


def main() -> None:
    """Read a line of JSON and then the file on standard input; write a line of JSON and then a PNG."""
    limit_myself()
    anchors = str(json.loads(sys.stdin.buffer.readline())["anchors"])
    try:
        facts, picture = facts_of(sys.stdin.buffer.read(), anchors)
    except ImageRefused as refused:
        facts, png = {"message": refused.message, "limit": refused.limit}, b""
    else:
        png = picture.png
    sys.stdout.buffer.write(json.dumps(facts).encode() + b"\n" + png)


if __name__ == "__main__":
    main()
