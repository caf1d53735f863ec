"""Processes that a launcher started for one training: torchrun, or SLURM's srun.

They join before anything else is done, so that what one of them finds wrong ends them all at once and is said once,
and what the first one prepares in the run folder is there when the others look.
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
    """The processes of this training, and which of them this one is.

    A process that nobody launched is alone, also where Lightning starts others from it later on.
    """

    def __init__(self, environment: ClusterEnvironment | None = None) -> None:
        self.environment = environment
        self.world = 1 if environment is None else environment.world_size()
        """How many there are."""
        self.rank = int(_was_started()) if environment is None else environment.global_rank()
        self.nodes, self.devices = 1, self.world
        """How many machines there are, and processes on each."""
        if isinstance(environment, SLURMEnvironment):
            self.nodes = int(os.environ.get("SLURM_NNODES") or 1)
        elif environment is not None:
            self.nodes = self.world // int(os.environ.get("LOCAL_WORLD_SIZE") or self.world)
        self.devices = self.world // self.nodes

    @classmethod
    def of_environment(cls) -> Self:
        """Return what the variables of torchrun or SLURM say.

        :raises UsageError: SLURM was told too little
        """
        try:
            # Requeueing is SLURM's: what it starts again continues by itself.
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
        """Make sure that what was asked for is what was launched.

        :raises UsageError: it is not
        """
        if self.world > 1 and asked is not None and asked != str(self.devices):
            raise UsageError(
                f"--devices {asked}: {self.devices} processes were launched on each machine; drop it, or launch "
                f"{asked}"
            )

    @contextmanager
    def joined(self, *, on_card: bool) -> Iterator[None]:
        """Connect the processes; those that are not the first fall silent but for errors of their own.

        :param on_card: whether tensors will lie on cards
        :raises EnvironmentUnfitError: the others are not there
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
        """Wait at the end of the block for all processes to get there, or end all when one fails in it.

        :raises QatoolError: one failed; the first of those says why, the others end without a word
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
    """Return what all processes of this training end with, ``None`` if none of them has a reason to.

    The first that has one keeps its error; the others get one of the same kind, and so the same exit code, without a
    word. All of them must ask.
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
    """Whether another process of this training, Lightning's first one, has started this one."""
    return any(int(os.environ.get(name) or 0) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
