"""Fixtures: a store with all real inputs of the second study, small annotations of ImageNet-X."""

from __future__ import annotations

import json
import shutil

import pytest

import qubastore
from qubastore.importers.imagenet_x import FACTORS, import_imagenet_x
from qubastore.importers.people import import_human
from qubastore.importers.predictions import import_predictions
from tests.conftest import shared
from tests.importers.second_study import annotation_files


@pytest.fixture(scope="session")
def known(empty_store, tmp_path_factory):
    """ResNet50's and ViT's predictions, ImageNet-X, five people, imported as the docs show it; tests only ask it."""
    path = tmp_path_factory.mktemp("known") / "store"
    labels = annotation_files() / "filename_label.csv"
    shutil.copytree(empty_store, path)
    with qubastore.open(path, read_only=False) as store:
        for model in ("ResNet50", "ViT"):
            file = shared("data", "predictions", f"{model}.csv")
            import_predictions(store, file, model=model, dataset="imagenet-val", labels=labels)
        import_imagenet_x(store)
        import_human(store, shared("data", "human"))
    with qubastore.open(path) as store:
        yield store


@pytest.fixture
def own_annotations(tmp_path):
    """Files as the package has them, for two images of class 0 and one of class 1; the third is a prototype."""
    folder = tmp_path / "annotations"
    folder.mkdir()
    names = ["fish" if i % 2 else "dog" for i in range(1000)]
    (folder / "imagenet_1k_classes_to_100_metaclasses.csv").write_text(
        "wnid,name,metaclass\n" + "".join(f"n,{name},0\n" for name in names)
    )
    (folder / "prototypical_paths.csv").write_text("file_name\nILSVRC2012_val_00000003.JPEG\n")
    for kind in ("top", "multi"):
        lines = []
        for number, label, factors in ((1, 0, ["pose"]), (2, 0, ["style"]), (3, 1, ["pose"])):
            flags = {factor: int(factor in factors or (kind == "multi" and factor == "color")) for factor in FACTORS}
            lines.append(json.dumps({"file_name": f"ILSVRC2012_val_{number:08d}.JPEG", "class": label, **flags}))
        (folder / f"imagenet_x_val_{kind}_factor.jsonl").write_text("\n".join(lines))
    return folder
