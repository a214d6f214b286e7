"""Keys of other tools (LiteLLM, Ollama, vLLM, llama.cpp, Celery, redis-py), and the key to write instead."""

from __future__ import annotations

from collections.abc import Mapping

_ROLE = (
    "chain: models model fallbacks fallback targets; urgency: priority queue; order: strategy routing_strategy sort;"
)
_ROLE += " local_only: local private; checks: validators validation guardrails; pattern: regex"

_WORDS: Mapping[str, str] = {
    "": "models: model_list; backends: providers endpoints servers; redis.url: broker broker_url redis_url"
    " result_backend; gateway.listen: port host bind listen address; gateway: server proxy general_settings;"
    " roles: routes aliases queues; tasks: task_routes; workers.slots: concurrency worker_concurrency;"
    " logs: logging log; traces: tracing telemetry otel opentelemetry; retry: retries router_settings;"
    " retry.max_retries: num_retries max_retries; roles.NAME.chain: fallbacks; models.NAME.timeout: timeout;"
    " backends.NAME.api_key: api_key master_key; budgets: budget; data: data_dir; groups: teams tenants users",
    "gateway": "listen: port host bind address addr url base_url; cors: origins cors_origins allow_origins"
    " allowed_origins; wait_at_most: timeout request_timeout; max_body: max_request_size client_max_body_size"
    " body_limit; processes: workers num_workers; aliases: model_group_alias model_alias served_model_name;"
    " page: ui dashboard; root_path: base_path url_prefix path_prefix prefix script_name server_root_path",
    "backends.*": "url: base_url api_base endpoint host address api_url uri server; protocol: type provider kind api"
    " api_type custom_llm_provider; slots: concurrency max_concurrency parallel num_parallel max_parallel_requests"
    " max_num_seqs max_connections worker_concurrency workers; requests_per_minute: rpm rate_limit;"
    " tokens_per_minute: tpm; api_key: token apikey secret api_token; api_keys: keys; auth_token: bearer bearer_token"
    " authorization; vram_gb: vram gpu_memory gpu_memory_gb; card: gpu device gpu_id cuda_visible_devices;"
    " api_version: version; pool: local group; models.NAME.backends: models model; models.NAME.timeout: timeout"
    " request_timeout; retry.max_retries: retries max_retries num_retries",
    "backends.*.engine": "gpu_layers: n_gpu_layers ngl num_gpu; context: n_ctx num_ctx ctx_size context_length"
    " max_model_len; threads: n_threads num_thread; parallel: n_parallel num_parallel slots;"
    " model: path file model_path gguf",
    "models.*": "upstream: model name model_name id; backends: backend provider host endpoint server servers;"
    " context: context_length context_window max_model_len num_ctx n_ctx ctx_size max_input_tokens context_size;"
    " max_tokens: max_output_tokens max_completion_tokens max_new_tokens num_predict n_predict;"
    " images: vision supports_vision multimodal; tools: supports_function_calling function_calling functions"
    " tool_calling supports_tools; json_schema: structured_output response_schema supports_response_schema json_mode;"
    " thinking: reasoning supports_reasoning think; embeds: embedding embeddings; keep_warm: keep_alive ttl;"
    " quantization: quant; vram_gb: vram; timeout: request_timeout; first_token_timeout: stream_timeout ttft_timeout;"
    " usd_per_mtok: input_cost_per_token output_cost_per_token price prices cost; max_inputs: batch_size;"
    " slots: parallel concurrency max_parallel_requests;"
    " roles.NAME.chain: fallbacks; backends.NAME.url: url api_base base_url; backends.NAME.api_key: api_key;"
    " backends.NAME.requests_per_minute: rpm; backends.NAME.tokens_per_minute: tpm",
    "roles.*": _ROLE,
    "tasks.*": f"{_ROLE}; words: keywords patterns match; aliases: names",
    "groups.*": "match: users members tenant producers; daily_usd: max_budget budget daily_limit limit; name: id;"
    " chain: models",
    "pools.*": "local: private on_prem is_local",
    "budgets.*": "usd: limit max_budget amount max; per: window period duration budget_duration; name: id",
    "redis": "url: host port hostname address uri broker_url; database: db; username: user; tls: ssl; tls_ca: ca"
    " ssl_ca_certs ca_cert; tls_certificate: cert ssl_certfile; tls_key: key ssl_keyfile;"
    " service: master_name service_name sentinel_master; sentinels: sentinel; durability: appendfsync",
    "workers": "slots: concurrency worker_concurrency parallel threads max_concurrency prefetch max_parallel"
    " worker_prefetch_multiplier; processes: count num num_workers replicas autoscale;"
    " shutdown_grace: grace_period timeout shutdown_timeout stop_timeout worker_soft_shutdown_timeout",
    "retry": "max_retries: retries num_retries attempts max_attempts count limit; initial_backoff: delay backoff"
    " base_delay wait retry_backoff retry_after default_retry_delay; max_backoff: max_delay retry_backoff_max",
    "breakers": "consecutive_failures: allowed_fails failure_threshold threshold max_failures;"
    " open_for: cooldown_time cooldown recovery_timeout reset_timeout timeout; failure_rate: error_rate",
    "retention": "results: result_ttl result_expires ttl",
    "limits": "max_prompt: max_input max_prompt_tokens; max_memory: maxmemory memory_limit",
    "logs": "format: style output json formatter",
    "traces": "endpoint: url otlp_endpoint exporter collector",
}
"""By section, the present keys and behind each the words for it. A key with a dot is one of another section."""

OTHER_TOOLS: Mapping[str, Mapping[str, str]] = {
    section: {
        word: key for part in words.split("; ") for key, _, rest in [part.partition(": ")] for word in rest.split()
    }
    for section, words in _WORDS.items()
}
"""By section, the word of another tool and the key to write. `*` is the name of an entry."""
