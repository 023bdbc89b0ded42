"""The kinds of values that an inventory holds, each of which says in plain words what it expects.

A check gives back the value it was given; of a number or a boolean that is written as text it makes
one. Where no secret is asked for, a value by reference is as plain as others, but for being masked
wherever it is shown. It raises Unfit.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from provisioner.secrets import Secret, revealed

Check = Callable[[Any], Any]

SHAPES: dict[Check, dict[str, Any]] = {}
"""What kinds take, as JSON Schema says it, where it can: no less than b9prov itself."""

RESERVED_NAMES = ("all", "gateway", "gateways")
QUOTES = "put it in quotes"
_TRUE = frozenset({"yes", "on", "true", "1"})
_FALSE = frozenset({"no", "off", "false", "0"})
_BOOLEANS = [True, False, 1, 0, *sorted(_TRUE | _FALSE)]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# no blanks, controls, or what JSON's escapes mean something else by in YAML
_NO_WORD = r"\s\x00-\x1f\x7f-\x9f\ud800-\udfff\ufeff\U00010000-\U0010ffff"
_WORD = re.compile(f"[^{_NO_WORD}-][^{_NO_WORD}]*")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_DURATION = re.compile(r"-1|0|([0-9]+(\.[0-9]+)?(ms|s|m|h))+")
_MODEL = re.compile(f"[^{_NO_WORD}@-][^{_NO_WORD}@]*(@sha256:[0-9a-f]{{12,64}})?")
_ZONE = re.compile(r"[A-Za-z0-9._-]+")
_FORWARD = re.compile(r"([0-9]+):(.+):([0-9]+)")
_REGISTRIES = ("mirrors", "configs")
_LOGIN_SECRETS = ("password", "token", "auth", "identity_token")
_HOST_KEY = re.compile(
    r"(ssh-[a-z0-9-]+|ecdsa-sha2-nistp\d+|sk-[a-z0-9@.-]+) ([A-Za-z0-9+/=]+)( .*)?"
)


class Unfit(Exception):
    """A value that will not do.

    `shows` says whether a message may tell the value, `key` which key of a mapping is the one.
    """

    def __init__(
        self, message: str, advice: str = "", *, shows: bool = True, key: object = None
    ) -> None:
        super().__init__(message)
        self.message, self.advice, self.shows, self.key = message, advice, shows, key


def expected(what: str, advice: str = "", *, shows: bool = True) -> Unfit:
    """The error of a value that is not `what`."""
    return Unfit(f"expected {what}", advice, shows=shows)


def _text(
    what: str, good: Callable[[str], object], advise: Callable[[str], str] = lambda value: ""
) -> Check:
    def check(value: Any) -> Any:
        value = revealed(value)
        if value is None or isinstance(value, (dict, list)):
            raise expected(what)
        if not isinstance(value, str):  # what YAML reads as a number or a date, most likely
            raise expected("text", QUOTES)
        if not good(value):
            raise expected(what, advise(value))
        return value

    return _shaped(check, type="string")


def _number(what: str, kind: type, low: float, high: float) -> Check:
    def check(value: Any) -> Any:
        value = revealed(value)
        if isinstance(value, bool) or not isinstance(value, (str, int, kind)):
            raise expected(what)
        try:
            number = kind(value)
        except (OverflowError, ValueError):
            raise expected(what) from None
        if not low <= number <= high:
            raise expected(f"{what} from {low} to {high}")
        return number

    word = "integer" if kind is int else "number"
    return _shaped(check, type=[word, "string"], minimum=low, maximum=high)


def _shaped(check: Check, **shape: Any) -> Check:
    SHAPES[check] = shape
    return check


def boolean(value: Any) -> bool:
    """`value` as true or false, by the words that YAML and Ansible know."""
    value = revealed(value)
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise expected("true or false")


def _boolean_or_auto(value: Any) -> bool | str:
    if value == "auto":
        return "auto"
    try:
        return boolean(value)
    except Unfit:
        raise expected("true, false or auto") from None


def _secret(value: Any) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        advice = "" if isinstance(value, (dict, list)) else QUOTES
        raise expected("text", advice, shows=False)
    if not value:
        raise expected("text that is not empty", shows=False)
    return Secret(value)


def _is_address(value: str) -> bool:
    return is_ip(value) or is_dns(value)


def _is_peer(value: str) -> bool:
    """Whether `value` is a host as it stands before a port: IPv6 addresses in brackets."""
    if value.startswith("[") and value.endswith("]"):
        return ":" in value and is_ip(value[1:-1])
    return ":" not in value and _is_address(value)


def is_dns(value: str) -> bool:
    """Whether `value` may be a host name, or an alias of ssh_config."""
    return len(value) <= 253 and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value))


def is_ip(value: str) -> bool:
    """Whether `value` is an IPv4 or IPv6 address, the latter perhaps with a zone (`%eth0`)."""
    address, percent, zone = value.partition("%")
    try:
        version = ipaddress.ip_address(address).version
    except ValueError:
        return False
    return not percent or (version == 6 and bool(_ZONE.fullmatch(zone)))


def _address_advice(value: str) -> str:
    if "@" in value:
        return "the user goes under user:"
    return "the port goes under port:" if re.fullmatch(r"[^:]+:\d+", value) else ""


def is_port(value: str) -> bool:
    """Whether `value` is the number of a port."""
    return bool(re.fullmatch("[0-9]{1,5}", value)) and 1 <= int(value) <= 65535


def _is_endpoint(value: str) -> bool:
    host, _, port = value.rpartition(":")
    return _is_peer(host) and is_port(port)


def _is_forward(value: str) -> bool:
    match = _FORWARD.fullmatch(value)
    return match is not None and is_port(match[1]) and is_port(match[3]) and _is_peer(match[2])


def _is_url(value: str) -> bool:
    try:
        parts = urlsplit(value)
        good = re.fullmatch("[!-~]+", value)  # ASCII, by RFC 3986
        return parts.scheme in ("http", "https") and bool(parts.hostname and good)
    except ValueError:
        return False


def _is_host_key(value: str) -> bool:
    if re.fullmatch(r"SHA256:[A-Za-z0-9+/]{43}=?", value):
        return True
    match = _HOST_KEY.fullmatch(value)
    if match is None:
        return False
    try:
        key = base64.b64decode(match[2], validate=True)
    except binascii.Error:
        return False
    # the key's own bytes begin with the length and name of its type
    return key[4:].startswith(match[1].encode())


def _is_network(value: str) -> bool:
    try:
        return bool(ipaddress.IPv4Network(value)) and "/" in value
    except ValueError:
        return False


def _network_advice(value: str) -> str:
    try:
        return f"did you mean {ipaddress.IPv4Network(value, strict=False)}?"
    except ValueError:
        return ""


def _name(value: Any) -> str:
    what = "a name of letters, digits, '.', '_' and '-', 63 at most"
    if not isinstance(value, str):
        raise expected(what, QUOTES)
    if not _NAME.fullmatch(value):
        raise expected(what, "names become file names and key comments on the gateway host")
    if value in RESERVED_NAMES:
        raise expected("another name", f"{value!r} has a meaning of its own in host patterns")
    return value


def _boolean_or_word(value: Any) -> bool | str:
    value = revealed(value)
    try:
        return boolean(value)
    except Unfit:
        if isinstance(value, str) and _WORD.fullmatch(value):
            return value
        raise expected("true, false or one word") from None


def _environment(value: Any) -> Any:
    for name, text in _variables(value).items():
        text = revealed(text)
        if isinstance(text, bool) or not isinstance(text, (str, int, float)):
            advice = QUOTES if isinstance(text, bool) else ""
            raise Unfit(f"expected a text for {name}", advice, shows=False, key=name)
        if not str(text).isprintable():
            raise Unfit(f"{name} has what can't be printed", shows=False, key=name)
    return value


def _variables(value: Any) -> Any:
    if not isinstance(value, dict):
        raise expected("a mapping of variables")
    for key in value:
        if not isinstance(key, str) or not key.isidentifier():
            what = f"{key!r} can't be the name of a variable"
            advice = "a name has letters, digits and '_' only, and begins with no digit"
            raise Unfit(what, advice, shows=False, key=key)
    return value


def _mapping(value: Any) -> Any:
    if not isinstance(value, dict):
        raise expected("a mapping")
    for key in value:
        if not isinstance(key, str) or not key:
            what = f"expected text for a key, not {key!r}"
            raise Unfit(what, QUOTES, shows=False, key=key)
    return value


def _registries(value: Any) -> Any:
    """What k3s's registries.yaml says; what logs in somewhere becomes a secret."""
    for key, named in _mapping(value).items():
        if key not in _REGISTRIES:
            what = f"expected mirrors and configs, as in registries.yaml, not {key!r}"
            raise Unfit(what, shows=False, key=key)
        for name in _mapping(named):
            _mapping(named[name])
    configs = {name: _with_secrets(each) for name, each in value.get("configs", {}).items()}
    return {**value, "configs": configs} if configs else value


def _with_secrets(config: dict[str, Any]) -> dict[str, Any]:
    auth = _mapping(config.get("auth", {}))
    hidden = {key: _secret(auth[key]) for key in _LOGIN_SECRETS if key in auth}
    return {**config, "auth": {**auth, **hidden}} if hidden else config


def choice(*words: str) -> Check:
    """One of `words`."""
    check = _text("one of " + ", ".join(words), lambda value: value in words)
    return _shaped(check, enum=list(words))


def matching(what: str, pattern: re.Pattern[str]) -> Check:
    """Text that is `pattern` from its begin to its end."""
    return _text(what, pattern.fullmatch)


def whole(low: int, high: int = 2**31) -> Check:
    """A whole number in a range."""
    return _number("a whole number", int, low, high)


NAME = _shaped(_name, type="string")
TEXT = _text("text that is not empty", str.strip)
WORD = _text("one word that does not begin with '-'", _WORD.fullmatch)
# a part of paths, URLs and command lines
PLAIN = matching("a version of letters, digits, '.', '_', '+' and '-'", _PLAIN)
BOOLEAN = _shaped(boolean, enum=_BOOLEANS)
BOOLEAN_OR_AUTO = _shaped(_boolean_or_auto, enum=[*_BOOLEANS, "auto"])
SECRET = _shaped(_secret, type=["string", "array"])  # a list, for !command
PORT = whole(1, 65535)
SECONDS = _number("a number of seconds", float, 0.1, 600)
GBPS = _number("a number of Gbit/s", float, 0.0, 10000)
ADDRESS = _text("an IP address or host name", _is_address, _address_advice)
IP = _text("an IP address", is_ip)
ENDPOINT = _text("HOST:PORT", _is_endpoint)
FORWARD = _text("PORT:HOST:HOSTPORT", _is_forward)
URL = _text("a URL that begins with http:// or https://", _is_url)
HOST_KEY = _text(
    '"SHA256:…" or "ssh-ed25519 AAAA…", as ssh-keygen -l or ssh-keyscan shows', _is_host_key
)
NETWORK = _text("an IPv4 network such as 10.199.0.0/24", _is_network, _network_advice)
# systemd takes no escapes in the paths of a unit's restrictions
UNIT_PATH = _text(
    "a path that begins with /, without quotes and backslashes",
    re.compile(r"/[^\x00-\x1f\x7f\"'\\]*").fullmatch,
)
ABSOLUTE_PATH = _text("a path that begins with /", re.compile(r"/[^\x00-\x1f\x7f]*").fullmatch)
SHA256 = _text("64 hexadecimal digits", re.compile("[0-9a-fA-F]{64}").fullmatch)
MACHINE_ID = _text(
    "a machine id of letters, digits and '-'", re.compile("[A-Za-z0-9-]{1,64}").fullmatch
)
VARIABLES = _shaped(_variables, type="object")
ENVIRONMENT = _shaped(_environment, type="object")
BOOLEAN_OR_WORD = _shaped(_boolean_or_word, type=["boolean", "integer", "string"])
DURATION = matching("a duration such as 90s, 5m or 24h, or -1 for ever", _DURATION)
GPU = matching("the UUID or the index of a GPU", re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*"))
MODEL = matching("a model, NAME:TAG or NAME:TAG@sha256:DIGEST (12 to 64 digits)", _MODEL)
MAPPING = _shaped(_mapping, type="object")
REGISTRIES = _shaped(_registries, type="object")
