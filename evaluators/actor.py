"""The evaluator: a process that holds a group of models on one device and turns decoded shards into Parquet files."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from qubastore.conditions import COMPILED, SIGNIFICANT_BITS, Condition
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import IngestError, ModelError, OutputError, QubastoreError, in_one_line
from qubastore.evaluators.attacks import fgsm, pgd
from qubastore.evaluators.batch_size import LARGEST, Sizes, largest_that_fits, work_of
from qubastore.evaluators.images import Decoded, open_image
from qubastore.evaluators.loaders import Head, LoadedModel, ModelSource, describe
from qubastore.evaluators.loaders.features import find_classifier, first_tensor, no_features
from qubastore.evaluators.loaders.fixed_images import not_repeatable
from qubastore.evaluators.messages import Settings, ShardRequest, ShardResult
from qubastore.evaluators.resolution import at_resolution
from qubastore.hashing import canonical_json
from qubastore.lake.object_storage import DataFiles
from qubastore.models.fingerprints import same_answers
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.runs import outputs
from qubastore.runs.shard import Failure, Shard
from qubastore.statistics import scores

if TYPE_CHECKING:
    import torch


@dataclass
class _Held:
    """A model on the device."""

    loaded: LoadedModel
    module: torch.nn.Module
    model: Model
    batch_sizes: Sizes
    input_size: tuple[int, int] | None
    mean: torch.Tensor | None
    std: torch.Tensor | None
    resized: dict[int, torch.nn.Module] = field(default_factory=dict)
    compiled: dict[int, Any] = field(default_factory=dict)
    capturing: bool = False
    captured: list[torch.Tensor | None] = field(default_factory=list)
    hooked: bool = False
    repeated: set[str] = field(default_factory=set)

    def watch_features(self) -> None:
        """Have what enters the classifier captured, from here on, while `capturing` is true.

        Raises:
            ModelError: where no layer can be shown to be the classifier.
        """
        if self.hooked:
            return
        layer = find_classifier(self.loaded)
        if layer is None:
            raise no_features(self.loaded.name)

        def capture(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if self.capturing:
                self.captured.append(first_tensor(args, kwargs))

        layer.register_forward_pre_hook(capture, with_kwargs=True)
        # Copies for other sizes and compiled code are of the network without the hook.
        self.resized, self.hooked = {}, True
        self.compiled.clear()

    def features(self, n: int) -> NDArray[np.float32]:
        """What a pass over n images captured, (n or more, feature_width) float32.

        Raises:
            OutputError: where it is not one vector per image, as wide as is recorded of the model.
        """
        captured, width = self.captured, self.model.feature_width
        found = captured[0] if len(captured) == 1 else None
        if found is None or found.ndim != 2 or len(found) < n or found.shape[1] != width:
            shapes = ", ".join("nothing" if each is None else str(tuple(each.shape)) for each in captured)
            raise OutputError(
                f"features of {self.loaded.name} cannot be told in this pass",
                expected=f"one vector of {width} numbers per image at its classifier",
                found=shapes or "nothing: its classifier was not asked",
                hint="--keep outputs,logits",
            )
        return found.detach().float().cpu().numpy()

    def compile(self, module: torch.nn.Module) -> Any:
        """The same network through torch.compile, made once."""
        import torch

        if id(module) not in self.compiled:
            self.compiled[id(module)] = torch.compile(module, dynamic=False)
        return self.compiled[id(module)]

    def use(self, condition: Condition, device: torch.device) -> torch.nn.Module:
        """The network for inputs under a condition.

        Raises:
            ResolutionError: where it cannot take inputs of that size.
        """
        size = condition.resolution
        if size is None:
            return self.module
        if size not in self.resized:
            # One at a time: jobs come size by size, and each is a copy of the network.
            self.compiled.clear()
            self.resized = {size: at_resolution(self.module, size, name=self.loaded.name, device=device)}
        return self.resized[size]

    @property
    def normalisation(self) -> Any:
        """What decides `normalise`."""
        prepare: Any = self.loaded.preprocessing
        return prepare.mean, prepare.std

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels in [0, 1] as the network wants them, in channels-last order."""
        import torch

        if self.mean is not None and self.std is not None:
            pixels = pixels.sub(self.mean).div(self.std)
        return pixels.contiguous(memory_format=torch.channels_last)


class Evaluator:
    """Holds models on one device; Ray makes one per GPU, or one per node without GPUs."""

    def __init__(self, settings: Settings) -> None:
        import torch

        self._settings = settings
        if settings.use_gpu and not torch.cuda.is_available():
            raise IngestError(
                "Ray gave this evaluator a GPU, but torch finds none",
                expected="a torch build that fits the driver",
                found=f"torch {torch.__version__}, CUDA {torch.version.cuda}",
                hint="python -c 'import torch; print(torch.cuda.is_available())'; or --num-gpus 0, to use the CPU",
            )
        self._device = torch.device("cuda" if settings.use_gpu else "cpu")
        self.device_name = torch.cuda.get_device_name() if settings.use_gpu else "cpu"
        torch.set_num_threads(max(1, settings.threads))
        # fp32 means fp32: TensorFloat-32 keeps 11 bits. Algorithms are fixed, so that a rerun gives the same bits.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        self._models: dict[str, _Held] = {}

    def load(self, model: Model, source: ModelSource, head: Head | None = None) -> Head | None:
        """Load a model and prove that it is the one that was planned.

        Args:
            model: The model, as it was planned.
            source: How to load it.
            head: For a zero-shot model, its head if it was made before.

        Returns:
            The head that had to be made, to be kept.

        Raises:
            ModelError: where it cannot be loaded, or is another one than a moment ago.
        """
        import torch

        with once_per_node(model.model_id):
            loaded = source.load()
        _check_same(model, describe(loaded, thorough=False))
        loaded.module.to(self._device)
        made = None
        if loaded.texts is not None:
            made = loaded.texts.encode() if head is None else None
            loaded.texts.use(made or head)  # type: ignore[arg-type]
        module = loaded.module.to(memory_format=torch.channels_last)
        module.requires_grad_(False)
        mean = std = None
        if isinstance(loaded.preprocessing, Preprocessing):
            mean, std = (
                torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)
                for values in (loaded.preprocessing.mean, loaded.preprocessing.std)
            )
        self._models[model.model_id] = _Held(loaded, module, model, {}, model.input_size, mean, std)
        return made

    def device(self) -> str:
        """The name of the device."""
        return self.device_name

    def size(self, model_id: str, conditions: Sequence[Condition], known: Sizes) -> Sizes:
        """Settle the batch size of each kind of work that conditions ask for; all models of the group are loaded.

        Args:
            model_id: The model.
            conditions: What it is to be run under.
            known: Sizes found before, on such a device.

        Returns:
            Those that had to be found, by trying.
        """
        held = self._models[model_id]
        found: Sizes = {}
        for condition in conditions:
            work = work_of(condition)
            if work in held.batch_sizes:
                continue
            size = self._settings.batch_size or known.get(work)
            if size is None:
                size, is_found = self._find_size(held, condition)
                if is_found:
                    found[work] = size
            held.batch_sizes[work] = size
        return found

    def _find_size(self, held: _Held, condition: Condition) -> tuple[int, bool]:
        """The largest batch that fits, and whether it was found by trying."""
        limit = LARGEST["gpu" if self._settings.use_gpu else "cpu"]
        if held.input_size is None:
            # A function prepares the images: how large they will be shows with the first of them.
            return LARGEST["cpu"], False
        try:
            held.use(condition, self._device)
        except QubastoreError:
            return 1, False
        return largest_that_fits(lambda size: self._fits(held, condition, size), limit), True

    def _fits(self, held: _Held, condition: Condition, size: int) -> bool:
        import torch

        side = condition.resolution
        height, width = (side, side) if side else held.input_size  # type: ignore[misc]
        try:
            pixels = torch.zeros(size, 3, height, width, device=self._device)
            if condition.is_attack:
                # One gradient takes as much memory as ten.
                right = torch.zeros(size, dtype=torch.int64, device=self._device)
                pixels = _attacked(held, pixels, right, Condition.parse("fgsm"), ())
            self._call(held, held.use(condition, self._device), held.normalise(pixels), size)
        except Exception:
            # Memory, mostly. Whatever else is wrong with the network shows, with its reason, when images go through it.
            return False
        finally:
            if self._settings.use_gpu:
                torch.cuda.empty_cache()
        return True

    def evaluate(self, request: ShardRequest, chunks: Sequence[Any]) -> ShardResult:
        """Put a shard through the models that lack it, write their files, and say what was written.

        Args:
            request: Which shard, for which runs.
            chunks: References to `Decoded` parts of it, in order.
        """
        result = ShardResult()
        collected = {model_id: _Collected() for model_id in request.runs}
        failures: list[Failure] = []
        work = work_of(request.condition)
        size = max(self._models[model_id].batch_sizes[work] for model_id in request.runs)
        for sample_ids, batch in self._batches(chunks, self._settings.batch_size or size, failures, result):
            self._forward_all(batch, sample_ids, request, collected, result)
        for model_id in request.runs:
            if model_id not in result.errors:
                try:
                    result.shards.append(self._write(model_id, collected[model_id], request, failures))
                except OSError:
                    raise  # the store cannot be written: that is no model's failure
                except Exception as error:
                    result.errors[model_id] = self._failure(model_id, error)
        return result

    def _failure(self, model_id: str, error: Exception) -> QubastoreError:
        """Why a model cannot go on; the others of its group do."""
        if isinstance(error, QubastoreError):
            return error
        text = in_one_line(error)
        return OutputError(
            f"{self._models[model_id].loaded.name} failed in its forward pass",
            found=text[:300],
            hint="qubastore ingest --limit 8 ...",
        )

    def _batches(
        self, chunks: Sequence[Any], size: int, failures: list[Failure], result: ShardResult
    ) -> Iterator[tuple[list[int], Any]]:
        """Consecutive decodable samples, `size` at a time: an image's batch depends on its shard alone."""
        import ray

        ids: list[int] = []
        parts: list[Any] = []
        for chunk in chunks:
            decoded: Decoded = ray.get(chunk)
            failures += decoded.failures
            result.contents.update(decoded.contents)
            result.decode_seconds += decoded.seconds
            ids += decoded.sample_ids
            parts += list(decoded.pixels) if decoded.pixels is not None else decoded.images
            while len(ids) >= size:
                yield ids[:size], parts[:size]
                ids, parts = ids[size:], parts[size:]
        if ids:
            yield ids, parts

    def _forward_all(
        self,
        batch: Sequence[Any],
        sample_ids: list[int],
        request: ShardRequest,
        collected: Mapping[str, _Collected],
        result: ShardResult,
    ) -> None:
        import torch

        pixels = None
        if not isinstance(batch[0], bytes):
            pixels = torch.from_numpy(np.stack(batch)).to(self._device).to(torch.float32).div_(255)
        places = np.asarray(sample_ids) - request.first_sample
        labels = request.labels[places]
        first_labels = labels[:, 0]
        seeds = [request.seeds[place] for place in places] if request.seeds else []
        # Models that normalise alike share the work; beside small networks it is most of it.
        normalised: dict[Any, torch.Tensor] = {}
        for model_id in request.runs:
            if model_id in result.errors:
                continue
            held = self._models[model_id]
            started = time.perf_counter()
            try:
                if pixels is None:
                    inputs = self._prepared(held, batch)
                elif request.condition.is_attack:
                    inputs = pixels
                else:
                    if held.normalisation not in normalised:
                        normalised[held.normalisation] = held.normalise(pixels)
                    inputs = normalised[held.normalisation]
                held.capturing = "features" in request.keep[model_id]
                if held.capturing:
                    held.watch_features()
                logits, features = self._forward(held, inputs, request.condition, first_labels, seeds)
                scores.check_logits(logits, classes=request.classes or logits.shape[-1], model=held.loaded.name)
                seconds = time.perf_counter() - started
                columns = scores.output_columns(logits, labels, label_space(request.label_space))
                collected[model_id].add(sample_ids, logits, features, columns, seconds)
            except Exception as error:  # whatever one model does, the others go on
                result.errors[model_id] = self._failure(model_id, error)

    def _prepared(self, held: _Held, batch: Sequence[bytes]) -> torch.Tensor:
        """Inputs of a model that prepares images itself, already normalised."""
        import torch

        prepare: Any = held.loaded.preprocessing
        stacked = torch.stack([prepare(open_image(data)) for data in batch]).to(self._device, torch.float32)
        return stacked.contiguous(memory_format=torch.channels_last)

    def _forward(
        self,
        held: _Held,
        inputs: torch.Tensor,
        condition: Condition,
        labels: NDArray[np.int32],
        seeds: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Logits and features of a batch; on out-of-memory the model's batches are halved from here on.

        Inputs are normalised, but for attacks, which alter pixels.
        """
        import torch

        right = torch.from_numpy(labels.astype(np.int64)).to(self._device)
        parts, features, first = [], [], 0
        work = work_of(condition)
        while first < len(inputs):
            size = held.batch_sizes[work]
            chosen = slice(first, first + size)
            part = inputs[chosen]
            try:
                if condition.is_attack:
                    part = held.normalise(_attacked(held, part, right[chosen], condition, seeds[chosen]))
                module = held.use(condition, self._device)
                held.captured.clear()
                logits = self._call(held, module, part, size)
                if held.capturing:
                    features.append(held.features(len(part))[: len(part)])
                parts.append(logits.float().cpu().numpy()[: len(part)])
                if work not in held.repeated:
                    self._repeat(held, module, part, size, parts[-1])
                    held.repeated.add(work)
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                if size == 1:
                    raise IngestError(
                        f"{held.loaded.name} does not fit the memory of {self.device_name}, even image by image",
                        hint="choose a larger GPU, or --precision bf16",
                    ) from error
                held.batch_sizes[work] = max(1, min(size, len(part)) // 2)
                continue
            first += len(part)
        held.captured.clear()
        return np.concatenate(parts), np.concatenate(features) if features else None

    def _repeat(
        self, held: _Held, module: torch.nn.Module, part: torch.Tensor, size: int, logits: NDArray[np.float32]
    ) -> None:
        """See that a network answers alike to the same batch: the first of each kind of work passes twice.

        Raises:
            ModelError: where it does not.
        """
        again = self._call(held, module, part, size).float().cpu().numpy()[: len(part)]
        tolerance = 1e-4 if self._settings.precision.startswith("fp32") else 2e-2
        if not same_answers(logits, again, tolerance):
            raise not_repeatable(held.loaded.name, logits, again)

    def _call(self, held: _Held, module: torch.nn.Module, part: torch.Tensor, size: int) -> torch.Tensor:
        """Logits of a batch; compiled code sees batches of one `size` alone, filled up, and so is compiled once."""
        import torch

        if trained := [type(part).__name__ for part in module.modules() if part.training]:
            raise OutputError(
                f"{trained[0]} is in train mode", expected="eval mode: batch statistics change the answers"
            )
        kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
        kind = kinds.get(self._settings.precision.removesuffix(COMPILED))
        call: Any = module
        if self._settings.precision.endswith(COMPILED):
            call = held.compile(module)
            filled = part.new_zeros(size - len(part), *part.shape[1:])
            part = torch.cat([part, filled]).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self._device.type, kind, enabled=kind is not None):
            logits: torch.Tensor = call(part)
        return logits

    def _write(self, model_id: str, collected: _Collected, request: ShardRequest, failures: Sequence[Failure]) -> Shard:
        run_id, keep = request.runs[model_id], request.keep[model_id]
        bits = SIGNIFICANT_BITS[self._settings.precision]
        written = outputs.Written()
        if collected.sample_ids:
            ids = np.asarray(collected.sample_ids, np.int32)
            tables = {"outputs": outputs.outputs_table(run_id, ids, collected.columns())}
            if "logits" in keep:
                rounded = scores.round_significant(np.concatenate(collected.logits), bits)
                tables["logits"] = outputs.vectors_table(run_id, ids, rounded)
            if "features" in keep:
                rounded = scores.round_significant(np.concatenate(collected.features), bits)
                tables["features"] = outputs.vectors_table(run_id, ids, rounded)
            written = outputs.write_shard(DataFiles(self._settings.data_path), run_id, request.shard, tables)
        return Shard(
            run_id=run_id,
            shard=request.shard,
            first_sample=request.first_sample,
            n_samples=request.n_samples,
            files=written.files,
            checksums=written.checksums,
            failures=tuple(failures),
            batch_size=self._models[model_id].batch_sizes[work_of(request.condition)],
            device=self.device_name,
            seconds=collected.seconds,
            kept=keep,
        )


class _Collected:
    """Outputs of one run over one shard, batch by batch."""

    def __init__(self) -> None:
        self.sample_ids: list[int] = []
        self.logits: list[NDArray[np.float32]] = []
        self.features: list[NDArray[np.float32]] = []
        self.seconds = 0.0
        self._columns: list[dict[str, NDArray[np.generic]]] = []

    def add(
        self,
        sample_ids: list[int],
        logits: NDArray[np.float32],
        features: NDArray[np.float32] | None,
        columns: dict[str, NDArray[np.generic]],
        seconds: float,
    ) -> None:
        self.sample_ids += sample_ids
        self.logits.append(logits)
        if features is not None:
            self.features.append(features)
        self._columns.append(columns)
        self.seconds += seconds

    def columns(self) -> dict[str, NDArray[np.generic]]:
        names = self._columns[0]
        return {name: np.concatenate([columns[name] for columns in self._columns]) for name in names}


def _attacked(
    held: _Held, pixels: torch.Tensor, labels: torch.Tensor, condition: Condition, seeds: Sequence[int]
) -> torch.Tensor:
    """Adversarial pixels for one model, in float32 whatever the run's precision."""

    def network(values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = held.module(held.normalise(values))
        return logits

    eps = condition.number("eps")
    capturing, held.capturing = held.capturing, False
    try:
        return _climb(network, pixels, labels, condition, eps, seeds)
    finally:
        held.capturing = capturing


def _climb(
    network: Any,
    pixels: torch.Tensor,
    labels: torch.Tensor,
    condition: Condition,
    eps: float,
    seeds: Sequence[int],
) -> torch.Tensor:
    """The attack that a condition names."""
    if condition.kind == "fgsm":
        return fgsm(network, pixels, labels, eps=eps)
    return pgd(
        network,
        pixels,
        labels,
        eps=eps,
        alpha=condition.number("alpha"),
        steps=int(condition.parameters["steps"]),
        seeds=seeds or None,
    )


def _check_same(planned: Model, found: Model) -> None:
    """Refuse a model that is not, on this node, what it was when it was planned.

    Raises:
        ModelError: naming what differs.
    """
    now, then = found.fingerprint, planned.fingerprint
    # What was read from the store has lists where a loader has tuples.
    if canonical_json(list(found.described)) != canonical_json(list(planned.described)):
        differs = "other weights" if found.weights_hash != planned.weights_hash else "another description"
    elif then is not None and now is not None and then.agrees(now) is False:
        differs = "other answers to the fixed images, with the same weights"
    else:
        return
    raise ModelError(
        f"{found.name} is another model each time it is loaded",
        expected=f"model {planned.model_id}, as planned",
        found=differs,
        hint="load a checkpoint, or seed the random weights: torch.manual_seed(0); on a cluster, what the file imports"
        " and reads must be the same on every node",
    )


@contextlib.contextmanager
def once_per_node(model_id: str) -> Iterator[None]:
    """Let the first evaluator of a node load a model alone: what it fetches, the others find in the cache."""
    import filelock

    folder = Path(tempfile.gettempdir()) / f"qubastore-loaded-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    mark = folder / model_id
    if mark.exists():
        yield
        return
    with filelock.FileLock(folder / f"{model_id}.lock"):
        yield
        mark.touch()


def cpu_environment(threads: int | None = None) -> dict[str, str]:
    """Environment of CPU evaluators: glibc returns and fetches memory for every activation otherwise.

    It halves the time of a forward pass of EfficientNet-Lite0 on two threads.
    """
    return {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "MALLOC_TOP_PAD_": "500000000",
        "OMP_NUM_THREADS": str(threads or os.cpu_count() or 1),
    }
