"""Benchmarks of `qubastore view`: first page on a store of a zoo, filters over 50,000 images, a grid of thumbnails."""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import REPEATS, Figures, Row
from benchmarks.pages import chromium, first_paint, has_chromium
from benchmarks.synthetic import N_MODELS, store_of_summaries

N_RUNS, N_IMAGES, N_FILTERED, N_THUMBNAILS = 86, 50_000, 10, 200


def explorer(folder: Path) -> Iterator[Row]:
    """The three aims of the explorer, in a server of this process."""
    store_of_summaries(folder / "zoo", N_RUNS)
    _store_of_outputs(folder / "outputs")
    with _served(folder / "outputs") as (address, opener):
        yield from _filters(address, opener)
    if not has_chromium():
        return
    with _served(folder / "zoo") as (address, _), chromium() as driver:
        yield from _first_page(address, driver)
    images = _store_of_images(folder)
    with _served(images) as (address, _), chromium() as driver:
        yield from _thumbnails(address, driver)


@contextlib.contextmanager
def _served(path: Path) -> Iterator[tuple[str, Any]]:
    """The address of a server on a store, and what asks it with its cookie."""
    import qubastore
    from qubastore.explorer.images import Images
    from qubastore.explorer.serve import prepare
    from qubastore.explorer.server import Explorer
    from qubastore.explorer.stores import Stores

    stores = Stores(lambda: qubastore.open(path))
    server, listener, address = prepare(Explorer(stores, Images(stores.borrow)), stores)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    opener.open(address).read()
    try:
        yield address, opener
    finally:
        server.should_exit = True
        thread.join()
        stores.close()
        listener.close()


def _filters(address: str, opener: Any) -> Iterator[Row]:
    base = address.partition("/?")[0]

    def ask(question: str) -> Any:
        return json.load(opener.open(f"{base}/api/{question}"))

    dataset = ask("overview")["datasets"][0]["dataset_id"]
    a, b, c = (run["run_id"] for run in ask(f"dataset?id={dataset}")["runs"][:3])
    questions = {
        "A wrong, B right, by confidence": f"samples?a={a}&b={b}&a_is=wrong&b_is=right&sort=confidence&order=desc",
        "three models agree against the label": f"samples?a={a}&b={b}&c={c}&a_is=wrong&agree=same&sort=loss&order=desc",
        "the confusion matrix of one model": f"confusions?a={a}",
    }
    for what, question in questions.items():
        seconds = []
        for _ in range(REPEATS + 1):
            started = time.perf_counter()
            ask(question)
            seconds.append(time.perf_counter() - started)
        middle = statistics.median(seconds[1:])
        aim = what != "the confusion matrix of one model"
        yield Row(
            f"view, {N_IMAGES:,} images x {N_FILTERED} models: {what}",
            f"{1000 * middle:.0f} ms",
            "-",
            "-",
            "< 300 ms" if aim else "-",
            middle < 0.3 if aim else None,
            f"{1000 * min(seconds[1:]):.0f} to {1000 * max(seconds[1:]):.0f} ms; the first {1000 * seconds[0]:.0f} ms",
            Figures("ms", 1000 * middle),
        )


def _first_page(address: str, driver: Any) -> Iterator[Row]:
    driver.get(address)
    paints, drawn = [], []
    for _ in range(REPEATS):
        driver.get(address.partition("?")[0])
        paints.append(first_paint(driver))
        drawn.append(
            driver.execute_async_script(
                "const done = arguments[0]; const look = () => document.querySelector('tbody tr')"
                " ? done(performance.now()) : setTimeout(look, 5); look()"
            )
            / 1000
        )
    middle = statistics.median(drawn)
    yield Row(
        f"view, first page of a store with {N_MODELS} x {N_RUNS} runs, until its table is there",
        f"{middle:.2f} s",
        "-",
        "-",
        "< 0.5 s",
        middle < 0.5,
        f"{min(drawn):.2f} to {max(drawn):.2f} s; first contentful paint {statistics.median(paints):.2f} s",
        Figures("s", middle),
    )


def _thumbnails(address: str, driver: Any) -> Iterator[Row]:
    driver.get(address)
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.setCacheDisabled", {"cacheDisabled": True})
    seconds = []
    for _ in range(REPEATS + 1):
        driver.get(f"{address.partition('?')[0]}samples")
        seconds.append(
            driver.execute_async_script(
                "const done = arguments[0]; const look = () => {"
                "const all = [...document.querySelectorAll('.tile img')];"
                f"all.filter((e) => e.complete && e.naturalWidth).length === {N_THUMBNAILS}"
                " ? done(performance.now()) : setTimeout(look, 50)}; look()"
            )
            / 1000
        )
    middle = statistics.median(seconds[1:])
    yield Row(
        f"view, a grid of {N_THUMBNAILS} thumbnails, warm, until the last is decoded",
        f"{middle:.2f} s",
        "-",
        "-",
        "< 1 s",
        middle < 1,
        f"{min(seconds[1:]):.2f} to {max(seconds[1:]):.2f} s without the browser's cache;"
        f" made for the first time {seconds[0]:.2f} s",
        Figures("s", middle),
    )


def _store_of_outputs(path: Path) -> None:
    """Runs of ten models over 50,000 images of 1,000 classes, with outputs of random logits."""
    import qubastore
    from qubastore.datasets.dataset import Dataset, Sample
    from qubastore.datasets.label_spaces import imagenet_synsets
    from qubastore.models.model import Model
    from qubastore.runs import outputs
    from qubastore.runs.commit import commit_shards
    from qubastore.runs.publish import publish_runs
    from qubastore.runs.records import register_dataset, register_model, register_run
    from qubastore.runs.run import Run
    from qubastore.runs.shard import Shard
    from qubastore.statistics.scores import output_columns

    generator, names, each = np.random.default_rng(0), imagenet_synsets(), N_IMAGES // 1000
    samples = [Sample(f"{names[i // each]}/{i:08d}.JPEG", 1000 + i, i // each) for i in range(N_IMAGES)]
    data = Dataset("images", tuple(samples), names, "imagenet-1k", "/nowhere")
    labels = np.array([sample.label for sample in samples], np.int32)
    with qubastore.init(path) as store:
        store.write(lambda c: register_dataset(c, data))
        for number in range(N_FILTERED):
            name = f"model-{number}"
            model = Model(name, "python", {"name": name}, name, {"kind": "x"}, (8, 8), 1000, 1, 4, "logits", 1, 1)
            run = Run(model.model_id, data.dataset_id, N_IMAGES, N_IMAGES)
            store.write(lambda c, m=model, r=run: (register_model(c, m), register_run(c, r)))  # type: ignore[misc]
            parts = []
            for first in range(0, N_IMAGES, 5000):
                logits = generator.normal(0, 1, (5000, 1000)).astype(np.float32)
                logits[np.arange(5000), labels[first : first + 5000]] += generator.normal(5, 2, 5000)
                parts.append(output_columns(logits, labels[first : first + 5000]))
            columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            table = outputs.outputs_table(run.run_id, np.arange(N_IMAGES, dtype=np.int32), columns)
            written = outputs.write_shard(store.files, run.run_id, 0, {"outputs": table})
            shard = Shard(run.run_id, 0, 0, N_IMAGES, written.files, checksums=written.checksums, device="none")
            commit_shards(store, [shard])
            publish_runs(store, [run.run_id])


def _store_of_images(folder: Path) -> Path:
    """A store of one model over 200 JPEG files of 500 x 375 pixels."""
    from PIL import Image

    import qubastore
    from qubastore.datasets.image_folder import image_folder
    from tests.support.runs import add_run

    generator = np.random.default_rng(0)
    for number in range(N_THUMBNAILS):
        file = folder / "images" / f"class-{number % 2}" / f"{number}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        small = generator.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(small).resize((500, 375), Image.Resampling.BICUBIC).save(file, quality=90)
    data = image_folder("images", folder / "images")
    with qubastore.init(folder / "thumbnails") as store:
        labels = np.array([sample.label for sample in data.samples])
        add_run(store, generator.normal(0, 1, (N_THUMBNAILS, 2)), labels, data=data, keep=("outputs",))
    return folder / "thumbnails"
