"""The way to a Ray cluster: reached, or started on this machine, without waiting where nobody answers."""

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
from qatool.jobs.ahead import LEFT_BEHIND
from qatool.jobs.workers.processes import usable_cores

CONNECT_S = 120.0
"""How long a cluster may take to be reached, or one of our own to start."""
_LISTENS_S = 10.0
"""How long a port may take to answer."""
_OBJECT_STORE_BYTES = 512 << 20
"""Of a cluster of our own: shards and parts under way; Ray spills what is more to the disk."""


class Connection:
    """To a cluster: that of the address, one that this process is connected to already, or one of our own."""

    def __init__(self, ray: Any, address: str | None) -> None:
        self._ray = ray
        self._address = address or os.environ.get("RAY_ADDRESS") or None
        self.was_there = ray.is_initialized()
        """Whether this process was connected before, and stays so."""
        self.is_own = self._address is None and not self.was_there
        """Whether the cluster lives as long as the run."""
        self._folder: str | None = None
        self._connected: Future[None] = Future()
        self._is_over = threading.Event()

    def open(self) -> None:
        """Connect.

        :raises EnvironmentUnfitError: the cluster cannot be reached
        """
        if self.was_there:
            return
        try:
            _ask_after(self._address)
            # In a thread: it takes seconds, signals are to be heard, and Ray leaves those alone there. It may be
            # deep in calls that never return.
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
        except BaseException as error:  # noqa: BLE001 it is told where the connection is waited for
            self._connected.set_exception(error)
        else:
            self._connected.set_result(None)
            # The processes of a cluster of our own end with the thread that started them, as the kernel has it.
            self._is_over.wait()

    def _connect(self) -> None:
        common = {"log_to_driver": False, "logging_level": logging.ERROR}
        if not self.is_own:
            self._ray.init(address=self._address, **common)
            return
        # Sockets lie in it, whose paths are short by nature: not in a folder that TMPDIR may name.
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
    """Make sure that somebody listens at ``host:port``: Ray asks for minutes, and does not hear signals meanwhile.

    :raises OSError: nobody does
    """
    found = re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or "")
    if found is not None:
        socket.create_connection((found[1], int(found[2])), timeout=_LISTENS_S).close()


def import_ray() -> Any:
    """Return ``ray``, which sends no usage statistics and logs errors only.

    :raises EnvironmentUnfitError: it is not installed
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    logging.getLogger("ray").setLevel(logging.ERROR)
    try:
        import ray
        import ray.exceptions
    except ImportError as error:
        raise EnvironmentUnfitError("--engine ray: needs ray; run: pip install 'qatool[ray]'") from error
    return ray
