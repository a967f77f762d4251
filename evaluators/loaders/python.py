"""`python:FILE.py:FACTORY`: a function of the user's own that returns (module, preprocessing). It runs the user's code.

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
from qubastore.models.spec import ModelSpec


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
        # As Python reads it: a byte-order mark and a declared encoding are no part of the text.
        text = importlib.util.decode_source(Path(file).read_bytes())
    except (OSError, UnicodeDecodeError, SyntaxError) as error:
        hint = f"ls {shlex.quote(str(Path(file).parent))}"
        raise ModelError(f"{file} cannot be read", found=str(error), hint=hint) from None
    return SourceFile(check_text("the path of the model's file", str(Path(file).resolve())), text)


def load(spec: ModelSpec, source: SourceFile | None = None) -> LoadedModel:
    """Run the file and call the factory.

    Raises:
        ModelError: where the file fails, has no such factory, or the factory returns something else.
    """
    source = source or read_source(spec)
    path = Path(source.path)
    factory_name = spec.target.rpartition(":")[2]
    # Files beside the source can be imported and opened, as if it had been run in place.
    with _beside(str(path.parent)):
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
    # What its code computes, wherever that stands, shows in its fingerprint: the file's text is no part of the model,
    # so another function in it, or a comment, changes nothing.
    name = spec.display(f"{path.name}:{factory_name}")
    return LoadedModel(name, "python", module.eval(), read_preprocessing(prepare, where), {"python": factory_name})


def _run(source: SourceFile) -> dict[str, object]:
    name = f"qubastore_model_{hashlib.sha256(source.path.encode()).hexdigest()[:8]}"
    module = types.ModuleType(name)
    module.__file__ = source.path
    # Classes defined in the file look their module up by name, dataclasses for one.
    sys.modules[name] = module
    try:
        exec(compile(source.text, source.path, "exec", dont_inherit=True), module.__dict__)
    except (Exception, SystemExit) as error:
        line = _line_of(error, source.path)
        raise ModelError(
            f"{source.path}{line} fails when it is run",
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


_imported: set[str] = set()
"""Modules that the file of the model loaded last imported from beside it."""


@contextlib.contextmanager
def _beside(folder: str) -> Iterator[None]:
    """Let a file import what lies beside it, as it is now: another file's module of the same name, or an older text of
    this one, is forgotten.
    """
    for name in _imported:
        sys.modules.pop(name, None)
    _imported.clear()
    importlib.invalidate_caches()
    before = set(sys.modules)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)
        for name in set(sys.modules) - before:
            top = sys.modules.get(name.partition(".")[0])
            origin = getattr(top, "__file__", None) or next(iter(getattr(top, "__path__", [])), None)
            if origin is not None and Path(folder) in Path(origin).parents[:2]:
                _imported.add(name)
