"""The billing of a backend, and which backends share a credential."""

import pytest

from openfall.router_core.catalog.backend_entry import Backend
from openfall.router_core.catalog.catalog import Catalog
from openfall.router_core.catalog.pools import Billing


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
    ((name, key),) = entries.credentials("a").items()
    assert (key, "secret" in name) == ("sk-secret", False)
    assert catalog(a={"url": "https://one.example/v1"}).credentials("a") == {}


def test_each_of_several_keys_has_its_name_and_an_empty_one_is_skipped():
    entries = catalog(a={"url": "https://one.example/v1", "api_keys": ["sk-one", "", "sk-two"]})
    names = entries.credentials("a")
    assert list(names.values()) == ["sk-one", "sk-two"]
    assert len(names) == 2


def test_backends_of_one_host_share_a_key_and_those_of_two_hosts_do_not():
    both = catalog(
        a={"url": "https://one.example/v1", "api_key": "ollama"},
        b={"url": "https://one.example/beta", "api_key": "ollama"},
        c={"url": "https://two.example", "api_key": "ollama"},
    )
    assert both.credentials("a") == both.credentials("b") != both.credentials("c")
