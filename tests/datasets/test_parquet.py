"""Datasets in Parquet files: the same datasets as in class folders, or an error."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
from PIL import Image

from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import imagenet_synsets
from qubastore.datasets.locating import locate
from qubastore.errors import DatasetError
from tests.datasets.decoding import decoded


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
        (None, "ok", None, "does not contain the names of its classes"),
        (("a", "b"), "label", None, "has the label 2"),
        (("a", "b"), "ok", "imagenet-r", "are not those of the label space imagenet-r"),
        (("a", "b"), "empty", None, "have no rows"),
        (("a", "b"), "twice", None, "two images are called a/0.png"),
        (("b", "a"), "ok", None, "are in an order that class folders cannot have"),
        (("a", "a"), "ok", None, "has two classes of the same name"),
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
    with pytest.raises(DatasetError, match="has other classes than"):
        image_folder("x", tmp_path / "a")


def test_parquet_that_holds_no_images(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"x": [1]}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match="does not contain images"):
        image_folder("x", tmp_path)
    (tmp_path / "t.parquet").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="is not a Parquet file"):
        image_folder("x", tmp_path)
