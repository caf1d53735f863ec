"""What must not be shown: parts of a URI that grant access."""

from __future__ import annotations

import re

# Lengths are bounded, so that a text takes linear time. Of a store no port is named: what follows a colon before the
# first slash is a secret, which may hold slashes and @.
_STORE_USER = re.compile(r"(?i)\b((?:s3a?|gc?s|abfss?|az)://)[^/:?#\s\"'<>]{0,256}:[^\s\"'<>]{0,1024}@")
# abfs://container@account names no user. A colon and digits before a slash are a port.
_USER = re.compile(
    r"(?i)\b((?!(?:abfss?|az)://)[a-z][a-z0-9+.-]{0,31}://)"
    r"(?:[^/:@?#\s\"'<>]{0,256}:(?!\d{0,5}/)[^/@?#\s\"'<>]{0,1024}/[^?#\s\"'<>]{0,1024}|[^/?#\s\"'<>]{0,1024})@"
)
# All of a web address's query: signatures have a name of their own with every store. Elsewhere ? is a wildcard.
# A ' ends an address that began with it, and else may be part of it.
_ADDRESS = re.compile(r"(?i)(?<=')https?://[^\s\"'<>]+|(?<!')\bhttps?://[^\s\"<>]+")
_QUERY = re.compile(r"[?#].*")
_BEHIND = ":.,;)]'\\"
"""What may follow an address in a sentence; a backslash stands before a quote in JSON."""
# Without a ? or & in front, sig=2 is a folder.
_SECRET = re.compile(
    r"(?i)((?:(?<=[?&])(?:signature|sig|awsaccesskeyid|access_token)|\b(?:x-amz-(?:signature|credential|security-token)|"
    r"aws_secret_access_key|aws_session_token))=)[^&\s\"'<>]+"
)


def redacted(text: str) -> str:
    """Return text with what may grant access taken out of the URIs in it: user and password, query, fragment.

    ``s3://key:secret@bucket/a`` becomes ``s3://***@bucket/a``, ``https://host/a?X-Amz-Signature=1f`` becomes
    ``https://host/a?***``. For people: two names may look the same then.
    """
    if "://" not in text and "=" not in text:
        return text
    for user in (_STORE_USER, _USER):
        text = user.sub(r"\1***@", text)
    return _SECRET.sub(r"\1***", _ADDRESS.sub(_without_query, text))


def names_user(uri: str) -> bool:
    """Whether a user, a key or a password stands in front of the host or bucket of a URI."""
    return any(user.match(uri) for user in (_STORE_USER, _USER))


def _without_query(found: re.Match[str]) -> str:
    address = found[0].rstrip(_BEHIND)
    return f"{_QUERY.sub(_shown, address)}{found[0][len(address) :]}"


def _shown(query: re.Match[str]) -> str:
    return "?***" if query[0][1:] else query[0]
