"""Ray: started for an ingest or joined, quiet, and stopped by whoever started it."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

from qubastore.errors import IngestError

OBJECT_STORE_BYTES = 1 << 30
"""Memory for decoded images on their way to evaluators, on a machine without GPUs."""


@dataclass(frozen=True)
class Resources:
    """What an ingest may use: GPUs (0 means CPU evaluators) and CPUs, over the whole cluster."""

    gpus: int
    cpus: int


@contextlib.contextmanager
def cluster(address: str | None, num_gpus: int | None, num_cpus: int | None) -> Iterator[Resources]:
    """Join the Ray cluster at `address`, or the one this process is in, or start one on this machine.

    Args:
        address: `auto`, `ray://...` or None.
        num_gpus: GPUs to use; None means all that Ray sees, 0 means none.
        num_cpus: CPUs to use; None means all that Ray sees.

    Raises:
        IngestError: where the cluster is not reached, or has fewer GPUs than asked for.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ours = not ray.is_initialized()
    if ours:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                _start(address, num_gpus, num_cpus)
            except (ConnectionError, ValueError, RuntimeError) as error:
                raise IngestError(
                    "Ray could not be started" if address is None else f"there is no Ray cluster at {address}",
                    found=str(error).splitlines()[0] if str(error) else type(error).__name__,
                    hint="ray status" if address else "ray start --head, then --address auto",
                ) from error
    try:
        have = ray.cluster_resources()
        gpus = int(have.get("GPU", 0))
        if num_gpus is not None and num_gpus > gpus:
            raise IngestError(
                f"{num_gpus} GPUs were asked for", found=f"{gpus} in the Ray cluster", hint=f"--num-gpus {gpus}"
            )
        cpus = int(have.get("CPU", 1))
        yield Resources(gpus if num_gpus is None else num_gpus, max(1, min(cpus, num_cpus or cpus)))
    finally:
        if ours:
            ray.shutdown()


def _start(address: str | None, num_gpus: int | None, num_cpus: int | None) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.FATAL, "configure_logging": True}
    if address is not None:
        ray.init(address=address, **quiet)
        return
    without_gpus = num_gpus == 0 or not os.path.exists("/dev/nvidiactl")  # noqa: PTH110
    ray.init(
        # Without it, Ray would join whatever cluster it finds on this machine or in RAY_ADDRESS.
        address="local",
        num_cpus=num_cpus,
        num_gpus=num_gpus,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES if without_gpus else None,
        **quiet,
    )
