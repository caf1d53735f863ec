"""Names of the files and folders that qatool writes beside and into outputs."""

from __future__ import annotations

RUN_FOLDER_SUFFIX = ".qatool"
"""Suffix appended to an output's name for the run folder."""
SUMMARY_SUFFIX = ".summary.json"
"""Suffix appended to an output's name for the summary of its run."""
REJECTS_SUFFIX = ".rejects.jsonl"
"""Suffix appended to an output's name for the list of rejected rows."""
SUCCESS_NAME = "_SUCCESS"
"""File in a folder of answers that marks it as complete and written by qatool."""
UNFINISHED_NAME = "_UNFINISHED"
"""Object in a store that marks a folder of answers as written by qatool while its parts are being written."""
