"""Splits of tables: Parquet files of several splits, and what `datasets.save_to_disk` writes."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.label_spaces import imagenet_synsets
from qubastore.datasets.locating import own_datasets, parse_dataset
from qubastore.errors import DatasetError, UsageError
from qubastore.evaluators import ingest
from tests.datasets.decoding import decoded
from tests.datasets.test_parquet import pictures, write_parquet

CLASSES = ("ant", "bee")


def write_saved(folder, samples, *, files=2, split="test", names=CLASSES):
    """A folder as `datasets.Dataset.save_to_disk` 5.0 writes it: Arrow streams in batches, with class names."""
    folder.mkdir(parents=True)
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    schema = pa.schema(
        [("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())],
        {"huggingface": json.dumps({"info": {"features": features}})},
    )
    listed = []
    for number in range(files):
        part = samples[number * len(samples) // files : (number + 1) * len(samples) // files]
        listed.append({"filename": f"data-{number:05d}-of-{files:05d}.arrow"})
        rows = {"image": [{"bytes": data, "path": name} for _, name, data in part], "label": [row[0] for row in part]}
        with pa.OSFile(str(folder / listed[-1]["filename"]), "wb") as sink, pa.ipc.new_stream(sink, schema) as stream:
            for batch in pa.table(rows, schema=schema).to_batches(max_chunksize=2):
                stream.write_batch(batch)
    (folder / "cache-0123.arrow").write_bytes(b"what datasets keeps beside them")
    state = {"_data_files": listed, "_fingerprint": "0", "_format_type": None, "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))


@pytest.fixture
def folders(tmp_path):
    """The same images as class folders."""
    samples = pictures(CLASSES, 5)
    for label, name, data in samples:
        (tmp_path / "folders" / CLASSES[label]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folders" / CLASSES[label] / name).write_bytes(data)
    return tmp_path / "folders", samples


def test_a_saved_dataset_is_that_of_its_folders(folders, tmp_path):
    root, samples = folders
    write_saved(tmp_path / "saved", samples[::-1], files=3)
    saved, whole = image_folder("x", tmp_path / "saved"), image_folder("x", root)
    assert saved.dataset_id == whole.dataset_id
    assert decoded(saved) == decoded(whole)


def test_a_split_is_chosen_by_its_name(folders, tmp_path):
    root, samples = folders
    for split in ("train", "test"):
        write_saved(tmp_path / "saved" / split, samples if split == "test" else samples[:3], split=split)
        for number in range(2):
            part = (samples if split == "test" else samples[:3])[number::2]
            write_parquet(tmp_path / "tables" / "data" / f"{split}-0000{number}-of-00002.parquet", part, CLASSES)
            write_parquet(tmp_path / "converted" / split / f"000{number}.parquet", part, CLASSES)
    (tmp_path / "saved" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    whole = image_folder("x", root)
    for kind in ("saved", "tables", "converted"):
        with pytest.raises(DatasetError, match=r"tables of several splits(?s:.*)split=test"):
            image_folder("x", tmp_path / kind)
        assert parse_dataset(f"x={tmp_path / kind},split=test")[0].dataset_id == whole.dataset_id
        assert len(parse_dataset(f"x={tmp_path / kind},split=train")[0].samples) == 3
        with pytest.raises(DatasetError, match=r"no split 'tset'(?s:.*)did you mean test"):
            image_folder("x", tmp_path / kind, split="tset")


def test_splits_of_other_names(folders, tmp_path):
    _, samples = folders
    for split, number in (("in_distribution", 4), ("far-shift", 6)):
        write_parquet(tmp_path / "t" / "data" / f"{split}-00000-of-00001.parquet", samples[:number], CLASSES)
    assert len(image_folder("x", tmp_path / "t", split="far-shift").samples) == 6
    assert len(image_folder("x", tmp_path / "t", split="in_distribution").samples) == 4


def test_what_has_no_splits_is_refused(folders, tmp_path):
    root, samples = folders
    with pytest.raises(UsageError, match="contains no tables, so that there is no split"):
        image_folder("x", root, split="test")
    with pytest.raises(UsageError, match="split= is only for"):
        own_datasets("x", root, "splits", split="test")
    with pytest.raises(UsageError, match="authors distribute no tables"):
        own_datasets("cue-conflict", root, split="test")
    write_saved(tmp_path / "saved", samples, split="validation")
    with pytest.raises(DatasetError, match=r"no split 'test'(?s:.*)validation"):
        image_folder("x", tmp_path / "saved", split="test")


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("{", "cannot be read"),
        ("[]", "has no class folders"),
        ('{"_data_files": []}', "names no files"),
        ('{"_data_files": [{}]}', "names no files"),
        ('{"_indices_data_files": [{"filename": "i.arrow"}], "_data_files": []}', "has an index beside its files"),
        ('{"_data_files": [{"filename": "cache-0123.arrow"}]}', "is not an Arrow file with images"),
    ],
)
def test_a_damaged_folder_is_named(folders, tmp_path, state, said):
    write_saved(tmp_path / "saved", folders[1])
    (tmp_path / "saved" / "state.json").write_text(state)
    with pytest.raises(DatasetError, match=said):
        image_folder("x", tmp_path / "saved")


def test_files_of_that_name_that_are_others(folders, tmp_path):
    root, samples = folders
    write_parquet(tmp_path / "t" / "0.parquet", samples, CLASSES)
    (tmp_path / "t" / "state.json").write_text("{}")
    (tmp_path / "t" / "dataset_dict.json").write_text('{"splits": "none"}')
    assert image_folder("x", tmp_path / "t").dataset_id == image_folder("x", root).dataset_id


def test_a_split_of_a_known_dataset(tmp_path):
    synsets = imagenet_synsets()
    samples = pictures(range(2), 2)
    for split in ("train", "validation", "test"):
        write_parquet(tmp_path / "data" / f"{split}-00000-of-00001.parquet", samples, synsets)
    with pytest.raises(DatasetError, match=r"tables of several splits(?s:.*),split=validation"):
        own_datasets("imagenet-val", tmp_path)
    assert len(own_datasets("imagenet-val", tmp_path, split="validation")[0].samples) == 4
    # The name of a folder around several splits is none of them.
    with pytest.raises(DatasetError, match="no split 'data'"):
        own_datasets("x", tmp_path, split="data")
    assert own_datasets("x", tmp_path, "class", split="test")[0].label_space == "imagenet-1k"


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"image": [{"bytes": b"x", "path": "0.png"}], "label": ["ant"]}, r"labelled images(?s:.*)label \(string\)"),
        ({"image": [{"bytes": b"x", "path": "0.png"}], "label": [0.5]}, r"labelled images(?s:.*)label \(double\)"),
        ({"image": [{"bytes": [1, 2], "path": "0.png"}], "label": [0]}, "does not contain images"),
        ({"image": [b"x"], "label": [0]}, r"does not contain images(?s:.*)image \(binary\)"),
        ({"img": [{"bytes": b"x"}], "label": [0]}, r"does not contain images(?s:.*)img"),
    ],
)
def test_columns_that_are_no_images(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "0.parquet")
    with pytest.raises(DatasetError, match=said):
        image_folder("x", tmp_path)
    if "labelled" not in said:
        with pytest.raises(DatasetError, match="does not contain images"):
            image_folder("x", tmp_path, labelled=False)


def test_arrows_file_format_is_read_too(folders, tmp_path):
    root, samples = folders
    write_saved(tmp_path / "saved", samples, files=1)
    file = tmp_path / "saved" / "data-00000-of-00001.arrow"
    with pa.ipc.open_stream(file.read_bytes()) as stream:
        table = stream.read_all()
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    saved, whole = image_folder("x", tmp_path / "saved"), image_folder("x", root)
    assert saved.dataset_id == whole.dataset_id
    assert decoded(saved) == decoded(whole)


def test_rows_are_read_by_the_workers(store, images, tmp_path, tiny_models, ray_session):
    files = sorted(images.rglob("*.png"))
    names = ("ant", "bee", "cow")
    samples = [(names.index(file.parent.name), file.name, file.read_bytes()) for file in files]
    write_saved(tmp_path / "saved", samples, names=names)
    limits: Any = {"num_gpus": 0, "num_cpus": 2}
    (saved,), (whole,) = own_datasets("pets", tmp_path / "saved"), own_datasets("pets", images)
    assert ingest(store, [f"python:{tiny_models}:first"], [saved], **limits).images == 150
    # It is the same dataset: nothing is left to do for the folders.
    assert ingest(store, [f"python:{tiny_models}:first"], [whole], **limits).images == 0
