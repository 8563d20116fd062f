"""What the browser is asked for, as `parse…OptionsFromJSON` reads it (contract 65, A24 to A26)."""

from collections.abc import Iterable
from typing import Final

from webauthn.helpers import bytes_to_base64url

from vyrox.approvals.passkeys import ALGORITHMS, RelyingParty

TIMEOUT_MS: Final = 300_000

Options = dict[str, object]


def creation_options(
    relying_party: RelyingParty,
    user_id: bytes,
    name: str,
    challenge: bytes,
    enrolled: Iterable[str],
) -> Options:
    """Return what `navigator.credentials.create()` takes.

    The key is discoverable, so a person signs in without a name, and no page says who exists.

    Args:
        name: What the authenticator shows beside the key.
        enrolled: The credential ids of the person's keys, so that none is enrolled twice.
    """
    return {
        "rp": {"id": relying_party.rp_id, "name": "Vyrox"},
        "user": {"id": bytes_to_base64url(user_id), "name": name, "displayName": name},
        "challenge": bytes_to_base64url(challenge),
        "pubKeyCredParams": [
            {"type": "public-key", "alg": int(number)} for number in ALGORITHMS.values()
        ],
        "timeout": TIMEOUT_MS,
        "excludeCredentials": _described(enrolled),
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
    }


def request_options(rp_id: str, challenge: bytes, allowed: Iterable[str]) -> Options:
    """Return what `navigator.credentials.get()` takes.

    Args:
        allowed: The credential ids that may sign; none means any of this RP ID.
    """
    return {
        "challenge": bytes_to_base64url(challenge),
        "timeout": TIMEOUT_MS,
        "rpId": rp_id,
        "allowCredentials": _described(allowed),
        "userVerification": "required",
    }


def _described(credential_ids: Iterable[str]) -> list[Options]:
    return [{"type": "public-key", "id": each} for each in credential_ids]
