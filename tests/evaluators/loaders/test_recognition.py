"""Models that are already in the store: recognised, distinguished, or reported as different."""

from __future__ import annotations

import torch

from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.fingerprints import DOUBLE, Fingerprint
from qubastore.models.model import Model
from qubastore.models.recognition import is_unverified, recognise
from qubastore.models.spec import ModelSpec
from qubastore.runs.records import register_model
from tests.evaluators.loaders.changing_net import write


def test_a_changed_network_stands_beside_the_old_one(store, net, images):
    """--force never puts one's numbers under the other's id, and an unchanged one is not run again."""
    spec = f"python:{net}/net.py:net"
    ingest(store, [spec], {"noise": images}, limit=8)
    kept = store.rows("select model, accuracy, run_id from accuracy")
    write(net, temperature=10.0)
    planned = ingest(store, [spec], {"noise": images}, limit=8, dry_run=True).plan.runs[0].model
    assert planned.title == f"python:net.py:net@{planned.model_id[:6]}", "told apart on the screen too"
    report = ingest(store, [spec], {"noise": images}, limit=8, force=True)
    assert report.images == 8
    names = [row[0] for row in store.rows("select model from model_names order by model")]
    assert len(names) == 2
    assert all(name.startswith("python:net.py:net@") for name in names), names
    assert planned.title in names, "the name that the plan told is the view's"
    assert store.rows("select accuracy from accuracy where run_id = ?", [kept[0][2]]) == [(kept[0][1],)]
    write(net)
    assert ingest(store, [spec], {"noise": images}, limit=8).images == 0


def model_of(name="timm:net", values=(1.0, 2.0), architecture=None, **options):
    known = None if values is None else Fingerprint.of(values, DOUBLE, 1, {"timm": options.pop("timm", "1")})
    described = architecture or {"timm": "net"}
    loader = options.pop("loader", "timm")
    return Model(name, loader, described, "weights", {"kind": "x"}, (8, 8), 2, 10, 4, fingerprint=known, **options)


def test_models_of_earlier_stores_keep_their_ids(store):
    """Where description and weights agree the fingerprint is added; `python:` models of then are never taken."""
    old = model_of(values=None)
    unverified = model_of("python:a.py:net", None, {"python": "net", "source": "abc"}, loader="python")
    for model in (old, unverified):
        store.write(lambda c, model=model: register_model(c, model))
    found = recognise(store.rows, model_of())
    assert found.model.model_id == old.model_id
    store.write(lambda c: register_model(c, found.model))
    assert store.rows("select model_id, values from fingerprints") == [(old.model_id, [1.0, 2.0])]
    now = recognise(store.rows, model_of("python:a.py:net", (1.0, 2.0), {"python": "net"}, loader="python"))
    assert now.model.model_id != unverified.model_id
    assert "identity unverified" in now.notes[0]
    assert is_unverified("python", {"python": "net", "source": "abc"})
    assert store.rows("select name, identity from model_names order by name") == [
        ("python:a.py:net", "unverified"),
        ("timm:net", ""),
    ]


def test_a_release_that_computes_something_else_is_told(store):
    store.write(lambda c: register_model(c, model_of()))
    same = recognise(store.rows, model_of(values=(1.0 + 1e-9, 2.0), timm="2"))
    assert (same.model.recorded_id, same.notes) == (model_of().model_id, ())
    other = recognise(store.rows, model_of(values=(1.0, 2.1), timm="2"))
    assert other.model.recorded_id is None
    assert "its outputs differ (timm 1 then, 2 now)" in other.notes[0]
    assert other.model.model_id != model_of().model_id


def test_a_spec_that_takes_other_weights_now_says_so(store, tmp_path, images):
    """An earlier release used the raw weights of a checkpoint that holds both."""
    import timm

    from qubastore.evaluators.loaders.checkpoints import file_hash
    from qubastore.evaluators.planning.identify import _earlier_weights

    torch.manual_seed(0)
    raw = timm.create_model("resnet10t", num_classes=3).state_dict()
    path = tmp_path / "both.pth"
    torch.save(
        {"state_dict": raw, "state_dict_ema": {k: v + 1 if v.is_floating_point() else v for k, v in raw.items()}}, path
    )
    source = ModelSource.of(ModelSpec.parse(f"timm:resnet10t,num_classes=3,checkpoint={path}"))
    old = model_of("timm:resnet10t,num_classes=3,checkpoint=both.pth", None)
    revision = f"timm|1.0|resnet10t|3||||{file_hash(str(path))}"
    store.write(lambda c: register_model(c, old, revision))
    assert store.rows("select 1 from model_revisions where revision = ?", [source.revision()]) == []
    said = list(_earlier_weights(store, source.load(), source.revision()))
    assert said == [
        f"the earlier run of this checkpoint, {old.name}, used the raw weights: weights=raw selects that model"
    ]


def test_two_specs_of_one_model_are_told(store, net, images):
    said = []

    class Ear:
        def __getattr__(self, _):
            return lambda *_: None

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def log(self, text):
            said.append(text)

    link = net.parent / "link.py"
    link.symlink_to(net / "net.py")
    ingest(store, [f"python:{net}/net.py:net", f"python:{link}:net"], {"noise": images}, limit=4, display=Ear())
    assert any("are the same model: it is run once" in line for line in said), said
    assert store.rows("select count(*) from models") == [(1,)]
