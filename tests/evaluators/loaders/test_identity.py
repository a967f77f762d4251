"""Which model a network is: what decides its outputs tells it from others, whatever that is, and nothing else does."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qubastore.errors import ModelError
from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.fixed_images import check_repeatable, fixed_pixels
from qubastore.evaluators.loaders.source import InMemoryModel, ModelSource
from qubastore.models.fingerprints import DOUBLE, SINGLE, TOLERANCES, Fingerprint, same_answers
from qubastore.models.model import Model
from qubastore.models.recognition import is_unverified, recognise
from qubastore.models.spec import ModelSpec
from qubastore.runs.records import register_model

NET = """
import json, pathlib, torch
from torch import nn
from helper_of_identity import GAIN
CONFIG = {"input_size": (3, 8, 8), "crop_pct": 1.0, "mean": (0, 0, 0), "std": (1, 1, 1)}
class Net(nn.Module):
    def __init__(self, shift, temperature):
        super().__init__()
        self.centres = nn.Parameter(torch.arange(3).float() / 2)
        self.temperature = temperature
        self.register_buffer("shift", torch.tensor(shift), persistent=False)
    def forward(self, x):
        return -((x.mean((1, 2, 3))[:, None] * GAIN + self.shift - self.centres[None]) ** 2) * 40 / self.temperature
def net():
    chosen = json.loads((pathlib.Path(__file__).parent / "config.json").read_text())
    return Net(chosen["shift"], chosen["temperature"]), CONFIG
"""


@pytest.fixture
def net(tmp_path):
    """A file whose network hangs on an imported number, a plain attribute and a buffer that is not saved."""
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "net.py").write_text(NET)
    write(folder)
    return folder


def write(folder, gain=1.0, shift=0.0, temperature=1.0):
    (folder / "helper_of_identity.py").write_text(f"GAIN = {gain}\n")
    (folder / "config.json").write_text(json.dumps({"shift": shift, "temperature": temperature}))


def described(folder, name="net.py:net"):
    return describe(ModelSource.of(ModelSpec.parse(f"python:{folder}/{name}")).load())


@pytest.mark.parametrize("change", [{"gain": 0.2}, {"temperature": 10.0}, {"shift": 0.9}, {"temperature": 1.001}])
def test_what_decides_the_outputs_is_part_of_the_model(net, change):
    before = described(net)
    write(net, **change)
    after = described(net)
    assert after.weights_hash == before.weights_hash, "no tensor shows the change"
    assert after.fingerprint.agrees(before.fingerprint) is False
    assert after.model_id != before.model_id
    write(net)
    assert described(net).model_id == before.model_id


def test_what_decides_nothing_is_no_part_of_it(net):
    before = described(net)
    text = (net / "net.py").read_text()
    (net / "net.py").write_text("# a comment\n" + text + "\ndef another():\n    return net()\n")
    (net / "helper_of_identity.py").write_text("GAIN = 1.0\nOTHER = 2\n")
    assert described(net).model_id == before.model_id


def test_two_folders_with_helpers_of_one_name(net, tmp_path):
    """The second file imports what lies beside it, not what the first one imported under the same name."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "net.py").write_text(NET)
    write(other, gain=0.2)
    first, second, again = described(net), described(other), described(net)
    assert first.model_id == again.model_id != second.model_id


def test_a_byte_order_mark_is_no_part_of_a_file(net):
    before = described(net)
    (net / "net.py").write_bytes(b"\xef\xbb\xbf" + (net / "net.py").read_bytes())
    assert described(net).model_id == before.model_id


def test_a_factory_that_exits_is_an_error(tmp_path):
    (tmp_path / "exits.py").write_text("import sys\ndef net():\n    sys.exit('no weights here')\n")
    with pytest.raises(ModelError, match=r"net\(\) of .* failed"):
        ModelSource.of(ModelSpec.parse(f"python:{tmp_path}/exits.py:net")).load()


def test_a_preprocessing_function_is_part_of_the_function(tmp_path):
    """Its id is the user's word; what it does shows in the answers."""
    ids = set()
    for size in (8, 4):
        (tmp_path / "p.py").write_text(
            "import torch\nfrom torchvision.transforms.functional import pil_to_tensor\n"
            f"def prepare(image):\n    return pil_to_tensor(image.resize(({size}, {size})).resize((8, 8))) / 255\n"
            "prepare.id = 'mine'\n"
            "def net():\n    torch.manual_seed(0)\n"
            "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3)), prepare\n"
        )
        ids.add(described(tmp_path, "p.py:net").model_id)
    assert len(ids) == 2


# Fingerprints -------------------------------------------------------------------------------------------------
def test_fingerprint_by_hand(net):
    """The mean of each fixed image decides all three logits: -(mean - k/2)^2 * 40."""
    means = fixed_pixels(8, 8).astype(np.float32).astype(np.float64) / 255
    means = means.reshape(4, -1).mean(axis=1)
    centres = np.arange(3) / 2
    found = described(net).fingerprint
    assert found.precision == DOUBLE
    np.testing.assert_allclose(found.values.reshape(4, 3), -((means[:, None] - centres) ** 2) * 40, atol=1e-5)


def test_what_fails_in_double_precision_is_fingerprinted_in_single():
    class Fixed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(192, 2))
            self.plain = torch.full((2,), 0.5)  # no buffer: it stays float32

        def forward(self, x):
            return torch.mm(x.flatten(1), self.weight) @ torch.diag(self.plain)

    class Cast(Fixed):
        def forward(self, x):
            return x.float().flatten(1) @ self.weight.float()

    config = {"input_size": (3, 8, 8)}
    for network in (Fixed(), Cast()):
        loaded = InMemoryModel("net", network, config).load()
        assert describe(loaded).fingerprint.precision == SINGLE
        assert network.weight.dtype == torch.float32


@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), min_size=1, max_size=20),
    st.sampled_from([DOUBLE, SINGLE]),
    st.floats(-1, 1),
)
def test_equal_digests_mean_the_same_function(values, precision, noise):
    """Whatever the values: a digest is equal only within the tolerance, and is that of the stored values read back."""
    one = Fingerprint.of(values, precision, 1)
    other = Fingerprint.of(np.asarray(values) * (1 + noise * TOLERANCES[precision] * 3), precision, 1)
    assert one.agrees(Fingerprint.of(one.values.tolist(), precision, 1))
    assert one.digest == Fingerprint.of(one.values.tolist(), precision, 1).digest
    if one.digest == other.digest:
        assert one.agrees(other)


def test_tolerance_is_relative_to_the_largest_answer():
    assert same_answers(np.array([1000.0, 0.0]), np.array([1000.0, 0.0009]), 1e-6)
    assert not same_answers(np.array([1000.0, 0.0]), np.array([1000.0, 0.0011]), 1e-6)
    assert not same_answers(np.array([1.0]), np.array([np.nan]), 1e-6)
    assert same_answers(np.array([np.nan, np.inf, 1]), np.array([np.nan, np.inf, 1]), 1e-6)
    assert not same_answers(np.zeros(2), np.zeros(3), 1e-6)


# Networks that do not answer alike ----------------------------------------------------------------------------
class Grey(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.centres = torch.nn.Parameter(torch.arange(4).float() / 3)

    def forward(self, x):
        return -((x.mean((1, 2, 3))[:, None] - self.centres[None]) ** 2) * 40


class Dropped(Grey):
    def forward(self, x):
        return torch.nn.functional.dropout(super().forward(x), 0.5)


class Seeded(Grey):
    """Draws the same numbers each time, by the place in the batch."""

    def forward(self, x):
        noise = torch.randn(len(x), 1, generator=torch.Generator().manual_seed(0))
        return super().forward(x) * (1 + noise)


class Counting(Grey):
    """Changes with every pass."""

    passes = 0

    def forward(self, x):
        self.passes += 1
        return super().forward(x) + torch.arange(4) * self.passes


class OfBatch(Grey):
    def forward(self, x):
        answers = super().forward(x)
        return answers - answers.mean(0)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (Dropped(), "differently to the same images each time"),
        (Counting(), "differently to the same images each time"),
        (OfBatch(), "when other images are in its batch"),
        (Seeded(), "when other images are in its batch"),
    ],
)
def test_a_network_that_answers_differently_gets_no_identity(network, message):
    loaded = InMemoryModel("net", network, {"input_size": (3, 8, 8)}).load()
    with pytest.raises(ModelError, match=message) as caught:
        describe(loaded)
    assert "differ by up to" in str(caught.value)
    check_repeatable(InMemoryModel("net", Grey(), {"input_size": (3, 8, 8)}).load())


# In a store ---------------------------------------------------------------------------------------------------
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
    assert "computes something else (timm 1 then, 2 now)" in other.notes[0]
    assert other.model.model_id != model_of().model_id


def test_a_spec_that_takes_other_weights_now_says_so(store, tmp_path, images):
    """A release before took the raw weights of a checkpoint that holds both."""
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
        f"the earlier run of this checkpoint, {old.name}, took the raw weights: weights=raw means that model"
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
    assert any("are one model: it is run once" in line for line in said), said
    assert store.rows("select count(*) from models") == [(1,)]


def test_importing_fingerprints_needs_no_torch():
    code = "import qubastore.models.fingerprints, qubastore.models.recognition, sys; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"
