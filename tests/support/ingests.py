"""All that an ingest has stored, and a plain loop to compare its logits with."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from qubastore.datasets.dataset import Dataset
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.preprocessing import Preprocessing
from qubastore.models.spec import ModelSpec
from qubastore.store import Store


def everything(store: Store) -> dict[str, list[Any]]:
    """All rows that a run is made of, but for times."""
    tables = {
        "outputs": "* exclude (run_id)",
        "logits": "*",
        "failures": "*",
        "class_summary": "*",
        "bin_summary": "*",
        "run_metrics": "*",
    }
    found: dict[str, list[Any]] = {
        name: sorted(map(repr, store.rows(f"select r.model_id, t.{what} from {name} t join runs r using (run_id)")))
        for name, what in tables.items()
    }
    found["shards"] = store.rows(
        "select run_id, shard, first_sample, n_samples, n_failed, kept from shards order by all"
    )
    return found


def plain_loop(folder: Dataset, spec: str, batch: int = 32) -> NDArray[np.float32]:
    """Logits by a plain PyTorch loop with torchvision's transforms, written for the check."""
    from torchvision import transforms

    loaded = ModelSource.of(ModelSpec.parse(spec)).load()
    p = loaded.preprocessing
    assert isinstance(p, Preprocessing)
    steps = transforms.Compose(
        [
            transforms.Resize(p.resize[0], transforms.InterpolationMode(p.interpolation)),
            transforms.CenterCrop(p.crop),
            transforms.ToTensor(),
            transforms.Normalize(p.mean, p.std),
        ]
    )
    inputs = [steps(Image.open(f"{folder.root}/{s.key}").convert("RGB")) for s in folder.samples]
    with torch.inference_mode():
        parts = [loaded.module(torch.stack(inputs[i : i + batch])) for i in range(0, len(inputs), batch)]
    return torch.cat(parts).numpy()
