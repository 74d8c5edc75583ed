"""Checks of what a service reads from files and variables: settings, catalogue, policies, owners, secrets."""

from __future__ import annotations

import datetime as dt
import os

from cryptography import x509

from cli.doctor.finding import Verdict, failed, fine, skipped, warning
from cli.doctor.place import Place
from cli.services import DEFAULT_CATALOGUE
from darkroom.catalogue import load_catalogue
from darkroom.errors import ConfigurationError
from darkroom.names import nearest_name
from darkroom.owners import Owners
from darkroom.prices import Prices
from darkroom.sealing import Sealer
from darkroom.settings import (
    ALL_SETTINGS,
    PREFIX,
    CatalogueSettings,
    OwnersSettings,
    PriceSettings,
    ProvenanceSettings,
    SafetySettings,
)
from safety.policy_set import Policies
from safety.provenance.credentials import Credentials

OF_COMMANDS = frozenset({"DARKROOM_URL", "DARKROOM_API_KEY", "DARKROOM_ADMIN_KEY", "DARKROOM_MODEL_FOLDER"})
DAYS_LEFT = 30
_PAGE = "docs/configuration.md lists every variable with its meaning."


def settings(_place: Place) -> Verdict:
    """Every variable of every process, read as they read it."""
    known = OF_COMMANDS | {f"{cls.prefix()}{name.upper()}" for cls in ALL_SETTINGS for name in cls.model_fields}
    wrong = []
    for cls in ALL_SETTINGS:
        try:
            cls.from_env()
        except ConfigurationError as error:
            wrong.append(error.detail)
    if wrong:
        return failed(" ".join(f"{fault.rstrip('.')}." for fault in wrong), f"Change the variable; {_PAGE}")
    given = sorted(name for name in os.environ if name.startswith(PREFIX))
    strange = [name for name in given if name not in known]
    if strange:
        near = ", ".join(f"{name} (near {nearest_name(name, known)})" for name in strange)
        return warning(f"No part of Darkroom reads {near}.", f"Spell it as it is meant, or remove it; {_PAGE}")
    return fine(f"{len(given)} variable(s) are set, all valid.")


def secret_file(place: Place) -> Verdict:
    settings = place.secret_settings()
    if settings.secret_file is None:
        return failed(
            "DARKROOM_SECRET_FILE is not set: prompts and secrets can't be sealed.",
            "Make a file, (umask 077; openssl rand -base64 32 > darkroom.secret), and let the variable name it.",
        )
    Sealer.from_settings(settings)
    return fine("Its keys can be read, by nobody else.")


def catalogue(place: Place) -> Verdict:
    chosen = CatalogueSettings.from_env()
    of_up = place.session is not None and "catalogue" not in chosen.model_fields_set
    found = load_catalogue(DEFAULT_CATALOGUE if of_up else chosen.catalogue)
    hub = sorted(name for name, spec in found.models.items() if spec.source.hub)
    if hub:
        return warning(
            f"{', '.join(hub)}: the weights are fetched from the hub when a worker starts.",
            "Fetch them beforehand with `darkroom models pull`, and name the folder in the catalogue.",
        )
    return fine(f"{len(found.models)} model(s), {len(found.adapters)} adapter(s); default {found.default}.")


def policies(_place: Place) -> Verdict:
    chosen = SafetySettings.from_env()
    found = Policies(chosen.policy_dir, default=chosen.policy).now()
    return fine(f"{len(found)} policies; {chosen.policy} is the default.")


def owners(_place: Place) -> Verdict:
    chosen = OwnersSettings.from_env()
    names = Owners.from_settings(chosen).names()
    if chosen.owners_file is None:
        return skipped("DARKROOM_OWNERS_FILE is not set: every owner has the default terms.")
    return fine(f"{len(set(names))} owner(s) have terms of their own.")


def prices(_place: Place) -> Verdict:
    chosen = PriceSettings.from_env()
    Prices.from_settings(chosen)
    if chosen.prices_file is None:
        return skipped("DARKROOM_PRICES_FILE is not set: device time is counted, and nothing is asked for it.")
    return fine("The file of prices can be read.")


def certificate(place: Place) -> Verdict:
    """What signs images."""
    if place.session is not None:
        return skipped("`darkroom up` makes the certificate itself.")
    found = Credentials.from_settings(ProvenanceSettings.from_env())
    if found is None:
        return skipped("DARKROOM_C2PA_CERT_FILE is not set: images are not signed.")
    ends = x509.load_pem_x509_certificates(found.chain)[0].not_valid_after_utc
    days = (ends - dt.datetime.now(dt.UTC)).days
    if days < DAYS_LEFT:
        return warning(
            f"The certificate that signs images runs out in {days} days.",
            "Get a new one, or make one with `darkroom keys c2pa`, and restart the workers.",
        )
    return fine(f"The certificate that signs images is valid for {days} days.")
