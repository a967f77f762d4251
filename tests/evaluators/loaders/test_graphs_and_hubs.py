"""`export:`, `onnx:`, `hub:` and the loaders and datasets of other packages."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from torch import nn

from qubastore import plugins
from qubastore.datasets.locating import own_datasets
from qubastore.errors import ModelError, QubastoreError, UsageError
from qubastore.evaluators import ingest
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.fixed_images import fixed_inputs
from qubastore.evaluators.loaders.graph_files import tensors_only
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.models.loaders import loader_names
from qubastore.models.spec import ModelSpec

SIZE = 32


class Net(nn.Module):
    """Three classes from images of 32 x 32."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.Linear(8, 3)

    def forward(self, images):
        return self.head(self.norm(self.conv(images)).relu().mean(dim=(2, 3)))


class TwoInputs(Net):
    def forward(self, images, more):  # type: ignore[override]
        return super().forward(images + more)


class TwoOutputs(Net):
    def forward(self, images):
        answers = super().forward(images)
        return answers, answers + 1


def load(text):
    return ModelSource.of(ModelSpec.parse(text)).load()


def exported(path, net=None, *, inputs=1, dynamic=True):
    """The file of torch.export of a network."""
    net = (net or Net()).eval()
    batch = {0: torch.export.Dim("n", min=1, max=512)} if dynamic else None
    example = tuple(torch.rand(2, 3, SIZE, SIZE) for _ in range(inputs))
    shapes = tuple(batch for _ in range(inputs)) if dynamic else None
    torch.export.save(torch.export.export(net, example, dynamic_shapes=shapes), path)
    return f"export:{path},preprocess=32/1/bilinear"


def onnx_file(path, *, shape=("n", 3, SIZE, SIZE), inputs=1, outputs=1, classes=5):
    """A graph that averages the pixels and multiplies them: as ONNX, without torch."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    names = [f"images{index}" for index in range(inputs)]
    weight = np.random.default_rng(0).normal(size=(shape[1], classes)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["images0"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["out0"]),
    ]
    nodes += [helper.make_node("Neg", ["out0"], [f"out{index}"]) for index in range(1, outputs)]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names],
        [
            helper.make_tensor_value_info(f"out{index}", TensorProto.FLOAT, (shape[0], classes))
            for index in range(outputs)
        ],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, path)
    return f"onnx:{path},preprocess=32/1/bilinear", weight


def test_an_exported_network_gives_what_it_gave(tmp_path):
    loaded = load(exported(tmp_path / "net.pt2"))
    inputs = fixed_inputs(loaded.preprocessing)
    with torch.inference_mode():
        torch.testing.assert_close(loaded.module(inputs), Net().eval()(inputs))
    model = describe(loaded)
    assert (model.num_classes, model.input_size) == (3, (32, 32))
    assert model.parameters == sum(parameter.numel() for parameter in Net().parameters())
    assert model.macs


def test_onnx_gives_what_the_graph_says(tmp_path):
    spec, weight = onnx_file(tmp_path / "net.onnx")
    loaded = load(spec)
    inputs = fixed_inputs(loaded.preprocessing)
    np.testing.assert_allclose(
        loaded.module(inputs).numpy(), inputs.mean(dim=(2, 3)).numpy() @ weight, rtol=1e-5, atol=1e-5
    )
    model = describe(loaded)
    assert (model.num_classes, model.parameters, model.macs, model.feature_width) == (5, 15, None, None)
    other, _ = onnx_file(tmp_path / "same.onnx")
    assert describe(load(f"{other},name=other")).model_id == model.model_id


@pytest.mark.parametrize("kind", ["export", "onnx"])
def test_runs_of_graphs(tmp_path, images, store, ray_session, kind):
    spec = exported(tmp_path / "net.pt2") if kind == "export" else onnx_file(tmp_path / "net.onnx", classes=3)[0]
    assert not ingest(store, [spec], {"own": images}, keep=("outputs", "logits")).errors
    assert store.sql("select n_samples, complete from run_details").fetchall() == [(150, True)]
    if kind == "onnx":
        with pytest.raises(UsageError, match="needs gradients"):
            ingest(store, [spec], {"own": images}, conditions=["fgsm(eps=4/255)"])
        with pytest.raises(UsageError, match="not in bf16"):
            ingest(store, [spec], {"own": images}, precision="bf16")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: exported(path / "x.pt2", TwoInputs(), inputs=2), "has 2 inputs"),
        (lambda path: exported(path / "x.pt2", TwoOutputs()), "has 2 outputs"),
        (lambda path: exported(path / "x.pt2", dynamic=False), "batches of 2 only"),
        (lambda path: exported(path / "x.pt2").replace("32/1", "64/1"), "another size"),
        (lambda path: exported(path / "x.pt2").partition(",")[0], "does not say how"),
        (lambda path: onnx_file(path / "x.onnx", inputs=2)[0], "has 2 inputs"),
        (lambda path: onnx_file(path / "x.onnx", outputs=2)[0], "has 2 outputs"),
        (lambda path: onnx_file(path / "x.onnx", shape=(4, 3, 32, 32))[0], "batches of 4 only"),
        (lambda path: onnx_file(path / "x.onnx", shape=("n", 1, 32, 32))[0], "does not take images"),
        (lambda path: f"export:{path / 'none.pt2'},preprocess=32/1", "no such file"),
        (lambda path: f"onnx:{path / 'none.onnx'},preprocess=32/1", "no such file"),
    ],
)
def test_graphs_that_are_no_classifiers_are_refused(tmp_path, make, message):
    with pytest.raises(QubastoreError, match=message):
        load(make(tmp_path))


@pytest.mark.parametrize("ending", ["pt2", "onnx"])
def test_files_that_are_something_else_are_refused(tmp_path, ending):
    path = tmp_path / f"net.{ending}"
    path.write_bytes(b"\x08not a network")
    with pytest.raises(ModelError, match="cannot be read"):
        load(f"{'export' if ending == 'pt2' else 'onnx'}:{path},preprocess=32/1")


class Harm:
    """An object that writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_an_exported_file_is_never_unpickled(tmp_path):
    """An archive whose constants say that they are pickled, which torch.export would unpickle."""
    import json
    import pickle
    import zipfile

    exported(tmp_path / "net.pt2")
    marker = tmp_path / "harmed"
    harmed = 0
    with zipfile.ZipFile(tmp_path / "net.pt2") as old, zipfile.ZipFile(tmp_path / "bad.pt2", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith(".json"):
                found = json.loads(data)
                for entry in (found.get("config") or {}).values() if isinstance(found, dict) else ():
                    entry["use_pickle"] = True
                    harmed += 1
                data = json.dumps(found).encode()
            elif "/weights/" in name or "/constants/" in name:
                data = pickle.dumps(Harm(marker))
            new.writestr(name, data)
    assert harmed
    with pytest.raises(ModelError, match="cannot be read"):
        load(f"export:{tmp_path / 'bad.pt2'},preprocess=32/1/bilinear")
    assert not marker.exists()
    torch.save(Harm(marker), tmp_path / "object.pt")
    with tensors_only(), pytest.raises(pickle.UnpicklingError):
        torch.load(tmp_path / "object.pt", weights_only=False)
    assert not marker.exists()


def test_weights_in_a_branch_of_a_graph_are_part_of_its_identity(tmp_path):
    """An attribute of a node may hold its tensor in a file beside the graph."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper

    from qubastore.evaluators.loaders.onnx import _identity

    outside = TensorProto(name="weight", data_type=TensorProto.FLOAT, dims=[1])
    outside.data_location = TensorProto.EXTERNAL
    entry = outside.external_data.add()
    entry.key, entry.value = "location", "weights.bin"
    output = helper.make_tensor_value_info("value", TensorProto.FLOAT, [1])
    branch = helper.make_graph([helper.make_node("Constant", [], ["value"], value=outside)], "branch", [], [output])
    node = helper.make_node("If", ["yes"], ["out"], then_branch=branch, else_branch=branch)
    graph = helper.make_graph([node], "net", [], [])
    (tmp_path / "net.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    found = set()
    for content in (b"1234", b"5678"):
        (tmp_path / "weights.bin").write_bytes(content)
        found.add(_identity(tmp_path / "net.onnx", "net"))
    assert len(found) == 2
    assert onnx


HUBCONF = """
import torch
dependencies = ["torch"]


def bare():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4))


def whole():
    return bare(), {"input_size": (3, 48, 48), "crop_pct": 1.0, "interpolation": "bicubic"}


def broken():
    raise RuntimeError("no weights today")
"""


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "hub"
    folder.mkdir()
    (folder / "hubconf.py").write_text(HUBCONF)
    yield folder
    sys.modules.pop("hubconf", None)


def test_entry_points_of_a_hub(hub):
    loaded = load(f"hub:{hub}:bare,preprocess=32/1/bilinear")
    assert loaded.preprocessing.crop == (32, 32)
    assert describe(loaded).num_classes == 4
    assert load(f"hub:{hub}:whole").preprocessing.crop == (48, 48)
    assert load(f"hub:{hub}:whole,preprocess=32/1").preprocessing.crop == (32, 32)


@pytest.mark.parametrize(
    ("entry", "message"),
    [("bare", "does not say how"), ("none", "Cannot find callable"), ("broken", "no weights today")],
)
def test_entry_points_that_fail(hub, entry, message):
    with pytest.raises(QubastoreError, match=message):
        load(f"hub:{hub}:{entry}")


def test_modules_of_two_hubs_with_one_name(tmp_path):
    """Both have a module `widths`, and each gets its own."""
    for number in (4, 7):
        folder = tmp_path / f"hub{number}"
        folder.mkdir()
        (folder / "widths.py").write_text(f"WIDTH = {number}\n")
        text = HUBCONF.replace("torch.nn.Linear(3, 4)", "torch.nn.Linear(3, WIDTH)")
        (folder / "hubconf.py").write_text("from widths import WIDTH\n" + text)
    widths = [describe(load(f"hub:{tmp_path / f'hub{n}'}:bare,preprocess=32/1")).num_classes for n in (4, 7, 4)]
    assert widths == [4, 7, 4]


def test_a_hub_is_named_with_its_entry(tmp_path, hub):
    with pytest.raises(UsageError, match="no branches"):
        load(f"hub:{hub}:bare/main,preprocess=32/1")
    with pytest.raises(UsageError, match="does not name an entry point"):
        load("hub:facebookresearch/dinov2")
    with pytest.raises(ModelError, match=r"no hubconf\.py"):
        load(f"hub:{tmp_path}:bare")


ZOO = """
import torch
from qubastore.datasets.catalogue import KnownDataset
from qubastore.datasets.image_folder import image_folder
from qubastore.evaluators.loaders.loaded import LoadedModel
from qubastore.models.preprocessing import Preprocessing

OPTIONS = ("width",)
MINE = KnownDataset("mine", ("mine",), lambda name, folder, _: image_folder(name, folder), "own-classes", None)


def revision(spec):
    return None


def load(spec, source=None):
    torch.manual_seed(int(spec.options.get("width", 0)))
    net = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3))
    return LoadedModel(spec.display(), "lab", net.eval(), Preprocessing((32, 32), (32, 32)), {"lab": spec.target})
"""


def install(folder, package, entries):
    """A package with entry points, as pip leaves it."""
    module = package.replace("-", "_")
    (folder / f"{module}.py").write_text(ZOO)
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n")
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {module}{place}\n" for name, place in names) for group, names in entries
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of packages that are as good as installed."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    plugins._installed.cache_clear()
    importlib.invalidate_caches()
    yield folder
    plugins._installed.cache_clear()
    for name in ("lab_zoo", "other_zoo"):
        sys.modules.pop(name, None)


def test_another_package_adds_a_loader_and_a_dataset(packages, images, tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "mine").symlink_to(images)
    install(packages, "lab-zoo", [(plugins.LOADERS, [("lab", "")]), (plugins.DATASETS, [("mine", ":MINE")])])
    assert loader_names()[-1] == "lab"
    loaded = load("lab:small,width=3")
    model = describe(loaded)
    assert model.num_classes == 3
    assert model.fingerprint is not None
    assert ("lab-zoo", "1.2") in model.fingerprint.packages
    with pytest.raises(UsageError, match="unknown option 'height'"):
        ModelSpec.parse("lab:small,height=3")
    (dataset,) = own_datasets("mine", images)
    assert dataset.label_space == "own-classes"
    assert len(dataset.samples) == 150


@pytest.mark.parametrize("name", ["lab", "timm"])
def test_two_packages_with_one_name_are_named(packages, name):
    install(packages, "lab-zoo", [(plugins.LOADERS, [(name, "")])])
    if name == "lab":
        install(packages, "other-zoo", [(plugins.LOADERS, [(name, "")])])
    with pytest.raises(UsageError, match="twice") as refused:
        load("lab:small")
    assert "lab-zoo" in str(refused.value)
    assert ("other-zoo" if name == "lab" else "qubastore itself") in str(refused.value)


def test_a_package_that_cannot_be_imported_is_named(packages):
    install(packages, "lab-zoo", [(plugins.LOADERS, [("lab", "")])])
    (packages / "lab_zoo.py").write_text("import a_package_that_is_nowhere\n")
    with pytest.raises(UsageError, match="lab-zoo cannot be imported"):
        load("lab:small")
