"""The commands, one per file: ``run(options) -> result``, which is also the Python API. No click, no printing."""
