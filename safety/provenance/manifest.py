"""C2PA manifests: signs finished files, and so says who made them, with what, out of which inputs.

Signing comes last: any later change of the file breaks the manifest, which is its purpose. A manifest holds no prompt
and no thumbnail. Nothing is ever fetched, whatever a file asks for. Needs c2pa-python, so only a worker imports this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import c2pa
from PIL import Image

from darkroom import __version__
from darkroom.errors import ConfigurationError, SigningUnavailable
from safety.provenance.credentials import Credentials
from safety.provenance.encode import COMPOSITE_WITH_TRAINED, TRAINED_ALGORITHMIC_MEDIA
from safety.provenance.manifest_settings import QUIET


@dataclass(frozen=True)
class Ingredient:
    """An input image: as it came, where it had a manifest, else as the engine saw it."""

    name: str  # init or mask
    content_type: str
    data: bytes = field(repr=False)


#: What an input image is to the picture made with it, in C2PA's words.
_ROLES: Mapping[str, str] = {"init": "parentOf", "mask": "inputTo"}


class ManifestSigner:
    """Signs files with one deployment's certificate; used from every task thread."""

    def __init__(self, credentials: Credentials) -> None:
        """Take the certificate and try it.

        Raises:
            ConfigurationError: it can't sign as C2PA asks.
        """
        self._credentials = credentials
        try:
            self.sign(_sample(), "image/png", model="none")
        except SigningUnavailable as refused:
            raise ConfigurationError(
                f"DARKROOM_C2PA_CERT_FILE: it can't sign manifests ({refused.__cause__})"
            ) from None

    def sign(self, data: bytes, content_type: str, *, model: str, ingredients: Sequence[Ingredient] = ()) -> bytes:
        """The file with a manifest in it.

        Raises:
            SigningUnavailable: the library refuses.
        """
        try:
            # Made anew for each file: the library's objects are not meant for several threads.
            context = c2pa.Context.from_dict(dict(QUIET))
            with c2pa.Builder(json.dumps(_manifest(model, content_type, ingredients)), context=context) as builder:
                for ingredient in ingredients:
                    builder.add_ingredient(_told(ingredient), ingredient.content_type, BytesIO(ingredient.data))
                signed = BytesIO()
                builder.sign(self._signer(), content_type, BytesIO(data), signed)
        except c2pa.C2paError as error:
            raise SigningUnavailable from error
        return signed.getvalue()

    def _signer(self) -> Any:
        given = self._credentials
        url = given.tsa_url.encode() if given.tsa_url else None
        info = c2pa.C2paSignerInfo(given.algorithm.encode(), given.chain, given.key, url)
        return c2pa.Signer.from_info(info)


def _manifest(model: str, content_type: str, ingredients: Sequence[Ingredient]) -> Mapping[str, Any]:
    agent = {"name": model, "version": __version__}
    return {
        "claim_generator_info": [{"name": "Darkroom", "version": __version__}],
        "format": content_type,
        "assertions": [{"label": "c2pa.actions.v2", "data": {"actions": _actions(agent, ingredients)}}],
    }


def _actions(agent: Mapping[str, str], ingredients: Sequence[Ingredient]) -> list[Mapping[str, Any]]:
    """Made from nothing, or opened and edited where a picture was given."""
    by_role = {_ROLES[each.name]: each.name for each in ingredients}
    if "parentOf" not in by_role:
        return [{"action": "c2pa.created", "softwareAgent": agent, "digitalSourceType": TRAINED_ALGORITHMIC_MEDIA}]
    edited = {"action": "c2pa.edited", "softwareAgent": agent, "digitalSourceType": COMPOSITE_WITH_TRAINED}
    if "inputTo" in by_role:
        edited["parameters"] = {"ingredientIds": [by_role["inputTo"]]}
    return [{"action": "c2pa.opened", "parameters": {"ingredientIds": [by_role["parentOf"]]}}, edited]


def _told(ingredient: Ingredient) -> Mapping[str, str]:
    name = ingredient.name
    return {"title": f"{name} image", "label": name, "relationship": _ROLES[name]}


def _sample() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()
