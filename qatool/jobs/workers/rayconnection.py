"""Connect to a Ray cluster, or start one on this machine, without waiting long where nothing answers."""

from __future__ import annotations

import logging
import os
import re
import shutil
import socket
import tempfile
import threading
from concurrent.futures import Future
from typing import Any

from qatool.errors import EnvironmentUnfitError, reason_of
from qatool.jobs.prefetch import LEFT_BEHIND
from qatool.jobs.workers.processes import usable_cores

CONNECT_S = 120.0
"""How long connecting to a cluster, or starting one of our own, may take."""
_LISTENS_S = 10.0
"""How long a port may take to answer."""
_OBJECT_STORE_BYTES = 512 << 20
"""Object store of a cluster of our own, for shards and parts in progress; Ray spills what exceeds it to the disk."""


class Connection:
    """A connection to a Ray cluster.

    If this process is connected to a cluster already, that is used, else the one at the address (or at the variable
    ``RAY_ADDRESS``), else one of our own on this machine.
    """

    def __init__(self, ray: Any, address: str | None) -> None:
        self._ray = ray
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self.was_there = ray.is_initialized()
        """Whether this process was connected before; it then stays connected afterwards."""
        self.is_own = self._address is None and not self.was_there
        """Whether the cluster is our own, and ends with the run."""
        self._folder: str | None = None
        self._connected: Future[None] = Future()
        self._is_over = threading.Event()

    def open(self) -> None:
        """Connect to the cluster, or start one.

        :raises EnvironmentUnfitError: the cluster cannot be reached
        """
        if self.was_there:
            return
        try:
            _ask_after(self._address)
            # In a thread: connecting takes seconds or never returns. Signals must be handled meanwhile, and Ray
            # changes no signal handlers outside the main thread.
            threading.Thread(target=self._connect_told, name=LEFT_BEHIND, daemon=True).start()
            self._connected.result(timeout=CONNECT_S)
        except Exception as error:
            told = self._connected.done() or not isinstance(error, TimeoutError)
            reason = reason_of(error) if told else f"no answer in {CONNECT_S:.0f} s"
            where = f"--ray-address {self._address}" if self._address else "--engine ray"
            raise EnvironmentUnfitError(
                f"{where}: cannot be reached ({reason}); check the address and that Ray and Python have the "
                "cluster's versions"
                if self._address
                else f"{where}: no cluster could be started on this machine ({reason})"
            ) from error

    def close(self) -> None:
        """Leave the cluster, or end one of our own."""
        if not self.was_there and self._connected.done():
            self._ray.shutdown()
        self._is_over.set()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _connect_told(self) -> None:
        try:
            self._connect()
        except BaseException as error:  # noqa: BLE001 (raised where the connection is waited for)
            self._connected.set_exception(error)
        else:
            self._connected.set_result(None)
            # The kernel ends the processes of a cluster of our own with the thread that started them, so it stays.
            self._is_over.wait()

    def _connect(self) -> None:
        common = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not self.is_own:
            self._ray.init(address=self._address, **common)
            return
        # The folder holds sockets, whose paths must be short: TMPDIR may name a folder with a long path.
        self._folder = tempfile.mkdtemp(prefix="qatool-ray-", dir="/tmp")
        self._ray.init(
            address="local",
            num_cpus=usable_cores(),
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE_BYTES,
            _temp_dir=self._folder,
            **common,
        )


def _ask_after(address: str | None) -> None:
    """Make sure that something listens at ``host:port``: Ray would try for minutes, deaf to signals meanwhile.

    :raises OSError: nothing listens there
    """
    found = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or "")
    if found is not None:
        socket.create_connection((found[1], int(found[2])), timeout=_LISTENS_S).close()


def import_ray() -> Any:
    """Return the module ``ray``, set to send no usage statistics and to log errors only.

    :raises EnvironmentUnfitError: Ray is not installed
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EnvironmentUnfitError("--engine ray: needs ray; run: pip install 'qatool[ray]'") from error
    return ray
