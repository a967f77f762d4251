"""The core of an evaluator: run a group of models on one device over decoded shards, and write Parquet files.

It does not depend on Ray: the input is an iterator of chunks, the output a finished shard. One thread drives the device
for all shards; beside it, each shard has a thread that stacks its next batches and one that checks and collects its
outputs. Shards that are evaluated at the same time take turns on the device, so that the files of one are written while
the next one is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any, TypeVar

from qubastore.conditions import Condition
from qubastore.datasets.label_spaces import label_space
from qubastore.errors import IngestError, QubastoreError
from qubastore.evaluators.loaders.loaded import Head
from qubastore.evaluators.loaders.source import ModelSource
from qubastore.evaluators.worker.batch_size import LARGEST, Sizes, largest_that_fits, work_of
from qubastore.evaluators.worker.collected import Outgoing, ShardOutputs
from qubastore.evaluators.worker.device_decoding import decode_batch
from qubastore.evaluators.worker.environment import once_per_node
from qubastore.evaluators.worker.forward import ForwardPasses, attacked
from qubastore.evaluators.worker.held_model import HeldModel
from qubastore.evaluators.worker.images import Decoded
from qubastore.evaluators.worker.inputs import Batch, batches
from qubastore.evaluators.worker.messages import Settings, ShardRequest, ShardResult
from qubastore.evaluators.worker.normalisation import Normalisation, in_unit_range
from qubastore.evaluators.worker.pipeline import Ahead, Behind
from qubastore.evaluators.worker.recycled import Recycled
from qubastore.evaluators.worker.transfers import CpuTransfers, CudaTransfers, Transfers
from qubastore.evaluators.worker.verified_loading import load_verified
from qubastore.models.model import Model
from qubastore.models.preprocessing import Preprocessing
from qubastore.runs.shard import Failure
from qubastore.statistics import scores

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

BATCHES_AHEAD = 1
"""Batches of a shard that are stacked before the device needs them, and on a CPU normalised: four bytes a value."""

SHARDS_AHEAD = 2
"""Shards whose batches are stacked at a time: that which is computed, and the next one."""

BATCHES_BEHIND = 2
"""Batches whose outputs wait to be collected, beside one per model: how far the device may be ahead."""

WRITERS = 4
"""Threads that write the files of a shard's runs; most of it is compression, which leaves the interpreter to others."""


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
        self._transfers: Transfers = CudaTransfers(self._device) if settings.use_gpu else CpuTransfers()
        self._thread = ThreadPoolExecutor(1, "device", torch.set_num_threads, (max(1, settings.threads),))
        self._memory = Recycled()
        self._stacking = BoundedSemaphore(SHARDS_AHEAD)
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
            loaded = load_verified(model, source)
        loaded.module.to(self._device)
        new_head = None
        if loaded.texts is not None:
            new_head = loaded.texts.encode() if head is None else None
            loaded.texts.use(new_head or head)  # type: ignore[arg-type]
        module = loaded.module.to(memory_format=torch.channels_last)
        module.requires_grad_(False)
        prepare = loaded.preprocessing
        normalisation = Normalisation(prepare.mean, prepare.std) if isinstance(prepare, Preprocessing) else None
        self._models[model.model_id] = HeldModel(loaded, module, model, {}, {}, model.input_size, normalisation)
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
        return self._on_device(self._size, self._models[model_id], conditions, known)

    def _size(self, held: HeldModel, conditions: Sequence[Condition], known: Sizes) -> Sizes:
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
            held.batch_sizes[work] = held.settled_sizes[work] = size
        return found

    def _find_size(self, held: HeldModel, condition: Condition) -> tuple[int, bool]:
        """The largest batch that fits, and whether it was found by trying."""
        limit = LARGEST[self._settings.kind]
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
        """Run the models of a request on a shard, and write their files; several threads may call it.

        Args:
            request: The shard, and the runs that need it.
            chunks: Decoded parts of it, in order; another thread iterates over them.

        Returns:
            The written shards, and the errors of models that failed.
        """
        result = ShardResult()
        failures: list[Failure] = []
        held = {model_id: self._models[model_id] for model_id in request.runs}
        names = {model_id: each.loaded.name for model_id, each in held.items()}
        found = ShardOutputs(names, self._settings, self.device_name)
        work = work_of(request.condition)
        # As settled, even if memory ran out since: shards do not depend on when that was.
        size = max(each.settled_sizes[work] for each in held.values())
        ahead = (
            set()
            if self._settings.use_gpu or request.condition.is_attack or request.preparation is not None
            else {each.normalisation for each in held.values() if each.normalisation}
        )
        with (
            self._stacking,
            Ahead(
                batches(request, chunks, size, self._transfers, ahead, self._memory, failures, result), BATCHES_AHEAD
            ) as ready,
            Behind(BATCHES_BEHIND + len(held)) as behind,
        ):
            self._on_device(self._run, request, ready, behind, found, failures, result)
        runs = [model_id for model_id in request.runs if model_id not in found.errors]
        with ThreadPoolExecutor(min(len(runs), WRITERS) or 1, "writer") as writers:
            shards = [writers.submit(found.write, run, request, failures, result.n_by_pillow) for run in runs]
        for model_id, shard in zip(runs, shards, strict=True):
            try:
                result.shards.append(shard.result())
            except OSError:
                raise  # the store cannot be written, which is not the model's failure
            except Exception as error:
                found.fail(model_id, error)
        result.errors = found.errors
        return result

    def _on_device(self, work: Callable[..., T], *arguments: Any) -> T:
        """The result of work that the thread of the device does, after all that it was given before."""
        return self._thread.submit(work, *arguments).result()

    def _run(
        self,
        request: ShardRequest,
        ready: Iterable[Batch],
        behind: Behind,
        found: ShardOutputs,
        failures: list[Failure],
        result: ShardResult,
    ) -> None:
        """Run the models on every batch of a shard."""
        spaces = {model_id: label_space(space) for model_id, space in request.label_spaces.items()}
        for batch in ready:
            tensors = self._transfers.upload(batch.tensors)
            if request.preparation is not None:
                batch, tensors = decode_batch(batch, tensors, request.preparation, self._device, failures, result)
                if not batch.sample_ids:
                    continue
            for model_id in request.runs:
                if model_id in found.errors:
                    continue
                started = self._transfers.mark()
                try:
                    logits, features = self._forward(self._models[model_id], batch, tensors, request)
                    seconds = partial(self._transfers.seconds, started, self._transfers.mark())
                    outgoing = Outgoing(
                        logits, features, tensors["labels"], spaces[model_id], request.keep[model_id], self._transfers
                    )
                except Exception as error:  # a failing model does not stop the others
                    behind.call(found.fail, model_id, error)
                else:
                    behind.call(found.add, model_id, batch.sample_ids, outgoing, seconds)
            # Free its memory before the next one is taken.
            del batch, tensors
        work = work_of(request.condition)
        found.batch_sizes = {model_id: self._models[model_id].batch_sizes[work] for model_id in request.runs}

    def _forward(
        self, held: HeldModel, batch: Batch, tensors: Mapping[str, torch.Tensor], request: ShardRequest
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The logits of a batch and, if they are kept, the features; a backbone without a head gives features alone."""
        held.capturing = "features" in request.keep[held.model.model_id] and held.model.has_head
        if held.capturing:
            held.watch_features()
        if batch.encoded or held.normalisation is None:
            inputs = self._passes.prepared(held, batch.encoded)
        elif request.condition.is_attack:
            inputs = in_unit_range(tensors["images"])
        else:
            inputs = batch.normalised(held.normalisation, tensors)
        logits, features = self._passes.forward(
            held, inputs, request.condition, batch.sample_ids, tensors["labels"], batch.seeds
        )
        scores.check_shape(tuple(logits.shape), classes=request.classes[held.model.model_id], model=held.loaded.name)
        return logits, features if held.model.has_head else logits
