"""The guard of API routes that show or change what people sent: they need an API key."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Unauthorized

from webapp.extras.access import api_keys

SCHEMES: dict[str, Any] = {
    "api_key": {"type": "http", "scheme": "bearer", "description": "Made by: flask --app wsgi api-key create NAME"}
}
HOW = (
    'Send the header "Authorization: Bearer KEY". Whoever runs this Hamlet makes keys: '
    "flask --app wsgi api-key create NAME"
)

View = TypeVar("View", bound=Callable[..., Any])


def needs_key(view: View) -> View:
    """Mark a route's function as one for those with an API key, whose name is then in g.api_key_name.

    It goes below the route, whose documentation has to say the same:

        @blueprint.get("/secrets", security=[{"api_key": []}], responses=responses(Secrets, 401))
        @needs_key
    """
    view.needs_key = True  # type: ignore[attr-defined]
    return view


def check() -> None:
    """Before each request: refuse it if its route needs a key and none that is in use came along.

    This is a mark and a check before the request, not a wrapper, so that without a key nothing of a request is read.
    """
    if not getattr(current_app.view_functions.get(request.endpoint or ""), "needs_key", False):
        return
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
