"""The guard of API routes that show or change what people sent: they need an API key."""

from typing import Any

from flask import current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from webapp.config import FLASK
from webapp.extras.access import api_keys

SECURITY: list[dict[str, list[str]]] = [{"api_key": []}]
SCHEMES: dict[str, Any] = {
    "api_key": {"type": "http", "scheme": "bearer", "description": f"Made by: {FLASK} api-key create NAME"}
}
HOW = f'Send the header "Authorization: Bearer KEY". Whoever runs this Hamlet makes keys: {FLASK} api-key create NAME'


def api_key_required() -> None:
    """Refuse a request without a key that is in use: `blueprint.before_request(api_key_required)`.

    It comes first, so without a key nothing of a request is read. The key's name is then in g.api_key_name. The
    blueprint's documentation says the same by abp_security=SECURITY.
    """
    # Not request.authorization: it fails at what claims to be a user name and password and is no Base64.
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise _refusal(f"This needs an API key. {HOW}")
    name = api_keys.find(current_app.extensions["engine"], key.strip())
    if name is None:
        raise _refusal(f"This API key is unknown or was revoked. {HOW}", error="invalid_token")
    g.api_key_name = name


def _refusal(detail: str, **parameters: str | None) -> Unauthorized:
    """Return the error with its challenge (RFC 6750, section 3)."""
    return Unauthorized(detail, www_authenticate=WWWAuthenticate("bearer", {"realm": "Hamlet", **parameters}))
