"""All that an ingest has stored, and a plain loop to compare its logits with."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.spec import ModelSpec


def everything(store):
    """All rows that a run is made of, but for times."""
    tables = {
        "outputs": "* exclude (run_id)",
        "logits": "*",
        "failures": "*",
        "class_summary": "*",
        "bin_summary": "*",
        "run_metrics": "*",
    }
    found = {
        name: sorted(map(repr, store.rows(f"select r.model_id, t.{what} from {name} t join runs r using (run_id)")))
        for name, what in tables.items()
    }
    found["shards"] = store.rows(
        "select run_id, shard, first_sample, n_samples, n_failed, kept from shards order by all"
    )
    return found


def plain_loop(folder, spec: str, batch: int = 32) -> np.ndarray:
    """Logits by a plain PyTorch loop with torchvision's transforms, written for the check."""
    from torchvision import transforms

    loaded = ModelSource.of(ModelSpec.parse(spec)).load()
    p = loaded.preprocessing
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
