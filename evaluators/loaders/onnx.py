"""`onnx:FILE.onnx`: networks that run in onnxruntime, with the preprocessing that `preprocess=` gives.

They have no gradients, so attacks refuse them, and no layers that can be seen: no features, MACs or activations.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qubastore.errors import ModelError, in_one_line
from qubastore.evaluators.loaders.checkpoints import file_hash, revision_of
from qubastore.evaluators.loaders.extras import require
from qubastore.evaluators.loaders.graph_files import check_graph, prepared_as, readable
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.hashing import identifier
from qubastore.models.spec import ModelSpec


def revision(spec: ModelSpec) -> str | None:
    """The hash of the file and of the files that its weights are in."""
    require("onnx", spec)
    require("onnxruntime", spec)
    return revision_of(spec, Path(spec.target).name, _identity(readable(spec), str(spec)))


def load(spec: ModelSpec, _: SourceFile | None = None) -> LoadedModel:
    """Read the file.

    Raises:
        ModelError: if it cannot be read, or does not take a batch of images of any number.
    """
    require("onnx", spec)
    require("onnxruntime", spec)
    from qubastore.evaluators.loaders.onnx_network import OnnxNetwork

    where, path = f"onnx:{spec.target}", readable(spec)
    try:
        network = OnnxNetwork(path)
    except Exception as error:
        raise ModelError(f"{where} cannot be read by onnxruntime", found=in_one_line(error)[:300]) from error
    prepare = prepared_as(spec)
    dynamic = "dynamic_axes or dynamic_shapes for torch.onnx.export"
    check_graph(where, network.input_shapes, network.n_outputs, prepare, dynamic)
    if network.input_type != "tensor(float)":
        raise ModelError(f"{where} takes {network.input_type}", expected="float32 images, tensor(float)")
    described = {"onnx": _identity(path, where)}
    size = _n_parameters(path)
    return LoadedModel(spec.display(path.name), "onnx", network, prepare, described, parameters=size)


def _identity(path: Path, where: str) -> str:
    """The hash of the graph and of the files beside it that hold its weights."""
    import onnx

    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception as error:
        raise ModelError(f"{where} is not an ONNX file", found=in_one_line(error)[:300]) from error
    beside = {
        entry.value
        for tensor in _tensors(graph)
        for entry in tensor.external_data
        if tensor.data_location == onnx.TensorProto.EXTERNAL and entry.key == "location"
    }
    return identifier("onnx", file_hash(str(path)), *(file_hash(str(path.parent / name)) for name in sorted(beside)))


def _tensors(graph: Any) -> Iterator[Any]:
    """All tensors that a graph carries, also those of its nodes' attributes and of the graphs within."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _n_parameters(path: Path) -> int:
    """The number of values of the graph's floating-point tensors of weights."""
    import math

    import onnx

    floating = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16}
    graph = onnx.load(str(path), load_external_data=False).graph
    return sum(math.prod(tensor.dims) for tensor in graph.initializer if tensor.data_type in floating)
