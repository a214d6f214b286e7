"""The billing of a backend, and which backends share a credential."""

import pytest

from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.entries import Backend, Billing


def catalog(**backends):
    return Catalog(backends={name: Backend(**{"pool": "cloud", **spec}) for name, spec in backends.items()})


@pytest.mark.parametrize(
    ("spec", "billing"),
    [
        pytest.param({"pool": "gpu"}, Billing.LOCAL, id="a local pool costs nothing"),
        pytest.param({"pool": "cloud"}, Billing.METERED, id="any other is metered"),
        pytest.param({"pool": "cloud", "billing": Billing.FLAT}, Billing.FLAT, id="unless the file says otherwise"),
    ],
)
def test_how_calls_are_paid_for(spec, billing):
    assert catalog(box={"url": "http://box", **spec}).billing("box") is billing


def test_a_credential_name_reveals_nothing_of_the_key():
    entries = catalog(a={"url": "https://one.example/v1", "api_key": "sk-secret"})
    assert entries.credential("a")
    assert "secret" not in entries.credential("a")
    assert catalog(a={"url": "https://one.example/v1"}).credential("a") == ""


def test_backends_of_one_host_share_a_key_and_those_of_two_hosts_do_not():
    both = catalog(
        a={"url": "https://one.example/v1", "api_key": "ollama"},
        b={"url": "https://one.example/beta", "api_key": "ollama"},
        c={"url": "https://two.example", "api_key": "ollama"},
    )
    assert both.credential("a") == both.credential("b") != both.credential("c")
