"""Changes made inside a process under test."""

from __future__ import annotations

import os
import sys


def small_pieces() -> None:
    """Let an upload have several pieces however small it is."""
    from qatool.files.storage import uploads

    uploads.PIECE_BYTES = 5 << 20


def no_s3fs() -> None:
    """Be an installation without the extra."""
    sys.modules["s3fs"] = None


def replaced_midway() -> None:
    """Have the input replaced when the first shard is answered."""
    import boto3

    from qatool.extraction.answering.answerer import Answerer
    from qatool.files.storage import objects

    plain, done = Answerer.finish, []

    def finish(self, begun, tick):
        if not done:
            done.append(begun)
            bucket, _, key = os.environ["REPLACED"].removeprefix("s3://").partition("/")
            boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}\n" * 4000)
        return plain(self, begun, tick)

    Answerer.finish = finish
    objects.READ_BYTES = 1 << 12
