"""Names by which files, folders and objects say that they are qatool's."""

from __future__ import annotations

RUN_FOLDER_SUFFIX = ".qatool"
"""Behind an output's name: of the folder that a run works in."""
SUMMARY_SUFFIX = ".summary.json"
"""Behind an output's name: of the summary of the run that made it."""
REJECTS_SUFFIX = ".rejects.jsonl"
"""Behind an output's name: of the list of rejected rows, if there are any."""
SUCCESS_NAME = "_SUCCESS"
"""Stands in a folder of answers that is whole."""
UNFINISHED_NAME = "_UNFINISHED"
"""Stands in a folder of answers in a store while its parts are written, and says that it is ours."""
