import pytest

from openfall.router_core.state.open_breaker_text import describe_open_breaker

REFUSED = "connection (connection refused)"


@pytest.mark.parametrize(
    ("why", "cause", "is_probed", "words"),
    [
        ("5 failures in a row (timeout)", "timeout", False, "open after 5 failures in a row (timeout)"),
        ("time to probe", REFUSED, True, "half open until a probe is answered (connection: connection refused)"),
        ("time to probe", "", True, "half open until a probe is answered"),
        ("the fan is loud", "forced open", False, "kept open by an operator (the fan is loud)"),
        ("", "forced open", False, "kept open by an operator"),
        ("", "", False, "open"),
    ],
)  # fmt: skip
def test_an_open_breaker_is_explained_with_one_level_of_brackets(
    why: str, cause: str, is_probed: bool, words: str
) -> None:
    assert describe_open_breaker("its breaker is", why, cause, is_probed=is_probed) == f"its breaker is {words}"


def test_a_parked_key_has_no_state_of_a_breaker() -> None:
    why = "a failure that does not pass by itself (auth: HTTP 401)"
    parked = "the key of far is parked"
    assert describe_open_breaker(parked, why, "auth (HTTP 401)", is_probed=False) == f"{parked} after {why}"
    text = describe_open_breaker(parked, why, "auth (HTTP 401)", is_probed=True)
    assert text == f"{parked} until a probe is answered (auth: HTTP 401)"
