"""The endpoints that act, and those of signing in and out. None of them is a GET."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from openfall.producers.gateway.access import unreadable_keys
from openfall.producers.gateway.error_table import Refusal
from openfall.producers.gateway.exchange import Exchange
from openfall.producers.gateway.routes import json_response
from openfall.producers.operations.operator import Operator
from openfall.producers.page.page_access import (
    COOKIE,
    Visitor,
    check_form,
    check_origin,
    check_page,
    check_right,
    cookie_name,
    cookie_path,
    read_cookie,
    set_cookie,
)
from openfall.producers.page.page_actions import ACTIONS, PageAction
from openfall.producers.page.page_handler import (
    SIGN_IN,
    back_with_notice,
    for_people,
    html_page,
    own_path,
    read_form,
    redirect,
    wants_json,
)
from openfall.router_core.state.client_keys import fetch_keys
from openfall.router_core.state.page_sessions import end_session, open_session


def _action(exchange: Exchange) -> PageAction:
    name = exchange.request.path_params["action"]
    if name not in ACTIONS:
        raise Refusal("unknown_url", f"the page has no action {name}")
    return ACTIONS[name]


async def _ask(exchange: Exchange, visitor: Visitor) -> Response:
    """Show the question before an action."""
    action = _action(exchange)
    check_right(exchange, visitor, needs_administrator=action.needs_administrator)
    query = exchange.request.query_params
    subject = query.get("subject", "")
    operator = Operator(exchange.client, visitor.name, "page")
    return html_page(
        exchange,
        visitor,
        "ask.html",
        name=exchange.request.path_params["action"],
        action=action,
        subject=subject,
        command=action.command_line(subject),
        context=await action.read_context(operator, subject) if action.read_context else "",
        question=(action.question or f"{action.label} {{subject}}?").replace("{subject}", subject),
        back=own_path(query.get("back", "/")),
    )


async def _act(exchange: Exchange, visitor: Visitor) -> Response:
    """Act, and say what happened."""
    form = await read_form(exchange)
    check_form(exchange, visitor, form)
    action = _action(exchange)
    check_right(exchange, visitor, needs_administrator=action.needs_administrator)
    done = await action.run(Operator(exchange.client, visitor.name, "page"), form)
    exchange.gateway.shared_readings.forget()
    if (live := exchange.gateway.live_page) is not None:
        await live.refresh()
    if wants_json(exchange):
        return json_response({"message": done})
    return back_with_notice(exchange, form.get("back", "/"), done)


async def show_sign_in(exchange: Exchange) -> Response:
    """Ask for a key."""
    check_page(exchange)
    return _sign_in_page(exchange, 200, "")


def _sign_in_page(exchange: Exchange, status: int, problem: str) -> Response:
    has_key = any(key.page_right for key in exchange.gateway.keys.by_digest.values())
    return html_page(exchange, None, "sign_in.html", status, problem=problem, has_key=has_key)


async def sign_in(exchange: Exchange) -> Response:
    """Open a session for a key."""
    check_page(exchange)
    try:
        check_origin(exchange)
        form = await read_form(exchange)
    except Refusal as refusal:
        exchange.refused = refusal.cause
        return _sign_in_page(exchange, refusal.status(exchange.surface), refusal.message)
    gateway = exchange.gateway
    link = exchange.link
    gateway.keys = await fetch_keys(link)  # a key may be newer than the last look at them
    key = gateway.keys.find(form.get("key", "").strip())
    if key is None or key.page_right is None:
        exchange.caller, exchange.refused = key or exchange.caller, "no_key" if key is None else "not_allowed"
        problem = "This key is unknown here, or was revoked" if key is None else "This key has no right to the page"
        problem += f"{unreadable_keys(gateway.keys)}."
        return _sign_in_page(exchange, 403, problem)
    if former := read_cookie(exchange, COOKIE):
        await end_session(link, former)
    cookie = secrets.token_urlsafe(32)
    await open_session(link, cookie, key)
    await Operator(exchange.client, key.name, "page").note("page.sign_in", "page", f"may {key.page_right}")
    response = redirect(exchange, "/")
    set_cookie(exchange, response, cookie)
    return response


async def _sign_out(exchange: Exchange, visitor: Visitor) -> Response:
    """End a session."""
    check_form(exchange, visitor, await read_form(exchange))
    await end_session(exchange.link, visitor.cookie)
    response = redirect(exchange, SIGN_IN)
    response.delete_cookie(cookie_name(exchange, COOKIE), cookie_path(exchange))
    return response


ask, act, sign_out = for_people(_ask), for_people(_act), for_people(_sign_out)
