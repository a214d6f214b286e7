"""What is wrong when Redis or the connection to it fails, and the remedy: TLS, passwords, rights, replicas, memory."""

from __future__ import annotations

import re

from redis import exceptions as redis_errors

from openfall.router_core.state.errors import SentinelTrouble, StoreError, StoreFull, StoreRefused, StoreUnreachable

_Remedies = tuple[tuple[tuple[str, ...], type[StoreError], str], ...]

_TLS_REMEDIES: _Remedies = (
    (
        ("unknown command `FCALL`", "unknown command 'FCALL'", "unknown command `FUNCTION`"),
        StoreRefused,
        "this server has no function libraries, so it is too old: use Valkey 7.2 or newer, or Redis 7.0 or newer",
    ),
    (
        ("Hostname mismatch", "IP address mismatch"),
        StoreRefused,
        "the certificate of Redis is for another host: use the name that it has, or `redis: {tls_check_hostname: no}`",
    ),
    (
        ("certificate has expired", "certificate is not yet valid"),
        StoreRefused,
        "the certificate of Redis is not valid now: renew it, and check the clock of this machine",
    ),
    (
        ("CERTIFICATE_VERIFY_FAILED",),
        StoreRefused,
        "the certificate of Redis has no authority that is known here: name the authority's file in "
        "`redis: {tls_ca: ...}`",
    ),
    (
        ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE", "BAD_CERTIFICATE", "ALERT_UNKNOWN_CA"),
        StoreRefused,
        "Redis demands a certificate of this client that it knows: `redis: {tls_certificate: ..., tls_key: ...}`",
    ),
    (
        ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_EOF"),
        StoreRefused,
        "there is no TLS at this port: use the TLS port of Redis, or redis:// in place of rediss://",
    ),
    (
        ("reply type byte", "Protocol Error"),
        StoreRefused,
        "what answers is not Redis without TLS: if it is the TLS port, use rediss://",
    ),
    (
        ("[X509", "NO_CERTIFICATE", "PEM", "KEY_VALUES_MISMATCH"),
        StoreRefused,
        "a file of `redis: {tls_ca, tls_certificate, tls_key}` is no PEM file, or the key is of another certificate",
    ),
)

_REMEDIES: _Remedies = (
    (("WRONGPASS", "invalid username-password", "invalid password"), StoreRefused, "wrong password or user in its URL"),
    (("without any password configured",), StoreRefused, "Redis has no password: remove it from the configuration"),
    (("NOAUTH", "Authentication required"), StoreRefused, "Redis wants a password in its URL (redis://:PASSWORD@HOST)"),
    (
        ("NOPERM", "has no permissions", "can't run this command", "can't access at least one of the keys"),
        StoreRefused,
        "this Redis user may not do that: give it more rights; `openfall preflight` names them",
    ),
    (("DENIED", "protected mode"), StoreRefused, "Redis is in protected mode: set a password and `bind` on its server"),
    (("LOADING", "loading the dataset"), StoreUnreachable, "Redis still loads its data from disk: try again"),
    (
        ("READONLY", "read only replica", "readonly replica"),
        StoreUnreachable,
        "this is a read-only replica: point the URL at the primary, or name the `sentinels`",
    ),
    (
        ("NOREPLICAS",),
        StoreUnreachable,
        "Redis takes no writes, because too few replicas follow it (`min-replicas-to-write`): start them, or point the "
        "URL at the primary",
    ),
    (
        ("MASTERDOWN", "Link with MASTER is down"),
        StoreUnreachable,
        "this is a replica without its primary: point the URL at the primary, or name the `sentinels`",
    ),
    (
        ("OOM", "> 'maxmemory'"),
        StoreFull,
        "Redis is out of memory (maxmemory): raise it, or let workers drain the queues",
    ),
    (
        ("'WAITAOF'",),
        StoreRefused,
        "`durability: fsync` needs Redis 7.2 or later, or Valkey: upgrade it, or remove the key",
    ),
    (
        ("numlocal is set but appendonly",),
        StoreRefused,
        "`durability: fsync` needs `appendonly yes` of Redis: set it, or remove the key",
    ),
    *_TLS_REMEDIES,
    (("Function not found",), StoreUnreachable, "Redis has lost its scripts again (a restart?): try again"),
    (("MISCONF", "No space left"), StoreFull, "Redis cannot write to its disk: free space there"),
)
"""What a message contains, its error, and the remedy. redis-py cuts off the first word of the messages that it
knows."""

_NO_CONNECTION = (
    (
        ("Name or service not known", "name resolution", "No address associated", "nodename nor servname"),
        "its host has no address: is the name correct?",
    ),
    (
        ("Permission denied",),
        "this user has no right to its socket: add the user to the group of the socket, with `unixsocketperm 770`",
    ),
    (
        ("No such file or directory",),
        "is it running? There is no such socket: start `openfall up` if that is its Redis, else Redis with this "
        "`unixsocket`, or correct `redis:`",
    ),
    (
        ("Connect call failed", "Connection refused"),
        "is it running? Nothing listens there: start Redis (`openfall up`, if that started it), or correct the address "
        "in `redis:` or $REDIS_URL",
    ),
    (
        ("max number of clients reached",),
        "it has as many connections as it takes. Raise its `maxclients`, or end programs that hold connections to it",
    ),
)
"""What a message contains, and the fault in plain words with its remedy."""
_CONNECTING = re.compile(r"^Error -?\d+ connecting to (\S+?)\.? ")
"""How redis-py begins the words of the system: with the server. Of a group of Sentinel it is the last primary."""


def translate(error: Exception, address: str) -> StoreError:
    """The `StoreError` for an error of redis-py. `address` is shown to people: it has no password.

    The error keeps its words as a cause, and loses the frames of redis-py and of the system: a traceback shows where a
    program called openfall."""
    text = str(error)
    error.__traceback__ = error.__context__ = error.__cause__ = None
    if isinstance(error, SentinelTrouble):
        return (StoreRefused if error.refused else StoreUnreachable)(f"no primary of Redis: {_short(text)}")
    for words, kind, remedy in _REMEDIES:
        if any(word in text for word in words):
            return kind(f"{remedy} ({address})")
    if isinstance(error, redis_errors.ConnectionError | redis_errors.TimeoutError | OSError):
        server = _CONNECTING.match(text)
        place = address if server is None or server[1] in address else f"{address} ({server[1]})"
        return StoreUnreachable(f"Redis does not answer at {place}: {_guess(text, address)}")
    return StoreRefused(f"Redis at {address} refused: {_short(text)}")


def _guess(text: str, address: str) -> str:
    """What may be wrong, and the remedy; the words of the system only where they say more."""
    for words, remedy in _NO_CONNECTION:
        if any(word in text for word in words):
            return remedy
    return f"{_guess_tls(text, address)} ({_short(_CONNECTING.sub('', text))})"


def _guess_tls(text: str, address: str) -> str:
    """A server with TLS often closes the connection without a word."""
    if not any(
        words in text for words in ("closed by server", "Connection lost", "Timeout connecting", "reset by peer")
    ):
        return "is it running?"
    if address.startswith("rediss:"):
        return "is it running, does it demand a certificate of this client (`tls_certificate`), has this port TLS?"
    full = "" if "Timeout connecting" in text else ", are all of its `maxclients` connections in use"
    return f"is it running{full}? If this is its TLS port, use rediss://"


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:199] + "…"
