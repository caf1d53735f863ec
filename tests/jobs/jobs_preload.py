"""What every process of the tests would import: done once, in the process they are forked from."""

import importlib
import os

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

for name in (
    "pandas",
    "pyarrow.dataset",
    "pyarrow.pandas_compat",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.bert.tokenization_bert",
    "qatool.cli",
    "qatool.commands.extract",
    "qatool.commands.status",
    "qatool.extraction.runs.forecast",
    "qatool.models.constant",
    "qatool.models.identity",
    "qatool.models.pytorch.torch_backend",
    "qatool.spans.hf_pipeline",
    "qatool.spans.native",
    "qatool.spans.squad_script",
):
    importlib.import_module(name)
