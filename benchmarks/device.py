"""`python -m benchmarks.device`: one GPU, without Ray or a store: checks, then speeds, as one table of Markdown.

It needs torch, torchvision, timm, NumPy, Pillow and pyarrow, and takes under eight minutes on an H100. With
`--device cpu --small` it runs anywhere, to try it. It checks before it measures, and exits with 1 if a check fails.
Networks have random weights, photographs are drawn: no data is needed.
"""

from __future__ import annotations

import argparse
import functools
import io
import itertools
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.workbench import Workbench, chunks_in_memory, drop, write_models
from qubastore.conditions import DECODERS, NVJPEG
from qubastore.evaluators.pixels import tensors
from qubastore.evaluators.worker.images import Decoded, SampleFile, decode
from qubastore.evaluators.worker.messages import Preparation
from qubastore.models.preprocessing import Preprocessing

NETWORKS = {"ResNet-50": "resnet50", "ViT-B/16": "vit_base_patch16_224"}
SMALL_NETWORKS = ("resnet18", "vit_tiny_patch16_224")
SIDE = 224


@dataclass(frozen=True)
class Sizes:
    """How much of each thing is done.

    Attributes:
        batches: Sizes of batches to try.
        seconds: Duration of a measurement.
        shard: Samples per shard.
        attacked: Images to attack with PGD; four times as many with FGSM.
        photographs: Number of JPEG files.
    """

    batches: tuple[int, ...] = (64, 128, 256, 512, 1024)
    seconds: float = 8.0
    shard: int = 4096
    attacked: int = 256
    photographs: int = 8192


SMALL = Sizes(batches=(8, 16), seconds=0.2, shard=64, attacked=8, photographs=64)


@dataclass(frozen=True)
class Line:
    """A line of the table."""

    what: str
    speed: float
    unit: str
    share: float | None = None
    note: str = ""


class Device:
    """The measurements on one device.

    Args:
        folder: For networks and files.
        sizes: How much to do.
        use_gpu: Whether the device is a GPU.
        networks: Label -> architecture.
    """

    def __init__(self, folder: Path, sizes: Sizes, *, use_gpu: bool, networks: dict[str, str]) -> None:
        self.folder, self.sizes, self.use_gpu, self.networks = folder, sizes, use_gpu, networks
        self.specs = write_models(folder, {*networks.values(), SMALL_NETWORKS[0]})
        self.alone: dict[tuple[str, str], float] = {}

    def bench(self, specs: Iterable[str], precision: str = "fp32", batch_size: int | None = None) -> Workbench:
        """An evaluator with some networks."""
        return Workbench(
            self.folder / "files", list(specs), precision=precision, use_gpu=self.use_gpu, batch_size=batch_size
        )

    def checks(self) -> Iterator[str]:
        """Lines that say what was checked; AssertionError if something is wrong."""
        yield self._columns_agree()
        spec = self.specs[SMALL_NETWORKS[0]]
        for precision in ("fp32", "bf16"):
            bench = self.bench([spec], precision)
            bench.prepare()
            chunks = chunks_in_memory(self.sizes.shard)
            requests = [bench.request(number, self.sizes.shard) for number in range(3)]
            alone = [bench.evaluator.evaluate(request, chunks(request.shard)) for request in requests]
            together = bench.evaluate(requests, chunks)
            sums = [[shard.checksums for result in found for shard in result.shards] for found in (alone, together)]
            drop([*alone, *together])
            assert sums[0] == sums[1], f"{precision}: two runs of the same shards differ"
            assert sums[0][0] != sums[0][1], "shards with other samples have the same files"
            yield f"{precision}: three shards one after another and overlapped: files equal to the bit"
        if self.use_gpu:
            yield self._agrees_with_cpu(spec)

    def _columns_agree(self) -> str:
        """Columns on the device against NumPy's, for every label space."""
        import torch

        from qubastore.datasets.label_spaces import LABEL_SPACES
        from qubastore.statistics import scores

        device = torch.device("cuda" if self.use_gpu else "cpu")
        generator = np.random.default_rng(0)
        logits = (3 * generator.normal(size=(512, 1000))).astype(np.float32)
        logits[0], logits[1, [5, 9]] = 0, 20  # ties
        worst = 0.0
        for space in LABEL_SPACES.values():
            labels = generator.integers(0, len(space.classes) or 1000, (512, 2)).astype(np.int32)
            labels[::2, 1] = -1
            host = scores.output_columns(logits, labels, space)
            arrays = scores.Arrays(torch, device)
            found = scores.output_columns(torch.from_numpy(logits).to(device), arrays.of(labels), space, arrays)
            for name, values in host.items():
                ours = found[name].cpu().numpy()
                assert ours.dtype == values.dtype, f"{space.name} {name}: {ours.dtype}"
                if ours.dtype.kind == "i":
                    assert (ours == values).all(), f"{space.name} {name} differs"
                    continue
                finite = np.isfinite(values)
                assert (np.isfinite(ours) == finite).all(), f"{space.name} {name} differs where it is not finite"
                worst = max(worst, float(np.abs(ours - values)[finite].max(initial=0)))
        assert worst <= 1e-10, f"columns differ by {worst:g}"
        return f"columns of all label spaces on {device}: integers equal NumPy's, others within {worst:.1g}"

    def _agrees_with_cpu(self, spec: str) -> str:
        """Logits in fp32 of the GPU against those of the CPU."""
        import torch

        bench = self.bench([spec], "fp32", 32)
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(32, 3, SIDE, SIDE, generator=generator)
        held = bench.held[0]
        with torch.inference_mode():
            found = held.module(held.normalise(pixels.to("cuda"))).cpu()
            held.module.cpu()
            want = held.module(held.normalise(pixels))
        worst = float((found - want).abs().max())
        assert worst <= 1e-4, f"fp32 logits of GPU and CPU differ by {worst:g}"
        return f"fp32 logits of {SMALL_NETWORKS[0]} on GPU and CPU: within {worst:.1g}"

    def throughput(self, label: str, precision: str) -> Iterator[Line]:
        """Forward passes alone, and the pipeline from memory."""
        name = self.networks[label]
        bench = self.bench([self.specs[name]], precision)
        speeds = {size: bench.forward_alone(size, self.sizes.seconds / 8) for size in self.sizes.batches}
        best = max(speeds, key=speeds.__getitem__)
        _reset_peak(use_gpu=self.use_gpu)
        free = bench.forward_alone(best, self.sizes.seconds)
        self.alone[name, precision] = free
        shown = ", ".join(f"{size}: {speed:.0f}" for size, speed in speeds.items())
        yield Line(f"{label} {precision}, forward passes alone, batches of {best}", free, "images/s", None, shown)
        bench = self.bench([self.specs[name]], precision)
        _reset_peak(use_gpu=self.use_gpu)
        size = bench.prepare()
        chunks = chunks_in_memory(self.sizes.shard)
        bench.images_per_second(1, self.sizes.shard, chunks)
        n_shards = max(2, round(free * self.sizes.seconds / self.sizes.shard))
        ours = bench.images_per_second(n_shards, self.sizes.shard, chunks)
        note = f"batches of {size}, {n_shards} shards of {self.sizes.shard:,}; {bench.busy:.2f} of the time in"
        note += f" forward passes; {_peak(use_gpu=self.use_gpu)}"
        yield Line(f"{label} {precision}, from memory to Parquet", ours, "images/s", ours / free, note)

    def attacks(self, label: str) -> Iterator[Line]:
        """FGSM and PGD, in fp32 gradients."""
        name = self.networks[label]
        bench = self.bench([self.specs[name]], "fp32")
        for condition, n in (("fgsm", 4 * self.sizes.attacked), ("pgd", self.sizes.attacked)):
            size = bench.prepare(condition)
            _reset_peak(use_gpu=self.use_gpu)
            speed = bench.images_per_second(1, n, chunks_in_memory(n), condition)
            passes = self.alone.get((name, "fp32"), 0.0)
            share = speed / passes if passes else None
            note = f"batches of {size}; {_peak(use_gpu=self.use_gpu)}"
            yield Line(f"{label} fp32, {condition}", speed, "images/s", share, note)

    def group(self) -> Iterator[Line]:
        """Eight small networks of one preprocessing, which share batches, against each alone."""
        spec = self.specs[SMALL_NETWORKS[0]]
        folder = self.folder / "eight"
        folder.mkdir(exist_ok=True)
        file = folder / "eight.py"
        source = Path(spec.split(":")[1]).read_text()
        names = [f"small{seed}" for seed in range(8)]
        for seed, name in enumerate(names):
            source += f"\n\ndef {name}():\n    made = make({SMALL_NETWORKS[0]!r})\n"
            source += f"    made[0].get_parameter('fc.bias').data += {seed}\n    return made\n"
        file.write_text(source)
        bench = self.bench([f"python:{file}:{name}" for name in names], "bf16")
        size = bench.prepare()
        alone = bench.forward_alone(size, self.sizes.seconds)
        chunks = chunks_in_memory(self.sizes.shard)
        bench.images_per_second(1, self.sizes.shard, chunks)
        n_shards = max(2, round(alone / 8 * self.sizes.seconds / self.sizes.shard))
        ours = 8 * bench.images_per_second(n_shards, self.sizes.shard, chunks)
        yield Line(
            f"eight {SMALL_NETWORKS[0]} bf16 in a group, from memory to Parquet", ours, "outputs/s", ours / alone,
            f"batches of {size}; forward passes of one alone: {alone:.0f} images/s; {bench.busy:.2f} of the time in"
            " forward passes",
        )  # fmt: skip

    def photographs(self) -> Iterator[Line]:
        """The pipeline from JPEG files, decoded by processes beside it; and decoding alone."""
        files = draw_photographs(self.folder / "jpeg", min(256, self.sizes.photographs))
        name = self.networks["ResNet-50"]
        prepare = Preprocessing(resize=(round(SIDE / 0.875),) * 2, crop=(SIDE,) * 2, interpolation="bicubic")
        n, shard = self.sizes.photographs, self.sizes.shard
        bench = self.bench([self.specs[name]], "bf16")
        bench.prepare()
        free = self.alone.get((name, "bf16"))
        cores = os.cpu_count() or 1
        for decoder, processes in itertools.product(DECODERS, sorted({min(8, cores), min(16, cores)})):
            # With nvjpeg the processes only read files, and look at their first bytes.
            bench.preparation = Preparation(prepare) if decoder == NVJPEG else None
            # Spawned: a fork of a process with a CUDA context cannot be relied on.
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(processes, context, _one_thread) as pool:
                decoding = functools.partial(_decoded, pool, files, prepare, decoder, shard)
                for _ in _decoded(pool, files, prepare, decoder, 32 * processes, 0):
                    pass  # all processes have started
                started = time.perf_counter()
                for number in range(n // shard):
                    for _ in decoding(number):
                        pass
                alone = n // shard * shard / (time.perf_counter() - started)
                yield Line(f"{decoder}: {processes} processes alone", alone, "images/s", None, "500 x 375 JPEG")
                ours = bench.images_per_second(max(1, n // shard), shard, decoding)
            share = ours / min(free, alone) if free else None
            yield Line(
                f"ResNet-50 bf16, from JPEG, {decoder}, {processes} processes", ours, "images/s", share,
                "share of the slower of these processes and forward passes",
            )  # fmt: skip
        yield self._decoding_on_the_device(files, prepare)

    def _decoding_on_the_device(self, files: list[Path], prepare: Preprocessing) -> Line:
        """Decoding and resizing of batches on the device alone, in one thread."""
        import torch

        data = [file.read_bytes() for file in files]
        device = torch.device("cuda" if self.use_gpu else "cpu")

        def once() -> None:
            for image in tensors.decode_jpegs(data, device):
                tensors.prepare(image, prepare)
            if self.use_gpu:
                torch.cuda.synchronize()

        once()
        started, done = time.perf_counter(), 0
        while time.perf_counter() - started < self.sizes.seconds:
            once()
            done += len(data)
        speed = done / (time.perf_counter() - started)
        return Line("decode, resize and crop on the device, alone", speed, "images/s", None, "as with nvjpeg")


def _one_thread() -> None:
    """As Ray does for a task of one CPU, before torch is imported."""
    os.environ["OMP_NUM_THREADS"] = "1"


def _decoded(
    pool: ProcessPoolExecutor, files: list[Path], prepare: Preprocessing, decoder: str, shard: int, number: int
) -> Iterator[Decoded]:
    """The chunks of a shard, decoded by processes."""
    first = number * shard
    samples = [SampleFile(i, str(i), str(files[i % len(files)])) for i in range(first, first + shard)]
    parts = [samples[start : start + 32] for start in range(0, shard, 32)]
    for done in [pool.submit(decode, part, prepare, None, decoder) for part in parts]:
        yield done.result()


def draw_photographs(folder: Path, n: int) -> list[Path]:
    """Draw JPEG files of 500 x 375 pixels and about 100 kB: smooth colours with grain, as photographs have."""
    from PIL import Image, ImageFilter

    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(0)
    files = []
    for number in range(n):
        coarse = Image.fromarray(generator.integers(0, 256, (12, 16, 3), np.uint8)).resize((500, 375))
        grain = generator.normal(0, 12, (375, 500, 1))
        image = Image.fromarray((np.asarray(coarse, np.float64) + grain).clip(0, 255).astype(np.uint8))
        buffer = io.BytesIO()
        image.filter(ImageFilter.SMOOTH).save(buffer, "JPEG", quality=92)
        files.append(folder / f"{number}.jpg")
        files[-1].write_bytes(buffer.getvalue())
    return files


def _reset_peak(*, use_gpu: bool) -> None:
    if use_gpu:
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _peak(*, use_gpu: bool) -> str:
    if not use_gpu:
        return "no GPU"
    import torch

    return f"peak {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"


def table(lines: Iterable[Line], checks: Iterable[str], where: str) -> str:
    """The results as Markdown."""
    text = [f"{where}", "", *(f"- checked: {check}" for check in checks), ""]
    text += ["| what | speed | share of forward passes alone | note |", "|---|---|---|---|"]
    for line in lines:
        share = "" if line.share is None else f"{line.share:.2f}"
        text.append(f"| {line.what} | {line.speed:,.0f} {line.unit} | {share} | {line.note} |")
    return "\n".join(text)


def main() -> None:
    """Run the checks and the measurements."""
    import timm
    import torch

    parser = argparse.ArgumentParser(prog="benchmarks.device", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--small", action="store_true", help="small networks and sizes, to try the script")
    parser.add_argument("--parts", default="checks,throughput,photographs,attacks,group", help="%(default)s")
    parser.add_argument("--networks", help="labels, comma-separated; all by default")
    parser.add_argument("--precisions", default="bf16,fp32", help="%(default)s")
    parser.add_argument("--json", type=Path, help="also write the lines as JSON to this file")
    chosen = parser.parse_args()
    use_gpu = chosen.device == "cuda"
    if use_gpu and not torch.cuda.is_available():
        sys.exit("torch finds no GPU; --device cpu --small tries the script without one")
    networks = dict(zip(NETWORKS, SMALL_NETWORKS, strict=True)) if chosen.small else NETWORKS
    if chosen.networks:
        networks = {label: networks[label] for label in chosen.networks.split(",")}
    name = torch.cuda.get_device_name() if use_gpu else "CPU"
    where = f"{name}, {os.cpu_count()} cores; torch {torch.__version__}, timm {timm.__version__}"
    print(where, flush=True)
    folder = Path(tempfile.mkdtemp(prefix="qubastore-device-"))
    device = Device(folder, SMALL if chosen.small else Sizes(), use_gpu=use_gpu, networks=networks)
    checks: list[str] = []
    lines: list[Line] = []

    def add(found: Iterable[Any], to: list[Any]) -> None:
        for each in found:
            to.append(each)
            print(f"[{time.monotonic() - began:.0f} s] {each}", flush=True)

    def throughput() -> Iterator[Line]:
        for label in networks:
            for precision in chosen.precisions.split(","):
                yield from device.throughput(label, precision)

    def attacks() -> Iterator[Line]:
        for label in networks:
            yield from device.attacks(label)

    parts: dict[str, Callable[[], None]] = {
        "checks": lambda: add(device.checks(), checks),
        "throughput": lambda: add(throughput(), lines),
        "photographs": lambda: add(device.photographs(), lines),
        "attacks": lambda: add(attacks(), lines),
        "group": lambda: add(device.group(), lines),
    }
    began = time.monotonic()
    try:
        for part in chosen.parts.split(","):
            parts[part]()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        print(f"\n{table(lines, checks, where)}\n\n{time.monotonic() - began:.0f} s in all", flush=True)
        if chosen.json:
            chosen.json.write_text("".join(json.dumps(asdict(line)) + "\n" for line in lines))


if __name__ == "__main__":
    main()
