"""Inputs made again are those that the models saw: the network answers them as it answered in the ingest."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from qubastore.errors import UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.altered_images import AlteredImages
from qubastore.explorer.altered import amplified

CONDITIONS = ["clean", "fgsm", "pgd(steps=2)", "corrupt(fog, severity=3)", "scale(1.5)", "shift(4)"]


@pytest.mark.usefixtures("ray_session")
def test_the_network_answers_an_input_made_again_as_it_did(store, tiny_models, images):
    spec = f"python:{tiny_models}:first"
    found = importlib.util.spec_from_file_location("tiny", tiny_models)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    network = module.first()[0].eval()
    ingest(store, [spec], {"noise": images}, conditions=CONDITIONS, keep=("outputs", "logits"), limit=30)
    makes = AlteredImages([spec])
    runs = store.rows("select run_id, condition, root from runs join datasets using (dataset_id)")
    assert len(runs) == len(CONDITIONS)
    for run, condition, root in runs:
        kept = store.rows(
            "select sample_id, key, values from logits join runs using (run_id)"
            " join samples using (dataset_id, sample_id) where run_id = ? and sample_id in (0, 7, 29)",
            [run],
        )
        assert len(kept) == 3
        for sample_id, key, values in kept:
            data = (images / key).read_bytes()
            assert root == str(images)
            clean, altered = makes.pair(store, run, sample_id, data)
            assert clean.shape == altered.shape == (32, 32, 3)
            assert (condition == "clean") == bool((clean == altered).all())
            x = torch.from_numpy(np.asarray(altered, np.float32)).permute(2, 0, 1)[None] / 255
            with torch.inference_mode():
                logits = network((x - 0.5) / 0.5)[0].numpy()
            assert logits == pytest.approx(values, abs=1e-4)
            if condition == "fgsm(eps=8/255)":
                assert np.abs(altered - clean.astype(np.float32)).max() == pytest.approx(8, abs=1e-3)


@pytest.mark.usefixtures("ray_session")
def test_what_cannot_be_made_again(store, tiny_models, images):
    spec = f"python:{tiny_models}:first"
    ingest(store, [spec], {"noise": images}, conditions=["fgsm"], limit=4)
    ((run,),) = store.rows("select run_id from runs")
    with pytest.raises(UsageError, match=r"not at hand(.|\n)*--model SPEC"):
        AlteredImages().pair(store, run, 0, next(images.rglob("*.png")).read_bytes())
    with pytest.raises(UsageError, match="has no run"):
        AlteredImages().pair(store, "nosuch", 0, b"")
    with pytest.raises(UsageError, match="has no run"):
        AlteredImages().pair(store, run, 99, b"")


def test_differences_are_amplified_around_grey():
    clean = np.full((2, 2, 3), 100, np.uint8)
    altered = clean.astype(np.float32)
    altered[0, 0], altered[1, 1] = 102, 99
    found = amplified(clean, altered)
    # 127.5 + 2 * 127.5 / 2 and 127.5 - 1 * 127.5 / 2, rounded to even.
    assert (found[0, 0] == 255).all()
    assert (found[1, 1] == 64).all()
    assert (found[0, 1] == 128).all()
    assert (amplified(clean, clean.astype(np.float32)) == 128).all()
    assert (amplified(clean, np.zeros((3, 3, 3), np.float32)) == 128).all()
