"""Fine-tuning with Lightning: batches, the step, validation with the decoding of ``extract``, and the model's folder.

Only this package uses Lightning and ``datasets``; both come with ``pip install 'qatool[train]'``.
"""
