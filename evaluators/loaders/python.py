"""`python:FILE.py:FACTORY`: the user's own function that returns (module, preprocessing). It runs the user's code.

Preprocessing is a timm data config (a dict), or a callable on a PIL image with an attribute `id`.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import shlex
import sys
import types
from collections.abc import Iterator
from pathlib import Path

from qubastore.errors import ModelError, UsageError, check_text, did_you_mean
from qubastore.evaluators.loaders.loaded import LoadedModel, SourceFile, check_module, read_preprocessing
from qubastore.evaluators.loaders.own_modules import fresh_modules
from qubastore.models.spec import ModelSpec


def revision(spec: ModelSpec) -> None:
    """None: the factory may read any file, so only its weights identify the model, and planning loads them."""


def read_source(spec: ModelSpec) -> SourceFile:
    """The source file, to be sent by value.

    Raises:
        UsageError: if the target is not FILE.py:FACTORY.
        ModelError: if the file cannot be read.
    """
    file, colon, factory = spec.target.rpartition(":")
    if not colon or not factory.isidentifier():
        raise UsageError(
            f"{spec} does not name a factory", expected="python:FILE.py:FACTORY", hint=f"python:{spec.target}:my_net"
        )
    try:
        # Decode as Python does, with a byte-order mark or a declared encoding.
        text = importlib.util.decode_source(Path(file).read_bytes())
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        hint = f"ls {shlex.quote(str(Path(file).parent))}"
        raise ModelError(f"{file} cannot be read", found=str(error), hint=hint) from None
    return SourceFile(check_text("the path of the model's file", str(Path(file).resolve())), text)


def load(spec: ModelSpec, source: SourceFile | None = None) -> LoadedModel:
    """Run the file and call the factory.

    Raises:
        ModelError: if the file fails, does not define the factory, or the factory returns something else.
    """
    source = source or read_source(spec)
    path = Path(source.path)
    factory_name = spec.target.rpartition(":")[2]
    with fresh_modules(str(path.parent)), _on_path(str(path.parent)):
        namespace = _run(source)
        factory = namespace.get(factory_name)
        if not callable(factory):
            known = [name for name, value in namespace.items() if callable(value) and not name.startswith("_")]
            raise ModelError(
                f"{path.name} has no function {factory_name!r}",
                hint=did_you_mean(factory_name, known) or ", ".join(known),
            )
        try:
            returned = factory()
        except (Exception, SystemExit) as error:
            raise ModelError(
                f"{factory_name}() of {path} failed",
                found=f"{type(error).__name__}: {error}",
                hint=f"python {shlex.quote(str(path))}",
            ) from error
    where = f"{path.name}:{factory_name}()"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ModelError(f"{where} returned a {type(returned).__name__}", expected="a tuple (module, preprocessing)")
    module, prepare = returned
    check_module(module, where)
    # What the code computes is part of the fingerprint, so the text of the file is not part of the model: a comment or
    # another function in it does not change the model.
    name = spec.display(f"{path.name}:{factory_name}")
    return LoadedModel(name, "python", module.eval(), read_preprocessing(prepare, where), {"python": factory_name})


def _run(source: SourceFile) -> dict[str, object]:
    name = f"qubastore_model_{hashlib.sha256(source.path.encode()).hexdigest()[:8]}"
    module = types.ModuleType(name)
    module.__file__ = source.path
    # Some code looks up the module of a class by name, for example dataclasses.
    sys.modules[name] = module
    try:
        exec(compile(source.text, source.path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        line = _line_of(error, source.path)
        raise ModelError(
            f"{source.path}{line} fails when run",
            found=f"{type(error).__name__}: {error}",
            hint=f"python {shlex.quote(source.path)}",
        ) from error
    return module.__dict__


def _line_of(error: BaseException, path: str) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno},"
    trace, line = error.__traceback__, None
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == path else line
        trace = trace.tb_next
    return f", line {line}," if line else ""


@contextlib.contextmanager
def _on_path(folder: str) -> Iterator[None]:
    """Let a file import modules from its folder, as if it were run there."""
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
