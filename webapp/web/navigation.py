"""The bar on top of each page."""

from flask import current_app

from webapp.web.login import signed_in

FOR_ALL = [("check.form", "Check"), ("docs.page", "API")]
FOR_THE_SIGNED_IN = [("review.page", "Review"), ("monitor.page", "Monitor"), ("models.page", "Models")]


def navigation() -> dict[str, object]:
    """Return what the bar's template needs."""
    inside = signed_in()
    first, *rest = FOR_ALL
    entries = [first, *(FOR_THE_SIGNED_IN if inside else []), *rest]
    return {"signed_in": inside, "entries": [entry for entry in entries if entry[0] in current_app.view_functions]}
