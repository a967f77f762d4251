"""`export:FILE.pt2`: networks that torch.export saved, with the preprocessing that `preprocess=` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qubastore.errors import ModelError, in_one_line
from qubastore.evaluators.loaders.checkpoints import file_hash, revision_of
from qubastore.evaluators.loaders.graph_files import check_graph, prepared_as, readable, tensors_only
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile
from qubastore.models.spec import ModelSpec


def revision(spec: ModelSpec) -> str | None:
    """The hash of the file."""
    return revision_of(spec, Path(spec.target).name, file_hash(str(readable(spec))))


def load(spec: ModelSpec, _: SourceFile | None = None) -> LoadedModel:
    """Read the file.

    Raises:
        ModelError: if it cannot be read, or does not take a batch of images of any number.
    """
    import torch

    from qubastore.evaluators.loaders.exported import ExportedNetwork

    where, path = f"export:{spec.target}", readable(spec)
    try:
        with tensors_only():
            program = torch.export.load(path)
        module = program.module()
    except Exception as error:
        raise ModelError(
            f"{where} cannot be read by torch {torch.__version__}",
            expected="a file that torch.export.save wrote with this release, or one that it still reads",
            found=in_one_line(error)[:300],
            hint="export it again with this torch: torch.export.save(torch.export.export(net, ...), FILE)",
        ) from error
    names = program.graph_signature.user_inputs
    shapes: list[Any] = [
        [size if isinstance(size, int) else None for size in node.meta["val"].shape]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and hasattr(node.meta.get("val"), "shape")
    ]
    prepare = prepared_as(spec)
    dynamic = 'dynamic_shapes={"x": {0: torch.export.Dim("n")}} for torch.export.export'
    check_graph(where, shapes, len(program.graph_signature.user_outputs), prepare, dynamic)
    return LoadedModel(spec.display(Path(spec.target).name), "export", ExportedNetwork(module), prepare, {"export": 1})
