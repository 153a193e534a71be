"""Signing in and out, and the guard for pages that show what people sent."""

import datetime as dt
import re
import secrets
from contextlib import suppress

import sqlalchemy as sa
from flask import Blueprint, abort, current_app, flash, redirect, render_template, request, session, url_for
from flask.typing import ResponseReturnValue

from webapp.cli.command import current_inference
from webapp.errors import LogUnavailable
from webapp.extras.access.passwords import begin_try, forget
from webapp.log.database import write_transaction
from webapp.log.tables import sign_ins

SIGNED_IN_FOR = dt.timedelta(hours=12)
# A path on this site. Browsers read // and /\ as the start of another host, and ignore tabs and line breaks.
LOCAL_PATH = re.compile(r"/(?!/)[!-\[\]-~]*")

blueprint = Blueprint("login", __name__)


def signed_in() -> bool:
    """Return whether the request comes from somebody who signed in within 12 hours, with the current password."""
    if "password" not in session or session["password"] != current_app.extensions["admin_password"].fingerprint():
        return False
    # The log knows the sign-ins: so a sign-out ends copies of the cookie too.
    lasts = (sign_ins.c.who == reviewer_id()) & (sign_ins.c.until > dt.datetime.now(dt.UTC))
    with current_app.extensions["engine"].connect() as connection:
        return connection.execute(sa.select(sign_ins.c.who).where(lasts)).first() is not None


def login_required() -> ResponseReturnValue | None:
    """Let only the signed-in through: `blueprint.before_request(login_required)`."""
    if signed_in():
        return None
    if request.method not in ("GET", "HEAD"):
        abort(403, "This is for people who have signed in, and your sign-in has ended or never began.")
    return redirect(url_for("login.form", next=request.root_path + request.full_path.removesuffix("?")), 303)


def reviewer_id() -> str:
    """Return the name of this sign-in in the log: all people share one password."""
    return str(session["reviewer"])


def who_is_here() -> dict[str, bool]:
    """Return what the bar on top of each page needs."""
    is_signed_in = False
    with suppress(LogUnavailable):  # the page that says so needs a bar too
        is_signed_in = signed_in()
    return {"can_sign_in": True, "signed_in": is_signed_in}


@blueprint.get("/login")
def form() -> ResponseReturnValue:
    """Ask for the password."""
    return redirect(_where_to(), 303) if signed_in() else render_template("access/login.html")


@blueprint.post("/login")
def sign_in() -> ResponseReturnValue:
    """Compare the password, unless this address has to wait first, and begin a new session."""
    engine, password = current_app.extensions["engine"], current_app.extensions["admin_password"]
    address = request.remote_addr or ""
    if seconds := begin_try(engine, address):
        words = f"There were too many wrong passwords. Wait {seconds} s, then try again."
        return _refused(429, "Too many wrong passwords", words), 429, {"Retry-After": str(seconds)}
    fingerprint = password.fingerprint()  # first: the password may be changed at this very moment
    if not password.is_right(request.form.get("password", "")):
        return _refused(403, "Wrong password", "This is not the password."), 403
    forget(engine, address)
    _end_session()  # an older sign-in in this browser, whose cookie may be copied
    session.update(reviewer=f"web:{secrets.token_hex(4)}", password=fingerprint)
    now = dt.datetime.now(dt.UTC)
    with write_transaction(engine) as connection:
        connection.execute(sa.delete(sign_ins).where(sign_ins.c.until < now))
        connection.execute(sa.insert(sign_ins).values(who=reviewer_id(), until=now + SIGNED_IN_FOR))
    return redirect(_where_to(), 303)


@blueprint.post("/logout")
def sign_out() -> ResponseReturnValue:
    """End the session, and with it all copies that there may be of its cookie."""
    _end_session()
    flash("You are signed out.")
    return redirect(url_for("check.form"), 303)


def _end_session() -> None:
    if "reviewer" in session:
        with write_transaction(current_app.extensions["engine"]) as connection:
            connection.execute(sa.delete(sign_ins).where(sign_ins.c.who == reviewer_id()))
    session.clear()


def _refused(status: int, what: str, words: str) -> str:
    current_inference().record_failure("form", status, what, request.headers["X-Request-ID"])
    return render_template("access/login.html", error=words)


def _where_to() -> str:
    """Return the page that asked for the sign-in, if it is on this site, else the review page."""
    wanted = request.args.get("next", "")
    if LOCAL_PATH.fullmatch(wanted):
        return wanted
    return url_for("review.page" if "review.page" in current_app.view_functions else "check.form")
