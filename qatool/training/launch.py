"""The processes of one training that a launcher started: torchrun, or SLURM's srun.

They connect before anything else is done, so that an error in one of them ends them all at once and is reported once,
and files that the first one prepares in the run folder exist when the others look for them.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self

import torch.distributed
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from qatool.errors import EnvironmentUnfitError, QatoolError, UsageError
from qatool.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment


class Launch:
    """The processes of this training, and the rank of this one among them.

    A process that no launcher started counts as alone, even if Lightning later starts others from it.
    """

    def __init__(self, environment: ClusterEnvironment | None = None) -> None:
        self.environment = environment
        self.world = 1 if environment is None else environment.world_size()
        """Number of processes."""
        self.rank = int(_was_started()) if environment is None else environment.global_rank()
        self.nodes, self.devices = 1, self.world
        """Number of machines, and of processes on each."""
        if isinstance(environment, SLURMEnvironment):
            self.nodes = int(os.environ.get("SLURM_NNODES") or 1)
        elif environment is not None:
            self.nodes = self.world // int(os.environ.get("LOCAL_WORLD_SIZE") or self.world)
        self.devices = self.world // self.nodes

    @classmethod
    def of_environment(cls) -> Self:
        """Return the processes according to the environment variables of torchrun or SLURM.

        :raises UsageError: the settings of SLURM are incomplete
        """
        try:
            # Requeueing is left to SLURM: a run that it starts again continues by itself.
            if SLURMEnvironment.detect():
                return cls(SLURMEnvironment(auto_requeue=False))
        except RuntimeError as error:
            raise UsageError(str(error)) from None
        if TorchElasticEnvironment.detect():
            return cls(TorchElasticEnvironment())
        return cls()

    @property
    def is_main(self) -> bool:
        """Whether this process locks, prepares and writes."""
        return self.rank == 0

    def check_devices(self, asked: str | None) -> None:
        """Make sure that ``--devices`` asks for as many devices as processes were launched on each machine.

        :raises UsageError: the numbers differ
        """
        if self.world > 1 and asked is not None and asked != str(self.devices):
            raise UsageError(
                f"--devices {asked}: {self.devices} processes were launched on each machine; drop it, or launch "
                f"{asked}"
            )

    @contextmanager
    def joined(self, *, on_card: bool) -> Iterator[None]:
        """Connect the processes; all but the first then log nothing but errors.

        :param on_card: whether tensors will be on cards
        :raises EnvironmentUnfitError: the other processes cannot be reached
        """
        if self.environment is None or self.world == 1:
            yield
            return
        os.environ["MASTER_ADDR"] = self.environment.main_address
        os.environ["MASTER_PORT"] = str(self.environment.main_port)
        if on_card:
            torch.cuda.set_device(self.environment.local_rank())
        try:
            torch.distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if on_card else "gloo", rank=self.rank, world_size=self.world
            )
        except (RuntimeError, ValueError) as error:
            raise EnvironmentUnfitError(
                f"the {self.world} processes of this training do not find each other ({error}); check the launcher's "
                "address and port"
            ) from error
        if not self.is_main:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Wait at the end of the block for all processes; if one has failed in the block, end all of them.

        :raises QatoolError: a process failed; see :func:`agree_on_error`
        """
        failure: Exception | None = None
        try:
            yield
        except Exception as error:  # noqa: BLE001 (raised again below)
            failure = error
        if failure is not None and not isinstance(failure, QatoolError):
            agree_on_error(QatoolError(repr(failure)))
            raise failure
        if (ending := agree_on_error(failure)) is not None:
            raise ending


def agree_on_error(error: QatoolError | None) -> QatoolError | None:
    """Return the error with which this process must end, ``None`` if no process of this training has one.

    The first process with an error keeps it. All others get one of the same class, and so the same exit code, without
    a message. All processes must make this call.

    :param error: the error of this process, if it has one
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return error
    found: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, error)
    first = next((rank for rank, one in enumerate(found) if one is not None), None)
    if first is None:
        return None
    silent: QatoolError = type(found[first])()
    return error if first == torch.distributed.get_rank() else silent


def _was_started() -> bool:
    """Return whether Lightning has started this process from another process of this training."""
    return any(int(os.environ.get(name) or 0) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
