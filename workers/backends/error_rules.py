"""The rules that give an upstream's error its class. Pure.

The first rule that matches decides. Words come before the status: providers send the same fact under many statuses (an
empty account as a 402, a 403, a 429 or a 500). A status alone decides only if no words do. Every class of a refused
request lets the next model answer, so a wording that is missing here costs accuracy and no answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from openfall.router_core.vocabulary import ErrorClass
from openfall.workers.backends.usage_limit_errors import MODEL_CODES, MODEL_TEXT


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
_SERVER: set[int | None] = {500, 502, 503, None}

_CREDIT_CODES = (
    "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded"
    " organization_usage_limit_exceeded enforced_spend_limit_reached contract_spend_limit_reached"
    " linked_organization_spend_limit_reached quota_exceeded billing_error openrouter_credits openrouter_key_limit"
    " openrouter_guardrail_budget openrouter_workspace_budget workspace_budget key_limit"
    " exceeded_current_quota_error insufficient_balance insufficientbalance insufficient_credits insufficient_funds"
    " insufficient_user_quota billing_hard_limit_reached billing_not_active arrearage accountoverdueerror"
    " payment_required allocationquota.freetieronly budget_exceeded 1113 1008 usage_limit_reached 1308 1309 1310 1316"
    " 1317 1318 1319 1320 1321"
)
_CREDIT_TEXT = (
    r"insufficient[ _](account )?(balance|credits?|funds|quota)|balance (is |was )?(insufficient|too low|not enough)"
    r"|not enough (credits?|balance|funds)|out of credits?|(n[o']t|n't) have (any |enough |sufficient )?credits"
    r"|credit balance is too low|requires more credits|please recharge|top[ -]?up your|in arrears|overdue payment"
    r"|account .{0,40}(is|has been) (suspended|overdue|in arrears).{0,60}(billing|plan|payment|balance)?"
    r"|(?<!not your )\busage limit|使用上限|reached (its|your) spend(ing)? limit|free (tier|allocated) quota"
    r"|negative (credit )?balance|余额不足|欠费|(used|spent) (up )?(all|your) .{0,30}\bcredits|budget has been exceeded"
    r"|(reach|exceed)\w* .{0,30}spend(ing)? limit"
)
_RATE_CODES = (
    "ratelimitexceeded userratelimitexceeded throttlingexception too_many_requests resource_exhausted 1002 1039 1041"
)
_RATE_TEXT = (
    r"rate[ -]?limit(ed| reached| exceeded)|too many requests|\bthrottl|requests per (second|minute|hour|day)"
    r"|too many (tokens|connections), please wait"
)
_BUSY_TEXT = (
    r"(model|server|engine|system|service) is (currently |temporarily )?(overloaded|busy)|at capacity"
    r"|\bmodel (has )?(crashed|unloaded)"
    r"|degraded function"
)
_TOO_LONG_CODES = (
    "exceed_context_size_error context_length_exceeded model_max_prompt_tokens_exceeded string_above_max_length"
    " request_too_large 1261"
)
_TOO_LONG_TEXT = (
    r"context[ _-]?(length|size|window|limit)|maximum context|(prompt|input|request)s? (is|was|are) too (long|large)"
    r"|exceeds? the (maximum|available) .*(context|tokens)|maximum (prompt|input|sequence|model) length"
    r"|(prompt|input|messages?|request)s?\b.{0,80}(exceed\w*|longer than|greater than|more than|above|over)"
    r".{0,60}(\blimit|maximum|max(imum)? length|tokens?\b|allowed)"
    r"|too many (input |prompt |total )?(tokens|text bytes)|exceed\w* (the )?(model('s)? )?token limit"
    r"|tokens? (count )?(in (the )?request )?(exceed\w*|more than|larger than|greater than)"
    r"|too large for model|reduce (the |your )?(length|size|number)|range of input length|max_new_tokens. must be <="
    r"|must have (less|fewer) than \d+ tokens|request too large|longer than the model"
    r"|(prompt|input) length \d+ is (greater|longer|larger) than"
)
_TOO_LONG_OF_A_SERVER = (
    r"context (length|size|window|limit)|maximum context|too many tokens|(prompt|input) is too large to process"
)

_FILTER_CODES = (
    "content_filter content_policy_violation moderation invalid_prompt data_inspection_failed datainspectionfailed"
    " responsibleaipolicyviolation content_filtered cyber_policy_violation prohibited_content inappropriate_content"
    " sensitivecontentdetected inputtextsensitivecontentdetected outputtextsensitivecontentdetected 1301 1026 1027"
)
_FILTER_TEXT = (
    r"content[ _-](filter|management polic|polic|moderation|violat|exists risk)|output blocked|flagged|moderation"
    r"|usage (polic|guideline)|inappropriate content|considered high risk|(unsafe|sensitive) (content|information|word)"
    r"|safety (system|filter|check|reason|setting|polic)|safety_check|violat\w+ .{0,60}(polic|guideline|terms)"
    r"|不安全或敏感|敏感内容|内容安全|contentpolicyviolation|\bnsfw\b"
)
_NO_MODEL_CODES = (
    "model_not_found model_not_found_error model_decommissioned model_deprecated model_retired deploymentnotfound"
    " modelnotfound modelnotopen model_not_exist unknown_model invalid_model model_not_available 1211"
)
_ENDED = (
    r"decommissioned|retired|removed|shut ?down|discontinued|sunset(ted)?|deprecated|(the )?end[- ]of[- ](its[- ])?life"
    r"|no longer (supported|available|served)"
)
_NO_MODEL_TEXT = (
    r"\bmodel\b.{0,200}(not found|does not exist|not exist)|no such model|not a valid model|unknown model"
    r"|no endpoints found|requires a subscription|cloud is disabled|remote model is unavailable"
    rf"|(\bthis model( version)?|\bmodel:? [`'\"]?[\w./:@-]+[`'\"]?) (is|was|has been|has reached( its)?)"
    rf" (now )?({_ENDED})"
    r"|\bmodel is not (available|active)|function '[^']+': not found|\bendpoint does not exist|模型不存在"
)
_NAMED_MODEL_TEXT = (
    r"\bmodel:? [`'\"][^`'\"]+[`'\"].{0,60}(not found|not exist)|\bmodel (was |does )?not (found|exist)|no such model"
    r"|not a valid model|unknown model|invalid model( id\b| name| identifier|: )|model identifier is invalid|模型不存在"
    rf"|(\bthis model|\bmodel:? [`'\"]?[\w./:@-]+[`'\"]?) (is|was|has been) (now )?({_ENDED})"
)
"""A 400 opens the breaker of the model only if it names the model: other things of a request may not exist either."""

_NO_ACCESS_TEXT = (
    r"access to (the |this )?(model|deployment)|requires? .{0,20}terms acceptance|accept the terms"
    r"|(allowed|permitted|authori[sz]ed|entitled|permission)s? to (use|access|call) (the |this )?model"
    r"|model.{0,80}(not (available|enabled|allowed) (for|in|to|on) your)|data policy|guardrail"
    r"|ignored providers|allowed providers"
)
_NOT_OF_A_MODEL = (
    r"\b(file|image|document|container|cached?[ _]?content|conversation|response|prompt|skill|thread|assistant)s?\b"
    r"(?! not found\.?$).{0,120}(not found|does not exist|not exist)"
)
_CANNOT_CODES = (
    "unsupported_value unsupported_parameter unsupported_model unsupportedparamserror not_supported_error"
    " unsupported_operation notimplementederror operationnotsupported"
)
_CANNOT_TEXT = (
    r"(does|do|is|are|was|were)( not|n['’]t) (currently |yet )?(support|work with)"
    r"|\bat most \d+ (image|audio|video|file)|\bnot supported|unsupported|supports? only"
    r"|only (be )?supported|roles? are supported|requires? --|no endpoints found (that|with|matching)|only afford"
    r"|(can ?not|can't) be used with|not (available|enabled|allowed) (for|with|on|by) (this|the|that) (model|endpoint)"
    r"|(supports?|allows?) (at most|up to|a maximum)|is deprecated for this model|is too large: \d+"
    r"|roles must alternate|\bjinja\b|(chat|prompt) template|for this template|\bmmproj\b|multimodal"
)
_CANNOT_TEXT_OF_A_SERVER = (
    r"\b(does|do) not support|input is not supported|requires? --|roles must alternate|\bjinja\b|\btemplate\b"
    r"|\bmmproj\b|\bgrammar\b|json.?schema|\btools?\b.{0,60}(\bnot\b|requires?|unsupported)|\btool_choice\b"
    r"|\bexecuting \w+ at line \d|\bat row \d+, column \d|\bunknown method: |assistant (messages? at|response prefill)"
    r"|type of last message|(process|load|decode|unknown|invalid) (the )?(image|audio)\b|\bimage: unknown|image input"
    r"|required for format\b|\bcontent\[\]"
)
"""The words of a server's own error (5xx) that name a part of the request."""

_WRONG_OUTPUT_TEXT = (
    r"error pars\w+ (the )?tool|failed to (call a function|parse (tool|input at)|generate json)"
    r"|produced output that does not match|invalid tool call arguments"
)
_UNREADABLE_TEXT = r"json\.exception|cannot unmarshal|illegal base64|failed to parse messages|\bBadRequestError\b"
"""The words of a server's own error (5xx) about a request that it cannot read."""

_OUT_OF_MEMORY = (
    r"out of (device )?memory|(cuda|hip)malloc failed|failed to allocate|allocation failed|not enough memory"
    r"|insufficient memory|insufficient system resources|error_?out_?of_?(device_?)?memory|requires more (\w+ )?memory"
)
_FIREWALL = (
    r"attention required|(sorry,|been) (you have been )?blocked|request (was |has been )?(blocked|rejected)"
    r"|url was rejected|web application firewall|\bwaf\b|mod_?security|incapsula|support id is|just a moment"
    r"|request could not be satisfied|enable javascript and cookies|captcha"
)
_KEY_TEXT = (
    r"(api|access|secret|subscription)[ _-]?key|your key|credential|authenticat|bearer"
    r"|\btoken\b.{0,30} (is|has|was)\b"
)
_WRONG_KEY_TEXT = (
    r"(incorrect|invalid|expired|missing|wrong) api[ _-]?key|api[ _-]?key.{0,40}(not valid|invalid|expired|incorrect)"
    r"|(organi[sz]ation|account|project|workspace) (has been|is|was) (restricted|disabled|deactivated|banned)"
    r"|credential is only authori[sz]ed"
)

RULES: tuple[Rule, ...] = (
    # a firewall in front of the provider: its page is no word of the provider
    _rule(_E.FORBIDDEN, codes=FIREWALL_PAGE),
    # money and limits: OpenRouter's in-flight budget is a limit, and an answer too long for the rest is the request's
    _rule(_E.RATE_LIMITED, {402, None}, codes="openrouter_in_flight_budget"),
    _rule(_E.UNSUPPORTED, {402}, text=r"can only afford [1-9]"),
    _rule(_E.RATE_LIMITED, {402, 403, 429, None}, codes=MODEL_CODES, text=MODEL_TEXT),  # its key serves other models
    _rule(_E.OUT_OF_CREDITS, codes=_CREDIT_CODES, text=_CREDIT_TEXT),
    _rule(_E.OUT_OF_CREDITS, {400}, text=r"spend limit|usage limits"),
    _rule(_E.OUT_OF_CREDITS, {403}, text=r"(key|spend|credit|budget) limit|budget"),
    _rule(_E.RATE_LIMITED, {402, None}, codes="rate_limit_exceeded rate_limit_error slow_down"),
    _rule(_E.RATE_LIMITED, {400, 403, 500, 503, None}, codes=_RATE_CODES, text=_RATE_TEXT),
    _rule(_E.OUT_OF_CREDITS, {402}),
    _rule(_E.CONTEXT_OVERFLOW, {429}, text=r"request too large"),
    _rule(_E.RATE_LIMITED, {429}),
    # the key
    _rule(_E.NOT_INSTALLED, {401}, codes="signin_url"),  # an Ollama without a login: its local models do not fail
    _rule(_E.FORBIDDEN, {401, 403, 404}, text=_NO_ACCESS_TEXT),
    _rule(_E.FORBIDDEN, {400}, codes="model_terms_required"),
    _rule(_E.AUTH, {401}),
    _rule(_E.AUTH, {400, None}, codes="api_key_invalid invalid_api_key authentication_error failed_precondition"),
    _rule(_E.AUTH, {400, 403, None}, "organization_on_hold organization_restricted permission_error", _WRONG_KEY_TEXT),
    # the content
    _rule(_E.CONTENT_FILTER, {400, 403, 422, 500, None}, codes=_FILTER_CODES, text=_FILTER_TEXT),
    _rule(_E.CONTENT_FILTER, {451}),
    # what the request needs, and a model that is gone: both are written with "no endpoints found"
    _rule(_E.INVALID_OUTPUT, {400, 422, 500, None}, "tool_use_failed json_validate_failed", _WRONG_OUTPUT_TEXT),
    _rule(
        _E.UNSUPPORTED, {404}, text=r"no endpoints found (that|with|matching)|no (available )?endpoints? .{0,40}support"
    ),
    _rule(_E.BAD_REQUEST, {404}, text=_NOT_OF_A_MODEL),
    _rule(_E.NOT_INSTALLED, {403, 404, 410, None}, codes=_NO_MODEL_CODES, text=_NO_MODEL_TEXT),
    _rule(_E.NOT_INSTALLED, {400, 422}, codes=_NO_MODEL_CODES, text=_NAMED_MODEL_TEXT),
    _rule(_E.NOT_INSTALLED, {404}, codes="not_found not_found_error notfounderror resource_does_not_exist"),
    _rule(
        _E.NOT_INSTALLED, {503, None}, text=r"\bno (allowed |available )?providers?\b|no available channel|无可用渠道"
    ),
    _rule(_E.NOT_INSTALLED, {500, 503}, codes=_NO_MODEL_CODES, text=r"\bmodel [`'\"][^`'\"]+[`'\"] (was )?not found"),
    # the request
    _rule(_E.CONTEXT_OVERFLOW, _REQUEST, codes=_TOO_LONG_CODES),
    _rule(_E.NO_VRAM, _SERVER, codes="no_vram", text=_OUT_OF_MEMORY),
    _rule(
        _E.UNSUPPORTED, {400, 422}, codes=_CANNOT_CODES, text=r"\bmax(_completion|_output)?_tokens\b.{0,20}too large"
    ),
    _rule(_E.CONTEXT_OVERFLOW, {400, 413, 422, None}, text=_TOO_LONG_TEXT),
    _rule(_E.CONTEXT_OVERFLOW, {413}),
    _rule(_E.CONTEXT_OVERFLOW, {500, 503}, text=_TOO_LONG_OF_A_SERVER),
    _rule(_E.UNSUPPORTED, {500, 503}, text=_CANNOT_TEXT_OF_A_SERVER),
    _rule(_E.NO_VRAM, {400}, text=r"failed to load model.{0,120}resources"),
    _rule(_E.OVERLOADED, {400}, text=r"^model is not loaded$"),  # llama-server with `?autoload=false`
    _rule(_E.OVERLOADED, {400, 403, 404, 422}, codes="overloaded_error engine_overloaded_error", text=_BUSY_TEXT),
    _rule(_E.UNSUPPORTED, {400, 404, 405, 422, 501, None}, codes=_CANNOT_CODES, text=_CANNOT_TEXT),
    _rule(_E.AUTH, {403}, codes="permission_denied access_terminated_error account_deactivated", text=_KEY_TEXT),
    _rule(_E.FORBIDDEN, {403}),
    _rule(
        _E.BAD_REQUEST,
        {500, 502, 503},
        "parse_error invalid_request_error badrequesterror invalid_argument",
        _UNREADABLE_TEXT,
    ),
    # the server
    _rule(
        _E.OVERLOADED, {None}, codes="overloaded_error server_is_overloaded unavailable unavailable_error server_error"
    ),
    _rule(_E.OVERLOADED, {None}, codes="api_error internal internal_server_error internal_error timeout_error"),
    _rule(_E.OVERLOADED, {None}, text=r"overloaded|loading model|no slot available|server busy"),
    _rule(_E.BAD_REQUEST, {None}, codes="invalid_request_error badrequesterror invalid_argument"),
    # the status alone
    _rule(_E.TIMEOUT, {408, 504}),
    _rule(_E.CONNECTION, {502, *range(520, 528)}),
    _rule(_E.OVERLOADED, {498, 529}),  # Groq's and Anthropic's alone, whatever their bodies
    _rule(_E.BAD_REQUEST, {400, 411, 414, 415, 422, 431}),
)
"""The first rule that matches decides."""


def find_class(error: UpstreamError) -> ErrorClass | None:
    """The class of an error by the first rule that matches; None: no rule does."""
    return next((rule.error for rule in RULES if rule.matches(error)), None)


def is_firewall_page(text: str) -> bool:
    """Whether a body that is not JSON is the page of a firewall, which stops single requests."""
    return re.search(_FIREWALL, text, re.IGNORECASE) is not None
