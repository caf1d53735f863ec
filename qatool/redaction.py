"""What must not be shown: parts of a URI that grant access."""

from __future__ import annotations

import re

_USER = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*://)[^/?#\s\"'<>]*@")
# All of a web address's query: signatures have a name of their own with every store. Elsewhere ? is a wildcard.
_ENDS = r"\s\"'<>)\],;"
_QUERY = re.compile(rf"(?i)\b(https?://[^?#{_ENDS}]*)[?#](?!\*\*\*)[^{_ENDS}]*?(?=[:.]?(?:[{_ENDS}]|$))")
_SECRET = re.compile(
    r"(?i)\b((?:x-amz-(?:signature|credential|security-token)|signature|sig|awsaccesskeyid|aws_secret_access_key|"
    r"aws_session_token|access_token)=)[^&\s\"'<>]+"
)


def redacted(text: str) -> str:
    """Return text with what may grant access taken out of the URIs in it: user and password, query, fragment.

    ``s3://key:secret@bucket/a`` becomes ``s3://***@bucket/a``, ``https://host/a?X-Amz-Signature=1f`` becomes
    ``https://host/a?***``.
    """
    if "://" not in text and "=" not in text:
        return text
    return _SECRET.sub(r"\1***", _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text)))
