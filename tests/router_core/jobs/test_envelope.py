"""What is packed for Redis is unpacked unchanged, and anything else is refused with its place."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from openfall.router_core.jobs.envelope import (
    UnreadableEnvelope,
    pack_answer,
    pack_attempt,
    pack_job,
    pack_result,
    unpack_answers,
    unpack_attempts,
    unpack_job,
    unpack_result,
    unpack_result_head,
)
from openfall.router_core.jobs.job import CompletionJob, ConsideredModel
from openfall.router_core.jobs.outcome import Answer, Attempt, Completion
from openfall.router_core.jobs.request_fingerprint import digest, repeat_digest, request_key, sorted_deep
from openfall.router_core.jobs.result import Result, Status
from openfall.router_core.jobs.token_usage import Usage
from openfall.router_core.vocabulary import ErrorClass, HoldReason, Remedy, Urgency

text = st.text(st.characters(codec="utf-8"), max_size=20)
whole = st.integers(-(2**53), 2**53)
json_values = st.recursive(
    st.none() | st.booleans() | whole | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
bodies = st.dictionaries(text, json_values, max_size=4)
jobs = st.builds(
    CompletionJob,
    id=st.from_regex(r"[A-Za-z0-9_-]{8,64}", fullmatch=True),
    producer=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    chain=st.lists(text, min_size=1, max_size=3).map(tuple),
    body=bodies,
    role=st.none() | text,
    urgency=st.sampled_from(Urgency),
    reason=text,
    stream=st.booleans(),
)
moments = st.floats(0, 1e10)
attempts = st.builds(
    Attempt,
    model=text,
    backend=text,
    started_at=moments,
    ended_at=moments,
    error=st.none() | st.sampled_from(ErrorClass),
    detail=text,
    retry_after=st.none() | moments,
    input_tokens=st.none() | st.integers(0, 10**9),
    output_tokens=st.none() | st.integers(0, 10**9),
)
results = st.builds(
    Result,
    id=st.just("job-00001"),
    status=st.sampled_from(Status),
    attempts=st.lists(attempts, max_size=3).map(tuple),
    body=st.none() | bodies,
    finish_reason=st.none() | text,
    error=st.none() | st.sampled_from(ErrorClass),
    detail=text,
    waited=moments,
    took=moments,
    reason=text,
    degraded_by=st.none() | st.sampled_from(Remedy),
    degraded_why=text,
    held_for=st.none() | st.sampled_from(HoldReason),
)
quick = settings(max_examples=150)


@quick
@given(job=jobs, deadline=moments)
def test_a_job_comes_back_as_it_was_with_its_deadline(job, deadline):
    assert unpack_job(pack_job(job), deadline) == job.model_copy(update={"deadline": deadline})


@quick
@given(calls=st.lists(attempts, max_size=4))
def test_attempts_come_back_in_their_order(calls):
    assert unpack_attempts(b"\n".join(map(pack_attempt, calls))) == tuple(calls)


@quick
@given(result=results)
def test_a_result_comes_back_as_it_was(result):
    assert unpack_result(result.id, pack_result(result)) == result


def test_a_line_break_in_a_detail_does_not_end_the_line():
    attempt = Attempt(
        model="m", backend="b", started_at=1, ended_at=2, error=ErrorClass.OTHER, detail="a\nb\r\u2028c\x0bd\x85"
    )
    line = pack_attempt(attempt)
    assert b"\n" not in line
    assert unpack_attempts(line + b"\n" + line) == (attempt, attempt)


def test_a_small_job_is_small_in_redis():
    job = CompletionJob(id="job-00001", producer="p", chain=("smol",), body={})
    head, body = pack_job(job).split(b"\n")
    assert json.loads(head) == {"v": 2, "id": "job-00001", "producer": "p", "chain": ["smol"]}
    assert json.loads(body) == {}


@quick
@given(job=jobs)
def test_the_first_line_alone_is_the_job_without_its_body(job):
    head = pack_job(job).partition(b"\n")[0]
    assert unpack_job(head, 5.0, 2.0) == job.model_copy(update={"body": {}, "deadline": 5.0, "accepted_at": 2.0})


def test_answers_kept_with_a_job_come_back_in_their_order_apart_from_the_last_refusal():
    answers = tuple(
        Answer(
            model, "box", Completion(text=model, finish_reason="stop", usage=Usage(output_tokens=3), body={"a": [1]})
        )
        for model in ("smol", "large")
    )
    assert unpack_answers(map(pack_answer, answers)) == (answers, None)
    refusals = [replace(answer, is_refusal=True) for answer in answers]
    assert unpack_answers(map(pack_answer, [refusals[0], *answers, refusals[1]])) == (answers, refusals[1])
    with pytest.raises(UnreadableEnvelope, match="completion"):
        unpack_answers([b'{"model":"smol","backend":"box"}'])


@quick
@given(job=jobs, values=st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_change_the_digest(job, values):
    names = list(job.body)
    values.shuffle(names)
    assert digest(job.model_copy(update={"body": {name: job.body[name] for name in names}})) == digest(job)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"body": {"messages": [{"b": 1, "a": [2]}]}}, id="other words"),
        pytest.param({"chain": ("large",)}, id="another model"),
    ],
)
def test_other_requests_have_other_digests(other):
    job = CompletionJob(id="job-00001", producer="p", chain=("smol",), body={"messages": [{"a": [1], "b": 1}]})
    assert digest(job.model_copy(update=other)) != digest(job)
    assert digest(job.model_copy(update={"id": "job-00002", "urgency": Urgency.BATCH})) == digest(job)


def test_excluded_models_do_not_change_the_digest():
    request = {"id": "job-00001", "producer": "p", "body": {"messages": []}}
    both = (ConsideredModel(model="smol", reason="1st"), ConsideredModel(model="haiku", reason="2nd"))
    alone = (
        both[0],
        ConsideredModel(model="haiku", reason="left out: the fleet is switched to local-only", chosen=False),
    )
    then = CompletionJob(chain=("smol", "haiku"), considered=both, **request)
    assert digest(CompletionJob(chain=("smol",), considered=alone, **request)) == digest(then)


def test_keys_are_sorted_all_the_way_down():
    assert json.dumps(sorted_deep({"b": [{"d": 1, "c": 2}], "a": 0})) == '{"a": 0, "b": [{"c": 2, "d": 1}]}'


@pytest.mark.parametrize(
    ("envelope", "message"),
    [
        pytest.param(b"", "not JSON", id="nothing"),
        pytest.param(b"\x80\x05.", "not JSON", id="a pickle"),
        pytest.param(b"[1]", "schema None, but this openfall reads schema 2", id="a list"),
        pytest.param(b'{"id":"x"}', "schema None", id="no schema"),
        pytest.param(b'{"v":3}', "schema 3", id="a newer schema"),
        pytest.param(b'{"v":2}', "Field required", id="too little"),
    ],
)
def test_an_unreadable_envelope_is_refused_with_the_reason(envelope, message):
    with pytest.raises(UnreadableEnvelope, match=message):
        unpack_job(envelope, 1.0)
    with pytest.raises(UnreadableEnvelope, match=message):
        unpack_result("job-00001", envelope)
    with pytest.raises(UnreadableEnvelope):
        unpack_result_head("job-00001", envelope)


def test_a_torn_body_is_not_reported_as_a_torn_head():
    job = CompletionJob(id="job-00001", producer="p", chain=("smol",), body={"messages": []})
    with pytest.raises(UnreadableEnvelope, match="its body is not JSON"):
        unpack_job(pack_job(job)[:-3], 1.0)


def test_an_unknown_field_is_named_and_its_value_is_not_shown():
    packed = b'{"v":2,"id":"job-00001","producer":"p","chain":["m"],"secret":"s3cr3t"}'
    with pytest.raises(UnreadableEnvelope, match="secret: ") as caught:
        unpack_job(packed, 1.0)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("line", [b"[]", b"{}", b"nonsense", b'{"model":"m"}'])
def test_an_attempt_that_cannot_be_read_is_refused(line):
    with pytest.raises(UnreadableEnvelope):
        unpack_attempts(line)


@pytest.mark.parametrize("bad", [{"id": "short"}, {"id": "has space"}, {"chain": ()}, {"producer": ""}, {"more": 1}])
def test_a_job_that_is_none_is_refused_when_it_is_made(bad):
    with pytest.raises(ValidationError):
        CompletionJob(**{"id": "job-00001", "producer": "p", "chain": ("m",), "body": {}, **bad})


def test_the_label_of_a_job_has_its_role_or_task_urgency_and_model():
    job = CompletionJob(id="job-00001", producer="p", chain=("smol",), body={"secret": "x"})
    assert job.label == "-/background smol"
    assert job.model_copy(update={"task": "jira"}).label == "jira/background smol"
    assert job.model_copy(update={"role": "ace", "task": "jira", "urgency": Urgency.BATCH}).label == "ace/batch smol"


def test_equal_requests_of_one_group_share_their_last_answer():
    request = {"id": "job-00001", "producer": "tests", "chain": ("small",), "body": {"prompt": "a"}, "role": "chat"}
    key = request_key(CompletionJob(**request, group="main"))
    assert request_key(CompletionJob(**request | {"id": "job-00002", "producer": "another"}, group="main")) == key
    assert request_key(CompletionJob(**request, group="others")) != key
    assert request_key(CompletionJob(**request | {"body": {"prompt": "b"}}, group="main")) != key


@given(result=results, end=st.integers(0, 4000))
def test_the_head_of_a_result_is_the_result_without_its_body_or_is_refused(result, end):
    packed = pack_result(result)
    head = unpack_result_head(result.id, packed)
    assert head == result.model_copy(update={"body": None if result.body is None else {}})
    try:
        part = unpack_result_head(result.id, packed[:end])
    except UnreadableEnvelope:
        return
    assert part.id == result.id


def test_a_long_answer_is_not_needed_for_the_head_of_its_result():
    result = Result(id="job-00001", status=Status.ANSWERED, body={"text": "x" * 10_000}, reason="1st in its chain")
    assert unpack_result_head(result.id, pack_result(result)[:500]).reason == "1st in its chain"


def test_a_result_without_an_answer_has_no_body_in_its_head():
    result = Result(id="job-00001", status=Status.EXPIRED, detail="its deadline has passed")
    packed = pack_result(result)
    assert b"body" not in packed
    assert unpack_result_head(result.id, packed) == unpack_result(result.id, packed) == result


@pytest.mark.parametrize(("more", "same"), [({"metadata": {"try": "2"}, "user": "mika"}, True), ({"seed": 3}, False)])
def test_a_repeat_is_known_by_the_fields_that_change_the_answer(more, same):
    first = CompletionJob(id="job-00001", producer="bot", chain=("a",), body={"prompt": "wave"})
    again = first.model_copy(update={"body": {**first.body, **more}})
    digests = [repeat_digest(job, digest(job)) for job in (first, again)]
    assert (digests[0] == digests[1]) is same


def test_a_body_of_too_many_values_is_refused_before_it_is_read():
    with pytest.raises(UnreadableEnvelope, match="values"):
        unpack_job(b"{}\n[" + b"0," * 2_000_000 + b"0]", deadline=1.0)
