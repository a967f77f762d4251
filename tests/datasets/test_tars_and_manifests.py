"""Images in tar files and in the rows of a manifest: the same datasets as folders, to the bit; bad files are named."""

from __future__ import annotations

import io
import json
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qubastore.datasets.image_folder import image_folder
from qubastore.datasets.locating import own_datasets
from qubastore.datasets.stored_images import read_part
from qubastore.errors import DatasetError
from qubastore.evaluators import ingest

CLASSES = ("ant", "bee", "cow")


def add(archive, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))


def tars(images, folder, style, n=2):
    """The images of class folders as tar files, in an order that is not that of their keys."""
    folder.mkdir()
    files = sorted(images.rglob("*.png"), key=lambda file: file.stem)
    for number in range(n):
        with tarfile.open(folder / f"part-{number}.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            for file in files[number::n]:
                label = file.parent.name
                if style == "folders":
                    add(archive, f"{label}/{file.name}", file.read_bytes())
                    continue
                stem = f"{label}/{file.stem}"
                if style == "cls":
                    add(archive, f"{stem}.cls", str(CLASSES.index(label)).encode())
                add(archive, f"{stem}.png", file.read_bytes())
                if style == "json":
                    add(archive, f"{stem}.json", json.dumps({"label": label, "url": "?"}).encode())
    if style == "cls":
        (folder / "classes.txt").write_text("\n".join(CLASSES) + "\n")
    return folder


@pytest.mark.parametrize("style", ["folders", "cls", "json"])
def test_tars_are_the_dataset_that_their_folders_are(images, tmp_path, style):
    (packed,) = own_datasets("pets", tars(images, tmp_path / "tars", style))
    whole = image_folder("pets", images)
    assert packed.dataset_id == whole.dataset_id
    assert [(s.key, s.size, s.label) for s in packed.samples] == [(s.key, s.size, s.label) for s in whole.samples]
    for sample in packed.samples[::17]:
        data = read_part(f"{packed.root}/{sample.path}", sample.row or 0)
        assert data == (images / sample.key).read_bytes()


def test_names_that_need_headers_of_their_own(images, tmp_path):
    """Names above 100 characters, and letters beyond ASCII, have a second header before their own."""
    folder = tmp_path / "tars"
    folder.mkdir()
    (file, *_) = sorted(images.rglob("*.png"))
    names = [f"{'käfer' * 30}/{number}.png" for number in range(3)]
    with tarfile.open(folder / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for name in names:
            add(archive, name, file.read_bytes() + name[-5:].encode())
    (data,) = own_datasets("long", folder)
    for sample in data.samples:
        assert read_part(f"{data.root}/{sample.path}", sample.row or 0)[-5:] == sample.key[-5:].encode()


def test_outputs_of_tars_and_folders_are_equal_to_the_bit(images, tmp_path, store, tiny_models, ray_session):
    spec = f"python:{tiny_models}:first"
    ingest(store, [spec], {"pets": tars(images, tmp_path / "tars", "cls")})
    query = "select sample_id, prediction, logits from outputs join logits using (run_id, sample_id) order by 1"
    found = store.rows(query)
    assert len(found) == 150
    # The same dataset: nothing is left to do.
    assert ingest(store, [spec], {"pets": images}).skipped
    ingest(store, [spec], {"pets": images}, force=True)
    assert store.rows(query) == found


def damage(file):
    """Zero bytes in a header in the middle, which tarfile takes for the end."""
    with tarfile.open(file) as archive:
        offset = archive.getmembers()[20].offset
    data = bytearray(file.read_bytes())
    data[offset : offset + 512] = b"\xff" * 512
    file.write_bytes(data)


def cut_between(file):
    """A copy that ended between two members."""
    with tarfile.open(file) as archive:
        offset = archive.getmembers()[20].offset
    file.write_bytes(file.read_bytes()[:offset])


def test_numbers_follow_the_list_of_classes(images, tmp_path):
    """The order of the list is that of the model's outputs."""
    folder = tars(images, tmp_path / "tars", "cls")
    (folder / "classes.txt").write_text("zebra\nape\nyak\nunused\n")
    (data,) = own_datasets("pets", folder)
    assert data.classes == ("zebra", "ape", "yak", "unused")
    assert {(s.key.partition("/")[0], s.label) for s in data.samples} == {("zebra", 0), ("ape", 1), ("yak", 2)}


def test_files_of_operating_systems_are_left_out_and_links_refused(images, tmp_path):
    folder = tars(images, tmp_path / "tars", "folders")
    with tarfile.open(folder / "part-2.tar", "w") as archive:
        add(archive, "ant/._001.png", b"?")
        add(archive, "__MACOSX/ant/001.png", b"?")
    assert own_datasets("pets", folder)[0].dataset_id == image_folder("pets", images).dataset_id
    with tarfile.open(folder / "part-3.tar", "w") as archive:
        link = tarfile.TarInfo("ant/again.png")
        link.type, link.linkname = tarfile.LNKTYPE, "ant/001.png"
        archive.addfile(link)
    with pytest.raises(DatasetError, match=r"ant/again\.png in .* is a link to ant/001\.png"):
        own_datasets("pets", folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: f.write_bytes(f.read_bytes()[:20_000]), r"(?s)truncated|cannot be read"),
        (lambda f: f.write_bytes(b"no tar file at all" * 100), "cannot be read as a tar file"),
        (lambda f: f.with_name("classes.txt").unlink(), "classes.txt"),
        (lambda f: f.with_name("classes.txt").write_text("ant\nbee\n"), "2 lines"),
        (lambda f: f.with_name("classes.txt").write_text("ant\nbee\nant\n"), "'ant' twice"),
        (lambda f: f.write_bytes(f.read_bytes() + f.with_name("part-0.tar").read_bytes()), "damaged at byte"),
        (lambda f: damage(f), "damaged at byte"),
        (lambda f: cut_between(f), "damaged at byte"),
    ],
)
def test_tars_that_are_not_whole(images, tmp_path, harm, message):
    folder = tars(images, tmp_path / "tars", "cls")
    harm(folder / "part-1.tar")
    with pytest.raises(DatasetError, match=message):
        own_datasets("pets", folder)


def test_an_image_without_a_class_beside_others_with_one(images, tmp_path):
    folder = tars(images, tmp_path / "tars", "json")
    with tarfile.open(folder / "part-2.tar", "w") as archive:
        add(archive, "ant/new.png", b"?")
    with pytest.raises(DatasetError, match=r"ant/new\.png in part-2\.tar has no class"):
        own_datasets("pets", folder)


def manifest(images, folder, ending, *, split=False):
    """A manifest of class folders, with an attribute."""
    rows = [
        {
            "path": f"images/{file.parent.name}/{file.name}",
            "label": file.parent.name,
            "background": ("grass", "sand")[number % 3 == 0],
            **({"split": ("train", "test")[number % 2]} if split else {}),
        }
        for number, file in enumerate(sorted(images.rglob("*.png")))
    ]
    path = folder / f"list{ending}"
    if ending == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        mark = "\t" if ending == ".tsv" else ","
        path.write_text("\n".join(mark.join(line) for line in [list(rows[0]), *(r.values() for r in rows)]) + "\n")
    return path


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_manifests(images, tmp_path, ending):
    (data,) = own_datasets("pets", manifest(images, tmp_path, ending))
    assert data.classes == CLASSES
    assert len(data.samples) == 150
    first = data.samples[0]
    assert (first.key, first.label, dict(first.factors)) == ("images/ant/000.png", 0, {"background": "sand"})


def test_what_a_manifest_says_is_part_of_the_identity(images, tmp_path):
    file = manifest(images, tmp_path, ".csv")
    ids = set()
    for old, new in (("", ""), ("ant,sand", "ant,grass"), ("000.png,ant", "000.png,bee")):
        changed = tmp_path / "other.csv"
        changed.write_text(file.read_text().replace(old, new, 1) if old else file.read_text())
        (data,) = own_datasets("pets", changed)
        ids.add(data.dataset_id)
    assert len(ids) == 3


def test_a_manifest_with_splits_is_a_task(images, tmp_path):
    train, test = own_datasets("pets", manifest(images, tmp_path, ".csv", split=True))
    assert (train.name, test.name) == ("pets/train", "pets/test")
    assert (train.label_space, train.keep) == ("transfer", ("outputs", "features"))
    assert len(train.samples) == len(test.samples) == 75


def test_attributes_become_groups(images, tmp_path, store, tiny_models, ray_session):
    """Against a plain loop over outputs."""
    ingest(store, [f"python:{tiny_models}:first"], {"pets": manifest(images, tmp_path, ".csv")})
    rows = store.rows(
        "select samples.factors['background'], outputs.label, prediction from outputs"
        " join runs using (run_id) join samples using (dataset_id, sample_id)"
    )
    groups: dict[tuple[str, int], list[bool]] = {}
    for background, label, prediction in rows:
        groups.setdefault((background, label), []).append(prediction == label)
    worst = min(sum(each) / len(each) for each in groups.values())
    best = max(sum(each) / len(each) for each in groups.values())
    found = store.rows(
        "select n_groups, accuracy, gap, low <= accuracy and accuracy <= high from worst_group"
        " where factor = 'background' and grouping = 'class and factor'"
    )
    assert found == [(6, pytest.approx(worst), pytest.approx(best - worst), True)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nimages/ant/000.png,ant\n", r"no column 'path'"),
        ("path,labels\nimages/ant/000.png,ant\n", "did you mean labels"),
        ("path,label\nimages/ant/000.png,ant\nimages/ant/none.png,ant\n", "(?s)line 3 .*not there.*none.png"),
        ("path,label,sky\nimages/ant/000.png,ant\n", "line 2 .*no value for sky"),
        ("path,label\nimages/ant/000.png,ant,more\n", "line 2 .*too many values"),
        ("path,label\nimages/ant/000.png,\n", "line 2 .*empty label"),
        ("path,label\nimages/ant/000.png,ant\nimages/ant/000.png,bee\n", "lines 2 and 3 .* the same image"),
        ("path,label,split\nimages/ant/000.png,ant,trian\n", "line 2 .*the split 'trian'"),
        ("path,label,split\nimages/ant/000.png,ant,train\n", "no images of both train and test"),
        ("path,label,split\nimages/ant/000.png,ant,train\nimages/ant/000.png,ant,test\n", "lines 2 and 3"),
        ("path,label,label\nimages/ant/000.png,ant,ant\n", "two columns of one name"),
        ("path,label\n", "lists no images"),
        ("", "no column"),
    ],
)
def test_manifests_with_mistakes(images, tmp_path, text, message):
    file = tmp_path / "list.csv"
    file.write_text(text)
    with pytest.raises(DatasetError, match=message):
        own_datasets("pets", file)


def test_a_table_that_is_no_manifest(tmp_path):
    (tmp_path / "list.parquet").write_bytes(b"nothing")
    with pytest.raises(DatasetError, match="cannot be read"):
        own_datasets("pets", tmp_path / "list.parquet")
