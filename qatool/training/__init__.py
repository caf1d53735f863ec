"""Fine-tuning with Lightning: batches, the step, validation by the decoding of ``extract``, and what it writes.

The one place that knows Lightning and ``datasets``; both come with ``pip install 'qatool[train]'``.
"""
