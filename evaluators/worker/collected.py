"""The outputs of a shard's runs: narrow columns where the logits are, checks, and collection batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import SIGNIFICANT_BITS
from qubastore.datasets.label_spaces import LabelSpace
from qubastore.errors import OutputError, QubastoreError, in_one_line
from qubastore.evaluators.worker.messages import Settings, ShardRequest
from qubastore.evaluators.worker.transfers import Transfers
from qubastore.lake.object_storage import DataFiles
from qubastore.runs import outputs
from qubastore.runs.shard import Failure, Shard
from qubastore.statistics import scores

if TYPE_CHECKING:
    import pyarrow as pa
    import torch


@dataclass
class Collected:
    """The outputs of one run over one shard, collected batch by batch."""

    sample_ids: list[int] = field(default_factory=list)
    parts: list[dict[str, NDArray[Any]]] = field(default_factory=list)
    seconds: float = 0.0

    def tables(self, run_id: str, keep: Iterable[str], bits: int) -> dict[str, pa.Table]:
        """The tables of the kinds of output to keep; vectors are rounded to `bits` significant bits."""
        ids = np.asarray(self.sample_ids, np.int32)
        whole = {name: np.concatenate([part[name] for part in self.parts]) for name in self.parts[0]}
        tables = {"outputs": outputs.outputs_table(run_id, ids, whole)}
        for kind in ("logits", "features"):
            if kind in keep:
                rounded = scores.round_significant(whole[kind], bits)
                tables[kind] = outputs.vectors_table(run_id, ids, rounded)
        return tables


class Outgoing:
    """The outputs of one batch of one run, on their way from the device.

    With a GPU, columns are computed there, so that only what is kept is copied; on the host, when they are collected,
    beside the next forward pass.

    Args:
        logits: (n, n_outputs) float32, on the device.
        features: (n, width) float32, on the device, if they are kept.
        labels: (n, k) int32, on the device.
        space: The dataset's label space.
        keep: Kinds of output to keep.
        transfers: The copies from the device.
    """

    def __init__(
        self,
        logits: torch.Tensor,
        features: torch.Tensor | None,
        labels: torch.Tensor,
        space: LabelSpace,
        keep: Iterable[str],
        transfers: Transfers,
    ) -> None:
        self._logits, self._labels, self._space, self._keep = logits, labels, space, tuple(keep)
        self._on_host = not transfers.columns_on_device
        # A backbone without a head has features where others have logits.
        self._check = scores.check_features if features is logits else scores.check_logits
        wanted = {} if features is None else {"features": features}
        if self._on_host or "logits" in self._keep:
            wanted["logits"] = logits
        if not self._on_host:
            wanted |= _columns_on_device(logits, labels, space)
        self._arrays = transfers.download(wanted)

    def arrays(self, model: str) -> dict[str, NDArray[Any]]:
        """Wait for the arrays: columns of `outputs`, and `logits` and `features` if they are kept.

        Raises:
            OutputError: if what the network returned are no logits, or no finite features.
        """
        found = self._arrays()
        if self._on_host:
            logits = found["logits"] if "logits" in self._keep else found.pop("logits")
            self._check(logits, model=model)
            return found | scores.output_columns(logits, self._labels.numpy(), self._space)
        if found.pop("flaws").any():
            self._check(self._logits.cpu().numpy(), model=model)
        return found


def _columns_on_device(logits: torch.Tensor, labels: torch.Tensor, space: LabelSpace) -> dict[str, torch.Tensor]:
    """The columns, and the flaws of the logits, in blocks of rows that bound the memory for float64 values."""
    import torch

    arrays = scores.Arrays(torch, logits.device)
    rows = max(1, VALUES_AT_A_TIME // max(1, logits.shape[1]))
    with torch.inference_mode():
        blocks = [
            scores.output_columns(part, right, space, arrays)
            for part, right in zip(torch.split(logits, rows), torch.split(labels, rows), strict=True)
        ]
        columns = blocks[0] if len(blocks) == 1 else {n: torch.cat([b[n] for b in blocks]) for n in blocks[0]}
        return columns | {"flaws": scores.logit_flaws(logits, arrays)}


VALUES_AT_A_TIME = 1 << 21
"""Logits whose columns are computed at a time: about 100 MB in float64."""


class ShardOutputs:
    """The outputs of all runs of a shard, the errors of models that failed, and the batch size that each ended with.

    Args:
        names: Model id -> name, for messages.
        settings: Where files are written, and in which precision the passes were.
        device: Name of the device.
    """

    def __init__(self, names: dict[str, str], settings: Settings, device: str) -> None:
        self._names, self._settings, self._device = names, settings, device
        self.errors: dict[str, QubastoreError] = {}
        self.collected = {model_id: Collected() for model_id in names}
        self.batch_sizes: dict[str, int] = {}

    def add(
        self,
        model_id: str,
        sample_ids: list[int],
        outgoing: Outgoing,
        seconds: Callable[[], float],
    ) -> None:
        """Collect a batch of a model that has not failed; `seconds` gives the time of its forward pass."""
        if model_id in self.errors:
            return
        try:
            arrays = outgoing.arrays(self._names[model_id])
        except Exception as error:
            self.fail(model_id, error)
            return
        collected = self.collected[model_id]
        collected.sample_ids += sample_ids
        collected.parts.append(arrays)
        collected.seconds += seconds()

    def fail(self, model_id: str, error: Exception) -> None:
        """Record the first error of a model, which does not stop the others of its group."""
        if not isinstance(error, QubastoreError):
            error = OutputError(
                f"{self._names[model_id]} failed in its forward pass",
                found=in_one_line(error)[:300],
                hint="qubastore ingest --limit 8 ...",
            )
        self.errors.setdefault(model_id, error)

    def write(self, model_id: str, request: ShardRequest, failures: Sequence[Failure], n_by_pillow: int) -> Shard:
        """Write the files of a run's shard.

        Args:
            model_id: A model that has not failed.
            request: The request for the shard.
            failures: The images that could not be decoded.
            n_by_pillow: Number of images that Pillow decoded because the decoder cannot.
        """
        run_id, keep, collected = request.runs[model_id], request.keep[model_id], self.collected[model_id]
        written = outputs.Written()
        if collected.sample_ids:
            tables = collected.tables(run_id, keep, SIGNIFICANT_BITS[self._settings.precision])
            written = outputs.write_shard(DataFiles(self._settings.data_path), run_id, request.shard, tables)
        return Shard(
            run_id=run_id,
            shard=request.shard,
            first_sample=request.first_sample,
            n_samples=request.n_samples,
            files=written.files,
            checksums=written.checksums,
            failures=tuple(sorted(failures, key=lambda each: each.sample_id)),
            batch_size=self.batch_sizes[model_id],
            device=self._device,
            seconds=collected.seconds,
            kept=keep,
            n_by_pillow=n_by_pillow,
        )
