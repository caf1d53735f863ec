"""Extractive question answering in bulk: from files of documents and questions to a file of answers.

The functions behind the commands are the Python API::

    from qatool.commands.extract import run
    from qatool.options import ExtractOptions

    if __name__ == "__main__":  # processes that help with the work read the program, too
        result = run(ExtractOptions(inputs=("corpus.parquet",), output="answers.parquet", model="model/"))
"""

__version__ = "0.1.0"
