"""Redaction of the parts of URIs that grant access."""

from __future__ import annotations

import re

# Lengths are bounded, so that matching takes linear time. URIs of stores have no port: what follows a colon before
# the first slash is a secret, which may itself contain slashes and @.
_STORE_USER = re.compile(r"(?i)\b((?:s3a?|gc?s|abfss?|az)://)[^/:?#\s\"'<>]{0,256}:[^\s\"'<>]{0,1024}@")
# abfs://container@account names no user. A colon and digits before a slash are a port.
_USER = re.compile(
    r"(?i)\b((?!(?:abfss?|az)://)[a-z][a-z0-9+.-]{0,31}://)"
    r"(?:[^/:@?#\s\"'<>]{0,256}:(?!\d{0,5}/)[^/@?#\s\"'<>]{0,1024}/[^?#\s\"'<>]{0,1024}|[^/?#\s\"'<>]{0,1024})@"
)
# The whole query of a web address is redacted, as every store names its signatures differently. In other URIs, ? is a
# wildcard. A ' ends an address that follows a ', and may be part of any other.
_ADDRESS = re.compile(r"(?i)(?<=')https?://[^\s\"'<>]+|(?<!')\bhttps?://[^\s\"<>]+")
_QUERY = re.compile(r"[?#].*")
_BEHIND = ":.,;)]'\\"
"""Characters that may follow an address in a sentence; the backslash is that of an escaped quote in JSON."""
# Short names count only after ? or &, as sig=2 may also be a partition folder.
_SECRET = re.compile(
    r"(?i)((?:(?<=[?&])(?:signature|sig|awsaccesskeyid|access_token)|\b(?:x-amz-(?:signature|credential|security-token)|"
    r"aws_secret_access_key|aws_session_token))=)[^&\s\"'<>]+"
)


def redacted(text: str) -> str:
    """Return text in which parts of URIs that may grant access are replaced: user and password, query, fragment.

    ``s3://key:secret@bucket/a`` becomes ``s3://***@bucket/a``, ``https://host/a?X-Amz-Signature=1f`` becomes
    ``https://host/a?***``. The result is for messages only, as different names may become equal.
    """
    if "://" not in text and "=" not in text:
        return text
    for user in (_STORE_USER, _USER):
        text = user.sub(r"\1***@", text)
    return _SECRET.sub(r"\1***", _ADDRESS.sub(_without_query, text))


def names_user(uri: str) -> bool:
    """Return whether a URI has a user, a key or a password before its host or bucket."""
    return any(user.match(uri) for user in (_STORE_USER, _USER))


def _without_query(found: re.Match[str]) -> str:
    address = found[0].rstrip(_BEHIND)
    return f"{_QUERY.sub(_shown, address)}{found[0][len(address) :]}"


def _shown(query: re.Match[str]) -> str:
    return "?***" if query[0][1:] else query[0]
