"""`python:FILE.py:FACTORY`: a function of the user's own that returns (module, preprocessing). It runs the user's code.

Preprocessing is a timm data config (a dict), or a callable on a PIL image with an attribute `id`.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

from qubastore.errors import ModelError, UsageError, did_you_mean
from qubastore.evaluators.loaders import LoadedModel, SourceFile, check_module, read_preprocessing
from qubastore.models import ModelSpec


def revision(spec: ModelSpec) -> None:
    """None: the factory may read any file, so only its weights say which model it is, and planning loads them."""


def read_source(spec: ModelSpec) -> SourceFile:
    """The source, to travel by value.

    Raises:
        UsageError: where FILE.py:FACTORY is not what was typed.
        ModelError: where the file cannot be read.
    """
    file, colon, factory = spec.target.rpartition(":")
    if not colon or not factory.isidentifier():
        raise UsageError(
            f"{spec} names no factory", expected="python:FILE.py:FACTORY", hint=f"python:{spec.target}:my_net"
        )
    try:
        return SourceFile(str(Path(file).resolve()), Path(file).read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read", found=str(error), hint=f"ls {Path(file).parent}") from None


def load(spec: ModelSpec, source: SourceFile | None = None) -> LoadedModel:
    """Run the file and call the factory.

    Raises:
        ModelError: where the file fails, has no such factory, or the factory returns something else.
    """
    source = source or read_source(spec)
    path = Path(source.path)
    factory_name = spec.target.rpartition(":")[2]
    # Files beside the source can be imported and opened, as if it had been run in place.
    with _on_path(str(path.parent)):
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
        except Exception as error:
            raise ModelError(
                f"{factory_name}() of {path} failed", found=f"{type(error).__name__}: {error}", hint=f"python {path}"
            ) from error
    where = f"{path.name}:{factory_name}()"
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise ModelError(f"{where} returned a {type(returned).__name__}", expected="a tuple (module, preprocessing)")
    module, prepare = returned
    check_module(module, where)
    architecture = {"python": factory_name, "source": hashlib.sha256(source.text.encode()).hexdigest()[:32]}
    name = spec.display(f"{path.name}:{factory_name}")
    return LoadedModel(name, "python", module.eval(), read_preprocessing(prepare, where), architecture)


def _run(source: SourceFile) -> dict[str, object]:
    name = f"qubastore_model_{hashlib.sha256(source.path.encode()).hexdigest()[:8]}"
    module = types.ModuleType(name)
    module.__file__ = source.path
    # Classes defined in the file look their module up by name, dataclasses for one.
    sys.modules[name] = module
    try:
        exec(compile(source.text, source.path, "exec"), module.__dict__)
    except Exception as error:
        line = _line_of(error, source.path)
        raise ModelError(
            f"{source.path}{line} fails when it is run",
            found=f"{type(error).__name__}: {error}",
            hint=f"python {source.path}",
        ) from error
    return module.__dict__


def _line_of(error: Exception, path: str) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno},"
    trace, line = error.__traceback__, None
    while trace:
        line = trace.tb_lineno if trace.tb_frame.f_code.co_filename == path else line
        trace = trace.tb_next
    return f", line {line}," if line else ""


@contextlib.contextmanager
def _on_path(folder: str) -> Iterator[None]:
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
