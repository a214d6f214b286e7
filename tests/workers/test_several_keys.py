"""A provider that refuses one of two keys, and one that limits one of them: the jobs go on with the other."""

from __future__ import annotations

import asyncio
from collections import Counter

import orjson
from redis import Redis

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.model_entry import ModelSpec
from openfall.router_core.vocabulary import Urgency
from tests.faults import COMPLETION, FaultServer, answer
from tests.worker_harness import running_fleet

REFUSAL = {
    "error": {"message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key"}
}
LIMIT = {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}}


class Provider(FaultServer):
    """Answers by the key of each call: `answers` maps it to a response."""

    def __init__(self, answers):
        super().__init__([self.answer_by_key])
        self.answers = answers

    async def answer_by_key(self, writer):
        await self.answers[self.key_of(self.calls_received[-1])](writer)

    @staticmethod
    def key_of(call):
        return call.headers["authorization"].removeprefix("Bearer ")

    @property
    def calls_by_key(self):
        return Counter(map(self.key_of, self.calls_received))


def run_jobs(redis_url, home, provider, urgency):
    """Eight jobs at a backend with the keys sk-one and sk-two; their results."""

    async def main():
        server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        keys = ["sk-one", "", "sk-two"]
        catalog = Catalog(
            backends={"sky": Backend(url=url, pool="cloud", slots=1, api_keys=keys)},
            models={"big": ModelSpec(upstream="big", backends=("sky",), timeout=5)},
        )
        try:
            async with running_fleet(redis_url, home, catalog, "cloud", slots=1) as fleet:
                ids = [await fleet.accept(f"job-{number:05}", ("big",), urgency) for number in range(8)]
                return [(await fleet.until(job_id, "done")).result for job_id in ids]
        finally:
            server.close()

    return asyncio.run(main())


def test_with_two_keys_of_which_one_is_refused_every_job_is_answered_with_the_other(redis_url, tmp_path):
    for urgency in (Urgency.INTERACTIVE, Urgency.BATCH):
        Redis.from_url(redis_url).flushall()
        provider = Provider({"sk-one": answer(REFUSAL, 401), "sk-two": answer(COMPLETION)})
        results = run_jobs(redis_url, tmp_path / urgency, provider, urgency)
        assert [result.status for result in results] == ["answered"] * 8
        assert provider.calls_by_key == {"sk-one": 1, "sk-two": 8}, "one call found out about the key, for all"


def test_with_two_keys_of_which_one_gets_a_429_the_jobs_use_the_other_meanwhile(redis_url, tmp_path):
    limited = answer(LIMIT, 429, retry_after="600")
    provider = Provider({"sk-one": limited, "sk-two": answer(COMPLETION)})
    results = run_jobs(redis_url, tmp_path, provider, Urgency.BATCH)
    assert [result.status for result in results] == ["answered"] * 8
    assert provider.calls_by_key["sk-one"] == 1


def test_calls_take_turns_with_the_keys_and_no_secret_is_in_any_result(redis_url, tmp_path):
    provider = Provider({"sk-one": answer(COMPLETION), "sk-two": answer(COMPLETION)})
    results = run_jobs(redis_url, tmp_path, provider, Urgency.BATCH)
    assert provider.calls_by_key == {"sk-one": 4, "sk-two": 4}
    assert b"sk-" not in orjson.dumps([result.model_dump(mode="json") for result in results])
