"""What all pages have in common: how one is rendered, how an error looks, and that no other site may send a form.

A page reaches nothing but this server: its styles, scripts and pictures come from here, and nothing stands within it that runs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from drystone import __version__
from drystone.access.service import SCOPES, Principal
from drystone.catalogue.links import Holder
from drystone.console import showing, statics, visitors
from drystone.core.errors import Denied
from drystone.http import problems
from drystone.http.edges import Told
from drystone.http.heads import WithHead

SIGN_IN = "/sign-in"
# Of a form without files: one entity of a draft, with a definition as large as any that people write.
MOST_FORM_BYTES = 256 << 10
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "style-src 'self'",
        "script-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    # A form of a page says where it is from; other sites are told nothing.
    "Referrer-Policy": "same-origin",
}


def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("drystone.console"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=showing.harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= showing.FILTERS
    made.globals |= {"version": __version__, "static": statics.path_of} | showing.ADDRESSES
    return made


_templates = _environment()


def new_router() -> APIRouter:
    """A router for pages: in no description of the API, and for forms of our own only."""
    return APIRouter(
        include_in_schema=False, tags=["console"], dependencies=[Depends(check_origin)], route_class=WithHead
    )


def page(
    request: Request, template: str, *, visitor: Principal | None = None, status_code: int = 200, **values: Any
) -> HTMLResponse:
    """A page from a template. visitor: who looks at it; None: somebody who is not signed in."""
    scopes = () if visitor is None else _held(visitor)
    shown = _templates.get_template(template).render(
        request=request,
        path=request.url.path,
        visitor=visitor,
        may_write="write" in scopes,
        may_steer="admin" in scopes,
        may_administer="admin" in scopes and visitor is not None and visitor.collection_ids is None,
        **values,
    )
    return HTMLResponse(shown, status_code=status_code, headers=_HEADERS)


def redirect(url: str) -> RedirectResponse:
    """On to another page, asked for by GET."""
    return RedirectResponse(url, status_code=303, headers=_HEADERS)


def is_of_script(request: Request) -> bool:
    """Whether a page's script asks, which wants data, rather than the browser, which wants a page."""
    return request.headers.get("accept", "").startswith("application/json")


def within(url: str | None) -> str:
    """The path of a page here, whatever was asked for: nobody is sent on to another site."""
    parts = _parts(url or "/")
    is_here = not parts.scheme and not parts.netloc and parts.path.startswith("/") and not parts.path.startswith("//")
    if not is_here or "\\" in parts.path or parts.path in (SIGN_IN, "/sign-out"):
        return "/"
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _parts(url: str) -> SplitResult:
    """The parts of a URL; of what is none, all are empty."""
    try:
        return urlsplit(url)
    except ValueError:  # brackets without an IPv6 address, for one
        return urlsplit("")


def tell(request: Request, told: Told) -> Response:
    """An error: as a page to a browser, to whom a visit that is over means to sign in again; as a problem to a program."""
    is_visit = bool(visitors.token_of(request))
    if "text/html" not in request.headers.get("accept", ""):
        return problems.as_problem(
            request, replace(told, hint=showing.for_people(told.hint) or None) if is_visit else told
        )
    if told.code == "access.visit_over" and request.method in ("GET", "HEAD"):
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return redirect(SIGN_IN if asked == "/" else f"{SIGN_IN}?next={quote(asked, safe='')}")
    fields = [
        f"{error['pointer'].lstrip('/')}: {error['detail']}"
        for error in told.errors or ()
        if error["detail"] != told.message
    ]
    answer = page(
        request,
        "error.html",
        visitor=_signed_in(request),
        is_visit=is_visit,
        status_code=told.status,
        title=problems.TITLES.get(told.status, "Error"),
        error={"message": told.message, "hint": "; ".join(fields) or told.hint},
    )
    answer.headers.update({name: value for name, value in told.headers.items() if name != "WWW-Authenticate"})
    return answer


def _signed_in(request: Request) -> Principal | None:
    """Who is signed in; whoever only holds the link of a draft is not."""
    known = getattr(request.state, "principal", None)
    return known if isinstance(known, Principal) and not isinstance(known, Holder) else None


def check_origin(request: Request) -> None:
    """Raise Denied for a form that no page of this server sent. Browsers say so themselves, in one of two ways."""
    if request.method in ("GET", "HEAD"):
        return
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        is_ours = site == "same-origin"
    else:  # over plain HTTP to another machine
        origin = _parts(request.headers.get("origin", "")).netloc
        is_ours = bool(origin) and origin == request.headers.get("host")
    if not is_ours:
        raise Denied(
            "access.other_site",
            "Another site sent this form: nothing was done.",
            hint="open the page here and send it again",
            status=403,
        )


def _held(visitor: Principal) -> tuple[str, ...]:
    """The scopes that a visitor has, those within others too."""
    most = max((SCOPES.index(scope) for scope in visitor.scopes if scope in SCOPES), default=-1)
    return SCOPES[: most + 1]
