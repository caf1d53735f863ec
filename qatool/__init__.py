"""Extractive question answering in bulk: from files of documents and questions to a file of answers.

The functions behind the commands are the Python API::

    from qatool.commands.extract import run
    from qatool.options import ExtractOptions

    result = run(ExtractOptions(inputs=("corpus.parquet",), output="answers.parquet", model="model/"))
"""

__version__ = "0.1.0"
