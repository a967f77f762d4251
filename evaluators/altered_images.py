"""One image as a model sees it, with and without a condition, made again by the code of an ingest.

Corruptions and transformations are made from the image alone. Adversarial images need the network: those of models that
are named are loaded when they are first needed, on the CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import CLEAN, Condition
from qubastore.errors import UsageError
from qubastore.evaluators.planning.heads import read_head
from qubastore.evaluators.planning.identify import PlannedModel, stored_model
from qubastore.evaluators.planning.probes import identify_requested
from qubastore.evaluators.worker.attacks import sample_seed
from qubastore.evaluators.worker.corrupted_files import Corrupted
from qubastore.evaluators.worker.images import decoded_by_pillow
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.store import Store

if TYPE_CHECKING:
    from qubastore.evaluators.worker.held_model import HeldModel


class AlteredImages:
    """Makes inputs again, one at a time.

    Args:
        models: Models whose adversarial images may be asked for, as for `ingest`.
    """

    def __init__(self, models: Sequence[str] = ()) -> None:
        self._specs = [ModelSpec.parse(model) for model in models]
        self._planned: dict[str, PlannedModel] | None = None
        self._held: dict[str, HeldModel] = {}

    def pair(
        self, store: Store, run_id: str, sample_id: int, data: bytes
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | NDArray[np.float32]]:
        """The input of a run's model for an image, and the input under the run's condition.

        Args:
            store: An open store.
            run_id: The run.
            sample_id: The image.
            data: Its file.

        Returns:
            (h, w, 3) uint8 and, under its condition, (h, w, 3) uint8, or, of an attack, float32 from 0 to 255.

        Raises:
            UsageError: If the store has no such run, its model preprocesses images itself, or the network of an
                attack is not named.
        """
        rows = store.rows(
            "select runs.model_id, runs.framing, runs.condition, samples.key, label_sets.labels"
            " from runs join samples using (dataset_id)"
            " left join label_sets on label_sets.dataset_id = runs.dataset_id and label_set = 'dataset'"
            " and label_sets.sample_id = samples.sample_id"
            " where runs.run_id = ? and samples.sample_id = ?",
            [run_id, sample_id],
        )
        if not rows:
            raise UsageError(f"the store has no run {run_id!r} over an image {sample_id}")
        model_id, framing, text, key, labels = rows[0]
        model, condition = stored_model(store, model_id), Condition.parse(text)
        own = Preprocessing.described(model.preprocessing)
        if own is None:
            raise UsageError(f"{model.name} preprocesses images itself, so that its inputs are not pixels")
        framed = own.framed(framing)
        clean = decoded_by_pillow(data, framed, None)
        if text == CLEAN:
            return clean, clean
        if condition.is_attack:
            held = self._network(store, model_id, model.name)
            return clean, self._attacked(held, clean, labels[0], condition, key)
        if condition.corruption is not None:
            data = Corrupted(condition, framing).file(data, key)
        return clean, decoded_by_pillow(data, framed.under(condition), condition.shift)

    def _network(self, store: Store, model_id: str, name: str) -> HeldModel:
        """The network of a model, loaded once."""
        from qubastore.evaluators.worker.core import ShardEvaluator
        from qubastore.evaluators.worker.messages import Settings

        if self._planned is None and self._specs:
            found = [identify_requested(store, spec, log=lambda _: None)[0] for spec in self._specs]
            self._planned = {planned.model_id: planned for planned in found}
        planned = (self._planned or {}).get(model_id)
        if planned is None:
            raise UsageError(
                f"an adversarial image of {name} is made by its network, which is not at hand",
                hint=f"qubastore view --model SPEC, with the SPEC that {name} was ingested with",
            )
        if model_id not in self._held:
            evaluator = ShardEvaluator(Settings(str(store.files.root), "fp32", 1, False, 1))
            evaluator.load(planned.model, planned.source, read_head(store, model_id))
            self._held[model_id] = evaluator._models[model_id]
        return self._held[model_id]

    def _attacked(
        self, held: HeldModel, clean: NDArray[np.uint8], label: int, condition: Condition, key: str
    ) -> NDArray[np.float32]:
        import torch

        from qubastore.evaluators.worker.forward import attacked
        from qubastore.evaluators.worker.normalisation import in_unit_range

        random = condition.parameters.get("start") == "random"
        seeds = [sample_seed(key, str(condition))] if random else []
        pixels = in_unit_range(torch.from_numpy(np.ascontiguousarray(clean))[None])
        found = attacked(held, pixels, torch.tensor([label]), condition, seeds)
        return np.asarray(found[0].permute(1, 2, 0).numpy() * 255, dtype=np.float32)
