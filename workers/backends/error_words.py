"""The words of upstreams' errors: the codes and the patterns by which `error_rules` gives an error its class. Pure.

Codes are lower case. The patterns ignore case.
"""

from __future__ import annotations

CREDIT_CODES = (
    "insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded project_spend_limit_exceeded"
    " organization_usage_limit_exceeded enforced_spend_limit_reached contract_spend_limit_reached"
    " linked_organization_spend_limit_reached quota_exceeded billing_error openrouter_credits openrouter_key_limit"
    " openrouter_guardrail_budget openrouter_workspace_budget workspace_budget key_limit"
    " exceeded_current_quota_error insufficient_balance insufficientbalance insufficient_credits insufficient_funds"
    " insufficient_user_quota billing_hard_limit_reached billing_not_active arrearage accountoverdueerror"
    " payment_required allocationquota.freetieronly budget_exceeded 1113 1008 usage_limit_reached 1308 1309 1310 1316"
    " 1317 1318 1319 1320 1321 exhausted_credits pre_consume_token_quota_failed customer_verification_required"
)
CREDIT_TEXT = (
    r"insufficient[ _](account )?(balance|credits?|funds|quota)"
    r"|balance (of this account )?(is |was )?(insufficient|too low|not enough|negative)"
    r"|(insufficient|no remaining) (\w+ )?balance|\bin debt\b|subscription (has |is )?expired"
    r"|card was declined|have enough tokens left"
    r"|not enough (credits?|balance|funds)|out of credits?|(n[o']t|n't) have (any |enough |sufficient )?credits"
    r"|credit balance is too low|requires more credits|please recharge|top[ -]?up your|in arrears|overdue payment"
    r"|account .{0,40}(is|has been) (suspended|overdue|in arrears).{0,60}(billing|plan|payment|balance)?"
    r"|(?<!not your )\busage limit|使用上限|reached (its|your) spend(ing)? limit|free ((tier|allocated) )?quota"
    r"|negative (credit )?balance|余额不足|欠费|(used|spent) (up )?(all|your) .{0,30}\bcredits|budget has been exceeded"
    r"|(reach|exceed)\w* .{0,30}spend(ing)? (limit|cap)|\bcredits (are |were |have been )?(depleted|exhausted|used up)"
    r"|out of (extra usage|.{0,20}\bquota)|额度(已用尽|已耗尽|不足)"
    r"|quota is not enough|\bexceeded\w*budget"
    r"|no credits? (left|remaining)|exceeded your .{0,30}\bcredits|spend(ing)? limit (reached|exceeded)"
    r"|requires? (a )?payment|add a payment method|exceeded your (daily|weekly|monthly) quota|from your extra usage"
)
RATE_CODES = (
    "ratelimitexceeded userratelimitexceeded throttlingexception too_many_requests resource_exhausted"
    " rate_limited request_limit_exceeded servicequotaexceededexception 1002 1039 1041"
)
RATE_TEXT = (
    r"rate[ -]?limit(ed| reached| exceeded)|too many requests|\bthrottl|requests per (second|minute|hour|day)"
    r"|too many (tokens|connections), please wait|(status|error)( code)?:? 429\b|\brequest limit reached"
)
BUSY_TEXT = (
    r"(model|server|engine|system|service) is (currently |temporarily |too )?(overloaded|busy)|at capacity|负载已?饱和"
    r"|\bmodel (has |was |is )?(crashed|unloaded)|over capacity|model is loading|error occurred in model serving"
    r"|degraded function|failed to load (the )?model|^channel error\b"
)
BUSY_EXCEPTIONS = (
    "internalserverexception modelstreamerrorexception modelerrorexception serviceunavailableexception"
    " modelnotreadyexception"
)
"""How AWS names the failures of a model."""
TOO_LONG_CODES = (
    "exceed_context_size_error context_length_exceeded context_window_exceeded model_max_prompt_tokens_exceeded"
    " string_above_max_length request_too_large tokens_too_long prompt_too_long input_too_long 1261"
)
TOO_LONG_TEXT = (
    r"context[ _-]?(length|size|window|limit)|maximum context|not fit (in|into|within) the (model's )?context"
    r"|(maximum|max) (allowed )?number of (input|prompt) tokens|max_total_tokens\b.{0,20}exceeded"
    r"|\b(total|prompt|input) tokens\b.{0,30}(must|should) be (less|fewer) than \d"
    r"|(input|prompt) characters? limit|messages: text is too long"
    r"|(prompt|input|request|message|context|conversation)s? ((is|was|are) )?too (long|large)"
    r"|tokens in context|max(imum)? token length|\btokens?\b.{0,20} (is|are) (larger|greater|more) than"
    r"|exceeds? the (maximum|available) .*(context|tokens)|maximum (supported )?(prompt|input|sequence|model) length"
    r"|(prompt|input|messages?|request|sequence)s?\b.{0,80}(exceed\w*|longer than|greater than|more than|above|over)"
    r".{0,60}(\blimit|maximum|max(imum)? length|tokens?\b|allowed|\bcontext\b)"
    r"|too many (input |prompt |total )?(tokens|text bytes)"
    r"|exceed\w* (the )?(model('s)? )?token limit|^token limit exceeded"
    r"|tokens? (count )?(in (the )?request )?(exceed\w*|more than|larger than|greater than)"
    r"|too large for model|reduce (the |your )?(length|prompt|size|number of (input |prompt )?(tokens|messages|images))"
    r"|range of input length|max_new_tokens. must be <="
    r"|must have (less|fewer) than \d+ tokens|request too large|longer than the model"
    r"|(prompt|input) length \d+ is (greater|longer|larger) than|\b(max_seq|max_model|session)_len\b|\bmax_num_tokens\b"
    r"|cannot truncate to \d|context overflow|\b(prompt|input) too long"
    r"|tokens?\b.{0,60} exceed (the )?max|the max input (characters|tokens)"
    r"|tokens? .{0,40}\bexceeds? the limit|token count.{0,20} exceeds? \d|\bn_ctx\b|conversation (is|was) too long"
    r"|(输入|请求|消息|上下文|提示|prompt|token).{0,20}(过长|超长|超过|超出)|压缩上下文|(トークン|入力|コンテキスト).{0,30}(超え|超過|長すぎ)"
    r"|(토큰|입력|컨텍스트).{0,30}초과|превыш.{0,40}(контекст|токен)|(контекст|токен|запрос).{0,40}превыш"
    r"|(dépass|trop long).{0,60}(contexte|jetons|tokens)|(eingabe|anfrage|kontext|prompt).{0,60}(zu lang|überschreit)"
    r"|(supera|exce[d]e|sobrepasa|demasiado |muito long|troppo lung).{0,60}(contexto|contesto|tokens)"
)
TOO_LONG_OF_A_SERVER = (
    r"\bmax_num_tokens\b|context (length|size|window|limit)|maximum context|too many tokens"
    r"|(prompt|input)( \(\d+ tokens\))? is too (large to process|long)|\bn_ctx\b|contextwindowexceeded|context shift"
)

FILTER_CODES = (
    "content_filter content_policy_violation moderation invalid_prompt data_inspection_failed datainspectionfailed"
    " responsibleaipolicyviolation content_filtered cyber_policy_violation prohibited_content inappropriate_content"
    " sensitivecontentdetected sensitivecontentdetected.violation inputtextsensitivecontentdetected"
    " outputtextsensitivecontentdetected 1301 1026 1027"
)
FILTER_TEXT = (
    r"content[ _-](filter|management polic|polic|moderation|violat|exists risk)|output blocked|flagged|moderation"
    r"|usage (polic|guideline)|inappropriate content|considered high risk|(unsafe|sensitive) (content|information|word)"
    r"|safety (system|filter|check|reason|setting|polic)|safety_check|violat\w+ .{0,60}(polic|guideline|terms)"
    r"|不安全或敏感|敏感(内容|信息|词)|(内容|输入|输出|涉嫌)违规"
    r"|(blocked|stopped) by .{0,30}guardrail|guardrail (checks|intervened)"
    r"|disallowed content|safety(:| classifier)|prompt injection|\bpii detected|内容审核"
    r"|guardrail blocked|blocked (entity|due to security config)|\bnew_sensitive\b"
    r"|内容安全|contentpolicyviolation|\bnsfw\b|data_inspection_failed|prohibited[ _]content"
)
NO_MODEL_CODES = (
    "model_not_found model_not_found_error model_decommissioned model_deprecated model_retired deploymentnotfound"
    " modelnotfound modelnotopen model_not_exist unknown_model unavailable_model invalid_model model_not_available"
    " modeldeprecated invalidendpoint.closedendpoint 1211"
)
ENDED = (
    r"decommissioned|retired|removed|shut ?down|discontinued|sunset(ted)?|deprecated|(the )?end[- ]of[- ](its[- ])?life"
    r"|no longer (supported|available|served)"
)
NO_MODEL_TEXT = (
    r"\bmodel\b.{0,200}(not found|does not exist|not exist)|no such model|not a valid model|unknown model"
    r"|no endpoints found|requires a subscription|cloud is disabled|remote model is unavailable"
    rf"|(\bthis model( version)?|\bmodel:? [`'\"]?[\w./:@-]+[`'\"]?) (is|was|has been|has reached( its)?)"
    rf" (now )?({ENDED})"
    r"|\bmodel\b.{0,80} is not (available|active|loaded)|(cannot|can't|could not) find (the )?model|invalid model name"
    r"|not found the model|real modelID for|no router for requested model|no instance found for model"
    r"|\bno models? (is |are )?loaded"
    r"|function '[^']+': not found|\bendpoint does not exist|模型.{0,10}(不存在|已下线|已下架|未找到)"
)
NAMED_MODEL_TEXT = (
    r"\bmodel:? [`'\"][^`'\"]+[`'\"].{0,60}(not found|not exist)|\bmodel (was |does )?not (found|exist)|no such model"
    r"|not a valid model|unknown model|real modelID for|\bmodel id : \S+ , has no provider"
    r"|invalid model( id\b| name| identifier|: )|model identifier is invalid"
    r"|模型.{0,10}(不存在|已下线|已下架|未找到)|\bno models? (is |are )?loaded"
    rf"|(\bthis model|\bmodel:? [`'\"]?[\w./:@-]+[`'\"]?) (is|was|has been) (now )?({ENDED})"
)
"""A 400 opens the breaker of the model only if it names the model: other things of a request may not exist either."""

NO_PATH_TEXT = (
    r"^(?!(?s:.*)(\burl\b[^.]{0,20}https?://|\bimage))"
    r"((40[45]\b.{0,20}|page |path |file |method )?not (found|allowed)\b|default backend\b|$"
    r"|(?s:.*)(\bcannot (post|get) /|\bunexpected endpoint\b|\bno route\b|\b(unknown|invalid) (request )?url\b"
    r"|\b(page|path|url|route)\b.{0,80}\bnot found\b))"
)
"""How a server says that it has nothing at the path of a request. An address behind `url` is one of the request."""

NO_ACCESS_TEXT = (
    r"access to (the |this )?(model|deployment)|requires? .{0,20}terms acceptance|accept the terms"
    r"|(allowed|permitted|authori[sz]ed|entitled|permission)s? to (use|access|call) (the |this )?model"
    r"|model.{0,80}(not (available|enabled|allowed) (for|in|to|on) your)|data policy|guardrail"
    r"|ignored providers|allowed providers|use case details|marked by (its )?provider as legacy"
    r"|\bplan (does )?not (yet )?(include|support)|unavailable in your (region|country)"
    r"|endpoint is (temporarily )?disabled|must be verified to use"
)
NOT_OF_A_MODEL = (
    r"\b(file|image|document|container|cached?[ _]?content|conversation|response|prompt|skill|thread|assistant"
    r"|item)s?\b"
    r"(?! not found\.?$).{0,120}(not found|does not exist|not exist)"
)
CANNOT_CODES = (
    "unsupported_value unsupported_parameter unsupported_model unsupportedparamserror not_supported_error"
    " unsupported_operation no_providers_available notimplementederror operationnotsupported unsupported_api_for_model"
    " model_not_available_for_integrator"
)
CANNOT_TEXT = (
    r"(does|do|is|are|was|were)( not|n['’]t) (currently |yet )?(support|work with)"
    r"|\bat most \d+ (image|audio|video|file)|\bnot supported|unsupported|supports? only|only supports?\b"
    r"|only (be )?supported|roles? are supported|requires? --|no endpoints found (that|with|matching)|only afford"
    r"|(can ?not|can't) be (used with|disabled)|\bonly [\d.]+ is allowed for this|only works in (non-)?thinking"
    r"|not (yet )?(available|enabled|allowed) (for|with|on|by) (this|the|that|your) (model|endpoint"
    r"|subscription|plan)"
    r"|(supports?|allows?) (at most|up to|a maximum)|is deprecated for this model|is too large: \d+"
    r"|not (yet |currently )?implemented"
    r"|\bincompatible with\b|is not a (chat|supported) model|requires a newer version|not enabled for this"
    r"|roles must alternate|\bjinja\b|(chat|prompt) template|for this template|\bmmproj\b|multimodal"
)
CANNOT_TEXT_OF_A_SERVER = (
    r"\b(does|do) not support|input is not supported|requires? --|roles must alternate|\bjinja\b|\btemplate\b"
    r"|\bmmproj\b|\bgrammar\b|json.?schema|\btools?\b.{0,60}(\bnot\b|requires?|unsupported)|\btool_choice\b"
    r"|\bexecuting \w+ at line \d|\bat row \d+, column \d|\bunknown method: |assistant (messages? at|response prefill)"
    r"|type of last message|(process|load|decode|unknown|invalid) (the )?(image|audio)\b|\bimage: unknown|image input"
    r"|required for format\b|\bcontent\[\]"
)
"""The words of a server's own error (5xx) that name a part of the request."""

LIMIT_NAMES = r"max([_ ](completion|output|new))?[_ ]tokens|max(Completion|Output|New)?Tokens"
"""The names of the limit of an answer, as servers write them."""
LIMIT_TOO_LARGE_TEXT = (
    rf"(?<!\+ )(?<!\+ [`'\"])\b({LIMIT_NAMES})\b"
    r"(.{0,20}(too (large|high)|(larger|greater|higher|more) than"
    r"|must be (in|at most|between|<=|(less|lower|smaller)( than)?)|\bsupported range\b)"
    r"| (value )?(would )?exceeds?\b(?!.{0,20}context)|.{0,40}(above maximum|取值范围|范围|超过|超出))"
    rf"|(range|maximum( value)?) (of|for) [`'\"]?({LIMIT_NAMES})\b"
    r"|max_tokens: \d+ > \d+|\bmaxTokens <= \d|\bmaxOutputTokens\b|maximum tokens you requested"
    r"|supports? (at most|up to|a maximum of) [\d,]+ (completion|output) tokens"
)
"""The limit of the answer is above that of the model."""

LABEL_TOO_LONG_TEXT = (
    r"invalid '(?!(messages|input)(\[\d+\](\.content\S*)?)?'|prompt'|instructions')[^']+': string too long"
)
"""A name, an id or a description is too long, and not the prompt."""

OTHER_COUNT_TEXT = (
    r"^(?!.*(token|context|(?<!array )too long|\bpages\b|\b(prompt|input|messages?|request) length\b"
    r"|\blength of (the |your )?(prompt|input|messages?|request)\b"
    r"|\b(prompt|input( text)?|messages?) (is |are )?(exceeds?|above|longer|greater|larger)\b"
    r"(?!.{0,30}\bnumber of (?!characters))))"
    r"(?=.*\b(tools?|functions?|images?|videos?|audio|documents?|schemas?|nesting|stop|batch|array|keys|entries|names?"
    r"|parameters?|seed|temperature|top_\w+|logit_bias|cache(_control)?)\b)"
    r".*\b(exceed\w*|(more|longer|greater|larger) than|above|too many|maximum|at most|the limit (is|of))\b"
)
"""More of something than the model takes, and not of the prompt's length."""

MEDIA_TOO_LARGE_TEXT = (
    r"(?<!tokens of )\bimage\b.{0,80}(exceed|too large|dimension)|\bimage (dimensions|size)\b|\bpdf pages\b"
)

WRONG_OUTPUT_CODES = "tool_use_failed json_validate_failed output_parse_failed"
WRONG_OUTPUT_TEXT = (
    r"error pars\w+ (the )?tool|(malformed|unexpected)_(function|tool)_call|\btool_use_failed\b"
    r"|failed to (call a function|parse (tool|input at)|generate json)"
    r"|produced invalid content"
    r"|produced output that does not match|invalid tool call arguments|\bxml syntax error|element type <\w+> but have <"
    r"|element <\w+> closed by"
)
UNREADABLE_TEXT = r"json\.exception|cannot unmarshal|illegal base64|failed to parse messages|\bBadRequestError\b"
"""The words of a server's own error (5xx) about a request that it cannot read."""

OUT_OF_MEMORY = (
    r"out of (device )?memory|(cuda|hip)malloc failed|failed to allocate|allocation failed|not enough memory"
    r"|insufficient memory|unable to allocate"
    r"|insufficient system resources|error_?out_?of_?(device_?)?memory|requires more (\w+ )?memory"
)
FIREWALL = (
    r"attention required|(sorry,|been) (you have been )?blocked|request (was |has been )?(blocked|rejected)"
    r"|url was rejected|web application firewall|\bwaf\b|mod_?security|incapsula|support id is|just a moment"
    r"|request could not be satisfied|enable javascript and cookies|captcha"
)
KEY_TEXT = (
    r"^unauthori[sz]ed\b|invalid token|\b(token|jwt|signature) expired|\bkey not found|密钥|"
    r"(api|access|secret|subscription)[ _-]?key|your key|credential|authenticat|bearer"
    r"|\btoken\b.{0,30} (is|has|was)\b"
)
WRONG_KEY_CODES = "expired_key api_key_invalid invalid_api_key authentication_error failed_precondition 1004"
WRONG_KEY_TEXT = (
    r"^unauthori[sz]ed\.?$|\bbad api[ _-]?key|api[ _-]?key is (required|missing)|"
    r"(incorrect|invalid|expired|missing|wrong) api[ _-]?key|api[ _-]?key.{0,40}(not valid|invalid|expired|incorrect)"
    r"|(organi[sz]ation|account|project|workspace) (has been|is|was) (restricted|disabled|deactivated|banned)"
    r"|(your access|account) (was|has been|is) terminated|令牌.{0,6}(无效|过期|不可用|已禁用)"
    r"|credential is only authori[sz]ed|(missing|invalid) .{0,20}\bauthorization header|login fail"
    r"|access token (is )?(invalid|expired|no longer)"
)
