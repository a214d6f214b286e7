"""The rules that give an upstream's error its class. Pure.

The first rule that matches decides. Words come before the status: providers send the same fact under many statuses (an
empty account as a 402, a 403, a 429 or a 500). A status alone decides only if no words do. Every class of a refused
request lets the next model answer, so a wording that is missing here costs accuracy and no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends import error_words as words
from openfall.workers.backends.limit_scope import MODEL_CODES, MODEL_TEXT


@dataclass(frozen=True, slots=True)
class UpstreamError:
    """An upstream's error. `status` is None if only the body has an error; `codes` are lower case.

    `message` is the provider's sentence, or the text of a body that is not JSON.
    """

    status: int | None
    codes: frozenset[str]
    message: str


@dataclass(frozen=True, slots=True)
class Rule:
    """Matches if the status is in `statuses` (empty: any) and a code or the text matches (neither given: always)."""

    error: ErrorClass
    statuses: frozenset[int | None] = frozenset()
    codes: frozenset[str] = frozenset()
    text: re.Pattern[str] | None = None

    def matches(self, error: UpstreamError) -> bool:
        if self.statuses and error.status not in self.statuses:
            return False
        if not self.codes and self.text is None:
            return True
        return bool(self.codes & error.codes or (self.text and self.text.search(error.message)))


def _rule(error: ErrorClass, statuses: set[int | None] | None = None, codes: str = "", text: str = "") -> Rule:
    pattern = re.compile(text, re.IGNORECASE) if text else None
    return Rule(error, frozenset(statuses or ()), frozenset(codes.split()), pattern)


FIREWALL_PAGE = "web_page_of_a_firewall"
"""The code that stands for the page of a firewall."""

_E = ErrorClass
_REQUEST: set[int | None] = {400, 404, 405, 413, 422, 429, 500, 501, None}
"""Those under which a provider refuses a request."""
_SERVER: set[int | None] = {424, 500, 502, 503, None}
_NOT_FOUND_CODES = "not_found not_found_error notfounderror resource_does_not_exist resource_not_found_error"

_PATH = _rule(_E.NOT_INSTALLED, {404, 405}, text=words.NO_PATH_TEXT)

RULES: tuple[Rule, ...] = (
    # a firewall in front of the provider: its page is no word of the provider
    _rule(_E.FORBIDDEN, codes=FIREWALL_PAGE),
    # money and limits: OpenRouter's in-flight budget is a limit, and an answer too long for the rest is the request's
    _rule(_E.RATE_LIMITED, {402, None}, codes="openrouter_in_flight_budget"),
    _rule(_E.UNSUPPORTED, {402}, text=r"can only afford [1-9]|^prompt tokens limit exceeded"),
    _rule(_E.RATE_LIMITED, {402, 403, 429, None}, codes=MODEL_CODES, text=MODEL_TEXT),  # its key serves other models
    _rule(_E.OUT_OF_CREDITS, codes=words.CREDIT_CODES, text=words.CREDIT_TEXT),
    _rule(_E.OUT_OF_CREDITS, {400}, text=r"spend limit|usage limits"),
    _rule(
        _E.OUT_OF_CREDITS, {403}, text=r"(key|spend|credit) limit|(?<!thinking )(?<!reasoning )\bbudget(?![_ ]tokens)"
    ),
    _rule(_E.RATE_LIMITED, {402, None}, codes="rate_limit_exceeded rate_limit_error slow_down"),
    _rule(_E.RATE_LIMITED, {400, 403, 500, 503, None}, codes=words.RATE_CODES, text=words.RATE_TEXT),
    _rule(_E.OUT_OF_CREDITS, {402}),
    _rule(_E.CONTEXT_OVERFLOW, {429}, text=r"request too large"),
    _rule(_E.FORBIDDEN, {429}, text=r"\bplan does not (yet )?include access"),
    _rule(_E.RATE_LIMITED, {429}),
    # the key
    _rule(_E.NOT_INSTALLED, {401}, codes="signin_url"),  # an Ollama without a login: its local models do not fail
    _rule(_E.NOT_INSTALLED, {403}, text=r"\bthis model requires a subscription"),
    _rule(_E.FORBIDDEN, {401, 403, 404, None}, text=words.NO_ACCESS_TEXT),
    _rule(_E.FORBIDDEN, {400}, text=r"unavailable in your (region|country)|^access to this model is not available"),
    _rule(_E.FORBIDDEN, {400}, codes="model_terms_required"),
    _rule(_E.AUTH, {401}),
    _rule(_E.FORBIDDEN, {500}, text=r"\bplan (does )?not support model"),
    _rule(_E.FORBIDDEN, {None}, codes="accessdeniedexception"),
    _rule(
        _E.AUTH,
        {400, None},
        codes=words.WRONG_KEY_CODES,
    ),
    _rule(
        _E.AUTH,
        {400, 403, 404, None},
        "organization_on_hold organization_restricted permission_error",
        words.WRONG_KEY_TEXT,
    ),
    # the content
    _rule(_E.CONTENT_FILTER, {400, 403, 412, 422, 424, 500, None}, codes=words.FILTER_CODES, text=words.FILTER_TEXT),
    _rule(_E.CONTENT_FILTER, {451}),
    # what the request needs, and a model that is gone: both are written with "no endpoints found"
    _rule(
        _E.INVALID_OUTPUT,
        {400, 422, 500, 502, None},
        words.WRONG_OUTPUT_CODES,
        words.WRONG_OUTPUT_TEXT,
    ),
    _rule(
        _E.UNSUPPORTED, {404}, text=r"no endpoints found (that|with|matching)|no (available )?endpoints? .{0,40}support"
    ),
    _rule(_E.BAD_REQUEST, {404}, text=words.NOT_OF_A_MODEL),
    _rule(_E.BAD_REQUEST, {403}, text=r"cachedcontent not found"),
    _rule(_E.NO_VRAM, {400, 404}, text=r"(failed to load model|model loading).{0,120}resources"),
    _rule(_E.NOT_INSTALLED, {403, 404, 410, None}, codes=words.NO_MODEL_CODES, text=words.NO_MODEL_TEXT),
    _rule(_E.NOT_INSTALLED, {400, 422}, codes=words.NO_MODEL_CODES, text=words.NAMED_MODEL_TEXT),
    _rule(_E.NOT_INSTALLED, {404}, _NOT_FOUND_CODES, r"^resource not found$"),  # Azure: another deployment, or version
    _rule(
        _E.NOT_INSTALLED, {503, None}, text=r"\bno (allowed |available )?providers?\b|no available channel|无可用渠道"
    ),
    _rule(
        _E.NOT_INSTALLED, {500, 503}, codes=words.NO_MODEL_CODES, text=r"\bmodel [`'\"][^`'\"]+[`'\"] (was )?not found"
    ),
    # the request
    _rule(_E.UNSUPPORTED, {400, 422}, text=words.LABEL_TOO_LONG_TEXT),
    _rule(_E.CONTEXT_OVERFLOW, _REQUEST | {502, 503}, codes=words.TOO_LONG_CODES),
    _rule(_E.NO_VRAM, _SERVER, codes="no_vram", text=words.OUT_OF_MEMORY),
    _rule(_E.UNSUPPORTED, {400, 422}, codes=words.CANNOT_CODES, text=words.LIMIT_TOO_LARGE_TEXT),
    _rule(_E.UNSUPPORTED, {400, 413, 422}, text=words.MEDIA_TOO_LARGE_TEXT),
    _rule(_E.UNSUPPORTED, {400, 422}, text=words.OTHER_COUNT_TEXT),
    _rule(_E.CONTEXT_OVERFLOW, {400, 413, 422, None}, text=words.TOO_LONG_TEXT),
    _rule(_E.CONTEXT_OVERFLOW, {413}),
    _rule(_E.CONTEXT_OVERFLOW, {500, 503}, text=words.TOO_LONG_OF_A_SERVER),
    _rule(_E.UNSUPPORTED, {500, 503}, text=words.CANNOT_TEXT_OF_A_SERVER),
    _rule(_E.OVERLOADED, {400}, text=r"^model is not loaded$"),  # llama-server with `?autoload=false`
    _rule(_E.OVERLOADED, {400, 403, 404, 422}, codes="overloaded_error engine_overloaded_error", text=words.BUSY_TEXT),
    _rule(_E.UNSUPPORTED, {400, 404, 405, 412, 422, 501, None}, codes=words.CANNOT_CODES, text=words.CANNOT_TEXT),
    _rule(_E.AUTH, {403}, codes="permission_denied access_terminated_error account_deactivated", text=words.KEY_TEXT),
    _rule(_E.FORBIDDEN, {403}),
    # the server: DeepSeek writes `invalid_request_error` beside each of its errors
    _rule(_E.OVERLOADED, {500, 503}, codes="service_unavailable_error overloaded_error", text=words.BUSY_TEXT),
    _rule(
        _E.BAD_REQUEST,
        {500, 502},
        "parse_error invalid_request_error badrequesterror invalid_argument",
        words.UNREADABLE_TEXT,
    ),
    _rule(
        _E.OVERLOADED,
        {None},
        "overloaded_error server_is_overloaded unavailable unavailable_error server_error upstream_error",
    ),
    _rule(_E.OVERLOADED, {None}, codes="api_error internal internal_server_error internal_error timeout_error"),
    _rule(_E.OVERLOADED, {None}, codes=words.BUSY_EXCEPTIONS),
    _rule(_E.TIMEOUT, {None}, codes="modeltimeoutexception"),
    _rule(_E.OVERLOADED, {None}, text=r"overloaded|loading model|no slot available|server busy"),
    _rule(
        _E.BAD_REQUEST,
        {None},
        "invalid_request_error badrequesterror invalid_argument validationexception 2013",
        r"^invalid params\b",
    ),
    _PATH,
    # the status alone
    _rule(_E.NOT_INSTALLED, {410}),
    _rule(_E.TIMEOUT, {408, 504}),
    _rule(_E.CONNECTION, {502, *range(520, 528)}),
    _rule(_E.OVERLOADED, {424, 425, 498, 529}),  # TGI's, Fireworks', Groq's and Anthropic's, whatever their bodies
    _rule(_E.CONTENT_FILTER, {446}),  # Portkey's guardrails
    _rule(_E.BAD_REQUEST, {400, 411, 414, 415, 422, 431}),
)
"""The first rule that matches decides."""


def find_class(error: UpstreamError) -> ErrorClass | None:
    """The class of an error by the first rule that matches; None: no rule does."""
    return rule.error if (rule := _find_rule(error)) else None


def lacks_path(error: UpstreamError) -> bool:
    """Whether a server has nothing at the path of a request."""
    return _find_rule(error) is _PATH


def _find_rule(error: UpstreamError) -> Rule | None:
    return next((rule for rule in RULES if rule.matches(error)), None)


def is_firewall_page(text: str) -> bool:
    """Whether a body that is not JSON is the page of a firewall, which stops single requests."""
    return re.search(words.FIREWALL, text, re.IGNORECASE) is not None
