"""Datasets that are known by name, in their authors' layouts; layouts of one's own; Parquet files."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from qubastore.datasets.catalogue import LAYOUTS
from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import imagenet_synsets, label_space
from qubastore.datasets.locating import expand, locate, locate_suite, own_datasets, parse_dataset
from qubastore.errors import DatasetError, DatasetNotFoundError, UsageError
from qubastore.evaluators.worker.images import SampleFile, decode
from qubastore.metrics.suites import QUBA
from tests.support import data_root


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return data_root.make(tmp_path_factory.mktemp("root"))


@pytest.fixture
def own_root(root, tmp_path):
    """A copy to break."""
    shutil.copytree(root, tmp_path / "root")
    return tmp_path / "root"


def test_every_dataset_of_the_suite_is_found(root):
    found, missing = locate_suite(QUBA.datasets, [], root)
    assert missing == []
    assert [data.name for data in found] == QUBA.datasets
    by_name = {data.name: data for data in found}
    assert {data.framing for name, data in by_name.items() if name.startswith("imagenet-c")} == {"whole"}
    cell = by_name["imagenet-c/fog/3"]
    assert {tuple(sample.factors.items()) for sample in cell.samples} == {(("corruption", "fog"), ("severity", "3"))}
    assert cell.factors == {"corruption": "fog", "severity": "3"}
    assert cell.keep == ("outputs",)
    assert by_name["imagenet-val"].keep is None


@pytest.mark.parametrize("name", [name for name in LAYOUTS if not name.startswith("imagenet-c/")])
def test_labels_are_those_of_the_label_space(root, name):
    data = locate(name, root)
    layout = LAYOUTS[name]
    assert data.classes == label_space(layout.label_space).classes
    assert (data.framing, data.image_size, data.label_space) == (layout.framing, layout.image_size, layout.label_space)
    for sample in data.samples:
        folder = sample.key.partition("/")[0]
        stripped = folder[3:] if layout.label_space == "in9" else folder
        assert data.classes[sample.label] == stripped


def test_the_label_of_a_subset_is_its_place_in_the_subset(root):
    """Goldfish is class 1 of ImageNet and class 0 of ImageNet-R."""
    assert {sample.label for sample in locate("imagenet-r", root).samples} == {0}


def test_model_vs_human_files_say_category_shape_and_texture(root):
    sketch = locate("sketch", root)
    assert [s.key for s in sketch.samples] == [
        "airplane/0001_skt_dnn_0_airplane_00_airplane-n02691150_1.png",
        "cat/0002_skt_dnn_0_cat_00_cat-n02691151_1.png",
        "knife/0003_skt_dnn_0_knife_00_knife-n02691152_1.png",
    ]
    cues = locate("cue-conflict", root).samples
    assert {(s.factors["shape"], s.factors["texture"]) for s in cues} == {
        (shape, texture) for shape in ("airplane", "cat", "knife") for texture in ("airplane", "cat", "knife")
    }


def test_cue_conflict_as_one_folder_is_the_same_dataset(own_root):
    """model-vs-human's flat files and the folders of shapes: equal keys, equal identity."""
    folder = own_root / "model-vs-human/datasets/cue-conflict"
    before = locate("cue-conflict", own_root)
    flat = folder / "dnn" / "session-1"
    flat.mkdir(parents=True)
    for number, file in enumerate(sorted(folder.glob("*/*.png"))):
        file.rename(flat / f"{number + 1:04d}_cue_dnn_0_{file.parent.name}_00_{file.name}")
    for shape in ("airplane", "cat", "knife"):
        (folder / shape).rmdir()
    after = locate("cue-conflict", own_root)
    assert after.dataset_id == before.dataset_id
    assert [s.factors for s in after.samples] == [s.factors for s in before.samples]


def test_grouped_archives_of_imagenet_c(own_root):
    """blur.tar may have been unpacked into blur/."""
    folder = own_root / "imagenet-c"
    before = locate("imagenet-c/zoom_blur/2", own_root)
    (folder / "blur").mkdir()
    (folder / "zoom_blur").rename(folder / "blur" / "zoom_blur")
    assert locate("imagenet-c/zoom_blur/2", own_root).dataset_id == before.dataset_id
    assert len(own_datasets("imagenet-c", folder)) == 75


def write_devkit(folder, numbers, order):
    from scipy.io import savemat

    data = folder / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in numbers))
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O")]
    rows = np.array([(i + 1, synset, "word") for i, synset in enumerate(order)], dtype=kind)
    savemat(data / "meta.mat", {"synsets": rows[:, None]})


def test_the_flat_official_files_with_the_devkit(own_root):
    """The devkit numbers classes in its own order; the identity is that of synset folders with the same files."""
    val = own_root / "imagenet-val"
    for number, synset in enumerate(data_root.SYNSETS, start=1):
        (val / synset / "ILSVRC2012_val_00000001.JPEG").rename(val / synset / f"ILSVRC2012_val_{number:08d}.JPEG")
    folders = locate("imagenet-val", own_root)
    contents = decoded(folders)
    for file in val.glob("*/*.JPEG"):
        file.rename(val / file.name)
    for synset in data_root.SYNSETS:
        (val / synset).rmdir()
    with pytest.raises(DatasetError, match="no devkit says what they show"):
        locate("imagenet-val", own_root)
    order = tuple(reversed(imagenet_synsets()))
    # Beside the images, or among them.
    write_devkit(val, [order.index(synset) + 1 for synset in data_root.SYNSETS], order)
    flat = locate("imagenet-val", own_root)
    assert flat.dataset_id == folders.dataset_id
    assert [s.label for s in flat.samples] == [s.label for s in folders.samples]
    assert decoded(flat) == contents


def decoded(data):
    files = [SampleFile(i, s.key, f"{data.root}/{s.path or s.key}", s.data, s.row) for i, s in enumerate(data.samples)]
    result = decode(files, None)
    assert not result.failures
    return result.contents


def test_a_stranger_among_the_flat_files(own_root):
    val = own_root / "imagenet-val"
    for number, file in enumerate(sorted(val.glob("*/*.JPEG")), start=1):
        file.rename(val / f"ILSVRC2012_val_{number:08d}.JPEG")
    for synset in data_root.SYNSETS:
        (val / synset).rmdir()
    write_devkit(own_root, [1, 2, 3, 4], imagenet_synsets())
    (val / "ILSVRC2012_val_00000004.JPEG").rename(val / "holiday.JPEG")
    with pytest.raises(DatasetError, match=r"holiday\.JPEG is no official validation file"):
        locate("imagenet-val", own_root)


# What is wrong is named --------------------------------------------------------------------------------------
def test_what_is_missing_is_named_with_the_path_and_the_rest_goes_on(own_root):
    shutil.rmtree(own_root / "imagenet-r")
    shutil.rmtree(own_root / "imagenet-c" / "snow" / "4")
    found, missing = locate_suite(QUBA.datasets, ["sketch"], own_root)
    assert [name for name, _ in missing] == ["imagenet-c/snow/4", "imagenet-r"]
    assert all(isinstance(error, DatasetNotFoundError) for _, error in missing)
    assert f"{own_root}/imagenet-c/snow/4 is not there" in str(missing[0][1])
    assert len(found) == len(QUBA.datasets) - 3


def test_a_data_root_that_is_not_there(tmp_path):
    with pytest.raises(DatasetNotFoundError, match="the folder that holds the datasets"):
        locate_suite(QUBA.datasets, [], tmp_path / "none")


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("imagenet-r", "imagenet-r/n01440764/a.jpg", "'n01440764' is not in the label space"),
        ("imagenet-val", "imagenet-val/tench/a.jpg", "'tench' is not in the label space"),
        ("mixed_rand", "bg_challenge/mixed_rand/val/09_plant/a.jpg", "'09_plant' is not in the label space"),
        ("sketch", "model-vs-human/datasets/sketch/dnn/session-1/photo.png", "does not say its category"),
        ("edge", "model-vs-human/datasets/edge/dnn/session-1/1_e_dnn_0_moose_00_m.png", "'moose' as category"),
        ("cue-conflict", "model-vs-human/datasets/cue-conflict/cat/cat7.png", "does not say its shape and texture"),
        ("cue-conflict", "model-vs-human/datasets/cue-conflict/cat/cat1-moose2.png", "does not say its shape"),
    ],
)
def test_another_layout_is_an_error(own_root, name, spoil, message):
    (own_root / spoil).parent.mkdir(exist_ok=True, parents=True)
    shutil.copy(next(own_root.rglob("*.png")), own_root / spoil)
    with pytest.raises(DatasetError, match=message):
        locate(name, own_root)


def test_images_of_another_size_than_the_set_has(own_root):
    """The first is looked at when the run is planned, every one when it is decoded."""
    cell = own_root / "imagenet-c" / "fog" / "1"
    first, *_, last = sorted(cell.glob("*/*.JPEG"))
    Image.new("RGB", (64, 64)).save(last)
    data = locate("imagenet-c/fog/1", own_root)
    sample = data.samples[-1]
    with pytest.raises(DatasetError, match="has another size than its dataset"):
        decode([SampleFile(3, sample.key, str(last), size=data.image_size)], None)
    Image.new("RGB", (64, 64)).save(first)
    with pytest.raises(DatasetError, match="has another size than the set that its authors distribute"):
        locate("imagenet-c/fog/1", own_root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sketch,framing=wole", "unknown framing 'wole'"),
        ("sketch,layout=class", "gives the option layout, but no path"),
        ("imagnet-r", "did you mean imagenet-r"),
        ("imagenet-r", "there is no --data-root"),
        ("x=/tmp,layout=flat", "unknown layout 'flat'"),
        ("x=/tmp,framing=half", "unknown framing 'half'"),
    ],
)
def test_options_that_name_no_dataset(text, message):
    with pytest.raises(UsageError, match=message):
        parse_dataset(text)


# Layouts of one's own ----------------------------------------------------------------------------------------
def test_a_known_name_with_a_path_has_its_own_label_space(root):
    (data,) = parse_dataset(f"imagenet-r={root / 'imagenet-r'}")
    assert data.label_space == "imagenet-r"
    assert expand("imagenet-c")[0] == "imagenet-c/gaussian_noise/1"


def test_corruptions_of_ones_own(tmp_path):
    for cell in ("fog/1", "fog/2", "rain/1"):
        (tmp_path / cell / "cat").mkdir(parents=True)
        Image.new("RGB", (9, 9)).save(tmp_path / cell / "cat" / "1.png")
    found = parse_dataset(f"pets-c={tmp_path},layout=corruption/severity/class,framing=whole")
    assert [(d.name, d.framing, d.factors["severity"]) for d in found] == [
        ("pets-c/fog/1", "whole", "1"),
        ("pets-c/fog/2", "whole", "2"),
        ("pets-c/rain/1", "whole", "1"),
    ]
    # Same images, same keys, another cell: another dataset.
    assert len({d.dataset_id for d in found}) == 3


def test_names_of_classes_with_dashes_and_underscores(tmp_path):
    for shape in ("living_room", "t-shirt"):
        (tmp_path / shape).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "t-shirt" / "t-shirt1-living_room2.png")
    (data,) = own_datasets("cues", tmp_path, "shape-texture")
    assert data.samples[0].factors == {"shape": "t-shirt", "texture": "living_room"}


def test_a_layout_is_part_of_the_identity(tmp_path):
    """Read as plain class folders, the same files are another dataset: what is known of them is not stored with it."""
    (tmp_path / "cat").mkdir()
    (tmp_path / "dog").mkdir()
    for file in ("cat/cat1-dog1.png", "dog/dog1-cat1.png"):
        Image.new("RGB", (9, 9)).save(tmp_path / file)
    (plain,), (cues,) = own_datasets("x", tmp_path), own_datasets("x", tmp_path, "shape-texture")
    assert [s.key for s in plain.samples] == [s.key for s in cues.samples]
    assert plain.dataset_id != cues.dataset_id


def test_parts_of_a_set_are_taken_and_the_others_named(own_root):
    shutil.rmtree(own_root / "imagenet-c" / "fog")
    for text, data_root_ in ((f"imagenet-c={own_root / 'imagenet-c'}", None), ("imagenet-c", own_root)):
        said = []
        assert len(parse_dataset(text, data_root_, said.append)) == 70
        assert said == [
            f"left out: dataset imagenet-c/fog/1: {own_root}/imagenet-c/fog/1 is not there, and 4 more of its 75 parts"
        ]


def test_digits_as_classes_of_cue_conflict_images(tmp_path):
    """Names of classes may end in digits, as long as the file name can be read in one way."""
    for shape in ("1", "3"):
        (tmp_path / shape).mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "3" / "312-145.png")
    (data,) = own_datasets("cues", tmp_path, "shape-texture")
    assert data.samples[0].factors == {"shape": "3", "texture": "1"}
    (tmp_path / "11").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "3" / "312-111.png")
    with pytest.raises(DatasetError, match="it could be"):
        own_datasets("cues", tmp_path, "shape-texture")


# Parquet -----------------------------------------------------------------------------------------------------
def write_parquet(path, samples, names, *, paths=True, row_group_size=2):
    """A Hugging Face-style file of (label, file name, bytes)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    image = [{"bytes": data, "path": name if paths else None} for _, name, data in samples]
    table = pa.table({"image": image, "label": [label for label, _, _ in samples]})
    if names is not None:
        features = {"label": {"names": list(names), "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, row_group_size=row_group_size)


def pictures(classes, per_class=3):
    generator = np.random.default_rng(1)
    found = []
    for label in range(len(classes)):
        for number in range(per_class):
            buffer = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(buffer, "PNG")
            found.append((label, f"{number}.png", buffer.getvalue()))
    return found


def test_parquet_and_folders_are_one_dataset(tmp_path):
    """Equal keys, sizes, labels and identity; the rows in any order and in several files; the same bytes come out."""
    classes, samples = ("ant", "bee"), pictures(("ant", "bee"))
    for label, name, data in samples:
        (tmp_path / "folders" / classes[label]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / classes[label] / name).write_bytes(data)
    write_parquet(tmp_path / "tables" / "data" / "test-00000-of-00002.parquet", samples[:0:-1], classes)
    write_parquet(tmp_path / "tables" / "data" / "test-00001-of-00002.parquet", samples[:1], classes)
    folders, tables = image_folder("x", tmp_path / "folders"), image_folder("x", tmp_path / "tables")
    assert tables.dataset_id == folders.dataset_id
    assert [(s.key, s.size, s.label) for s in tables.samples] == [(s.key, s.size, s.label) for s in folders.samples]
    assert decoded(tables) == decoded(folders)


def test_parquet_of_a_known_dataset(tmp_path):
    """Hugging Face's ImageNet names classes in words and appends the synset to the file's name."""
    synsets = imagenet_synsets()
    rows = [(label, f"ILSVRC2012_val_{label + 1:08d}_{synsets[label]}.JPEG", data) for label, _, data in pictures("ab")]
    write_parquet(tmp_path / "imagenet-val" / "validation.parquet", rows[::3], [f"word {i}" for i in range(1000)])
    data = locate("imagenet-val", tmp_path)
    assert [s.key for s in data.samples] == [f"{synsets[i]}/ILSVRC2012_val_{i + 1:08d}.JPEG" for i in (0, 1)]
    assert data.label_space == "imagenet-1k"


def test_parquet_rows_without_a_path_are_numbered(tmp_path):
    write_parquet(tmp_path / "t.parquet", pictures("ab", 1), ("a", "b"), paths=False)
    assert [s.key for s in image_folder("x", tmp_path).samples] == ["a/00000000", "b/00000001"]


@pytest.mark.parametrize(
    ("names", "rows", "space", "message"),
    [
        (None, "ok", None, "does not say what its classes are called"),
        (("a", "b"), "label", None, "has the label 2"),
        (("a", "b"), "ok", "imagenet-r", "does not name its classes as the label space imagenet-r does"),
        (("a", "b"), "empty", None, "have no rows"),
        (("a", "b"), "twice", None, "two images are called a/0.png"),
        (("b", "a"), "ok", None, "are in no order that class folders have"),
        (("a", "a"), "ok", None, "names two classes alike"),
    ],
)
def test_parquet_that_does_not_fit(tmp_path, names, rows, space, message):
    samples = pictures("ab", 1)
    samples = {"label": [(2, *samples[0][1:])], "empty": [], "twice": [samples[0], samples[0]]}.get(rows, samples)
    if not samples:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        features = {"label": {"names": ["a", "b"]}}
        schema = pa.schema(
            [("image", kind), ("label", pa.int64())], {"huggingface": json.dumps({"info": {"features": features}})}
        )
        pq.write_table(schema.empty_table(), tmp_path / "t.parquet")
    else:
        write_parquet(tmp_path / "t.parquet", samples, names)
    with pytest.raises(DatasetError, match=message):
        image_folder("x", tmp_path, space=space)


def test_parquet_files_that_do_not_belong_together(tmp_path):
    write_parquet(tmp_path / "a" / "test-0.parquet", pictures("ab", 1), ("a", "b"))
    write_parquet(tmp_path / "a" / "train-0.parquet", pictures("ab", 1), ("a", "b"))
    with pytest.raises(DatasetError, match="of several splits"):
        image_folder("x", tmp_path / "a")
    (tmp_path / "a" / "train-0.parquet").unlink()
    write_parquet(tmp_path / "a" / "test-1.parquet", pictures("ab", 1), ("a", "c"))
    with pytest.raises(DatasetError, match="names other classes than"):
        image_folder("x", tmp_path / "a")


def test_parquet_that_holds_no_images(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="holds no labelled images"):
        image_folder("x", tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="is no Parquet file"):
        image_folder("x", tmp_path)
