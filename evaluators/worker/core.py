"""The core of an evaluator: run a group of models on one device over decoded shards, and write Parquet files.

It does not depend on Ray: the input is an iterator of chunks, the output a finished shard.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from qubastore.conditions import SIGNIFICANT_BITS, Condition
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import IngestError, OutputError, QubastoreError, in_one_line
from qubastore.evaluators.loaders.describe import describe
from qubastore.evaluators.loaders.loaded import Head
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.worker.batch_size import LARGEST, Sizes, batch_end, largest_that_fits, work_of
from qubastore.evaluators.worker.collected import Collected
from qubastore.evaluators.worker.environment import once_per_node
from qubastore.evaluators.worker.forward import ForwardPasses, attacked
from qubastore.evaluators.worker.held_model import HeldModel
from qubastore.evaluators.worker.images import Decoded
from qubastore.evaluators.worker.messages import Settings, ShardRequest, ShardResult
from qubastore.evaluators.worker.verified_loading import check_same
from qubastore.lake.object_storage import DataFiles
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.runs import outputs
from qubastore.runs.shard import Failure, Shard
from qubastore.statistics import scores

if TYPE_CHECKING:
    import torch


class ShardEvaluator:
    """Holds models on one device and runs them on decoded shards."""

    def __init__(self, settings: Settings) -> None:
        import torch

        self._settings = settings
        if settings.use_gpu and not torch.cuda.is_available():
            raise IngestError(
                "Ray gave this evaluator a GPU, but torch finds none",
                expected="a torch build that supports the driver",
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
        self._passes = ForwardPasses(self._device, self.device_name, settings.precision)
        self._models: dict[str, HeldModel] = {}

    def load(self, model: Model, source: ModelSource, head: Head | None = None) -> Head | None:
        """Load a model and check that it is the planned one.

        Args:
            model: The planned model.
            source: How to load it.
            head: For a zero-shot model, its head if it is stored.

        Returns:
            The head if it had to be computed, so that it can be stored.

        Raises:
            ModelError: if it cannot be loaded, or is not the planned model.
        """
        import torch

        with once_per_node(model.model_id):
            loaded = source.load()
        check_same(model, describe(loaded, thorough=False))
        loaded.module.to(self._device)
        new_head = None
        if loaded.texts is not None:
            new_head = loaded.texts.encode() if head is None else None
            loaded.texts.use(new_head or head)  # type: ignore[arg-type]
        module = loaded.module.to(memory_format=torch.channels_last)
        module.requires_grad_(False)
        mean = std = None
        if isinstance(loaded.preprocessing, Preprocessing):
            mean, std = (
                torch.tensor(values, dtype=torch.float32, device=self._device).view(1, 3, 1, 1)
                for values in (loaded.preprocessing.mean, loaded.preprocessing.std)
            )
        self._models[model.model_id] = HeldModel(loaded, module, model, {}, model.input_size, mean, std)
        return new_head

    def device(self) -> str:
        """The name of the device."""
        return self.device_name

    def size(self, model_id: str, conditions: Sequence[Condition], known: Sizes) -> Sizes:
        """Set the batch size of each kind of work that conditions need; all models of the group are loaded.

        Args:
            model_id: The model.
            conditions: The conditions to run it under.
            known: Sizes found before on such a device.

        Returns:
            The sizes that had to be found by trying.
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

    def _find_size(self, held: HeldModel, condition: Condition) -> tuple[int, bool]:
        """The largest batch that fits, and whether it was found by trying."""
        limit = LARGEST["gpu" if self._settings.use_gpu else "cpu"]
        if held.input_size is None:
            # A function preprocesses the images, and their size is known only with the first one.
            return LARGEST["cpu"], False
        try:
            held.use(condition, self._device)
        except QubastoreError:
            return 1, False
        return largest_that_fits(lambda size: self._fits(held, condition, size), limit), True

    def _fits(self, held: HeldModel, condition: Condition, size: int) -> bool:
        import torch

        side = condition.resolution
        height, width = (side, side) if side else held.input_size  # type: ignore[misc]
        try:
            pixels = torch.zeros(size, 3, height, width, device=self._device)
            if condition.is_attack:
                # One gradient takes as much memory as ten.
                right = torch.zeros(size, dtype=torch.int64, device=self._device)
                pixels = attacked(held, pixels, right, Condition.parse("fgsm"), ())
            self._passes.call(held, held.use(condition, self._device), held.normalise(pixels), size)
        except Exception:
            # Usually out of memory. Any other error is raised again, with its reason, when real images are run.
            return False
        finally:
            if self._settings.use_gpu:
                torch.cuda.empty_cache()
        return True

    def evaluate(self, request: ShardRequest, chunks: Iterable[Decoded]) -> ShardResult:
        """Run the models of a request on a shard, and write their files.

        Args:
            request: The shard, and the runs that need it.
            chunks: Decoded parts of it, in order.

        Returns:
            The written shards, and the errors of models that failed.
        """
        result = ShardResult()
        collected = {model_id: Collected() for model_id in request.runs}
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
                    raise  # the store cannot be written, which is not the model's failure
                except Exception as error:
                    result.errors[model_id] = self._failure(model_id, error)
        return result

    def _failure(self, model_id: str, error: Exception) -> QubastoreError:
        """The error of a model that failed, which does not stop the others of its group."""
        if isinstance(error, QubastoreError):
            return error
        text = in_one_line(error)
        return OutputError(
            f"{self._models[model_id].loaded.name} failed in its forward pass",
            found=text[:300],
            hint="qubastore ingest --limit 8 ...",
        )

    def _batches(
        self, chunks: Iterable[Decoded], size: int, failures: list[Failure], result: ShardResult
    ) -> Iterator[tuple[list[int], Any]]:
        """Batches of the decodable samples of the dataset's places 0 to size - 1, size to 2 size - 1, and so on.

        The other images in a batch can change the last digits of an image's outputs, so they depend on its place in the
        dataset and the batch size alone: not on the shard size, nor on images before it that cannot be decoded.
        """
        ids: list[int] = []
        parts: list[Any] = []
        for decoded in chunks:
            failures += decoded.failures
            result.contents.update(decoded.contents)
            result.decode_seconds += decoded.seconds
            ids += decoded.sample_ids
            parts += list(decoded.pixels) if decoded.pixels is not None else decoded.images
            while ids and (n := batch_end(ids, size)) < len(ids):
                yield ids[:n], parts[:n]
                ids, parts = ids[n:], parts[n:]
        if ids:
            yield ids, parts

    def _forward_all(
        self,
        batch: Sequence[Any],
        sample_ids: list[int],
        request: ShardRequest,
        collected: Mapping[str, Collected],
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
        # Models with the same normalisation share it; for small networks it takes most of the time.
        normalised: dict[Any, torch.Tensor] = {}
        for model_id in request.runs:
            if model_id in result.errors:
                continue
            held = self._models[model_id]
            started = time.perf_counter()
            try:
                if pixels is None:
                    inputs = self._passes.prepared(held, batch)
                elif request.condition.is_attack:
                    inputs = pixels
                else:
                    if held.normalisation not in normalised:
                        normalised[held.normalisation] = held.normalise(pixels)
                    inputs = normalised[held.normalisation]
                held.capturing = "features" in request.keep[model_id]
                if held.capturing:
                    held.watch_features()
                logits, features = self._passes.forward(
                    held, inputs, request.condition, sample_ids, first_labels, seeds
                )
                scores.check_logits(logits, classes=request.classes or logits.shape[-1], model=held.loaded.name)
                seconds = time.perf_counter() - started
                columns = scores.output_columns(logits, labels, label_space(request.label_space))
                collected[model_id].add(sample_ids, logits, features, columns, seconds)
            except Exception as error:  # a failing model does not stop the others
                result.errors[model_id] = self._failure(model_id, error)

    def _write(self, model_id: str, collected: Collected, request: ShardRequest, failures: Sequence[Failure]) -> Shard:
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
