"""One file a command: ``run(options) -> result``, which is also the Python API. No click, nothing printed."""
