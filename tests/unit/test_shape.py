"""The shape of the code, read with `ast`: who may import whom, how long things get, what may stand where.

Each rule is a function that yields (line, what is wrong) for one module, beside a sample that must break it.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

import loominal
from loominal.model import errors

PACKAGE = Path(loominal.__file__).parent
MODULE_LINES = 400
FUNCTION_LINES = 50
PROGRAMS = ("warp", "weft", "runner", "shuttle", "local")
BELOW = {
    "model": {"model"},
    "broker": {"broker", "model"},
    "fabric": {"fabric", "broker", "model"},
    **{program: {program, "fabric", "broker", "model"} for program in PROGRAMS},
    "__init__": {"fabric", "model"},
    "__main__": {"local"},
}
ONLY_BROKER = {"nats", "cryptography"}
LEAN = {"model", "fabric"}  # of what is not ours and not the standard library's they import msgspec alone
IMPURE = {"asyncio", "io", "os", "random", "secrets", "shutil", "socket", "subprocess", "tempfile", "threading", "time"}
IMPURE_CALLS = {"now", "utcnow", "today", "open", "print", "input", "uuid1", "uuid4"}
VAGUE = {"utils", "util", "common", "helpers", "helper", "base", "manager", "managers", "misc"}
BROAD = {"Exception", "BaseException"}
LAST_DEFENCES = {"fabric/hub/dispatch.py", "broker/line.py"}  # one bad request, one failing handler
SUBJECT = re.compile(r"^(rq|hb|ctl|ev|due|l|xp|xn)\.([\w*>-]|$)|\$(JS|SYS|KV|O)\b|\b_(IB|INBOX)\b")
STREAM = re.compile(r"(CH|IN|WK|EV|REG|KV)_")

Breaches = Iterator[tuple[int, str]]
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Module:
    """One file of the package: its path below src/loominal and its text."""

    path: str
    text: str

    @property
    def parts(self) -> list[str]:
        return self.path.removesuffix(".py").split("/")

    @property
    def layer(self) -> str:
        return self.parts[0]

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path, feature_version=(3, 11))


def imports(module: Module) -> Iterator[tuple[int, str]]:
    """Yield the line and full name of everything imported, by statement or by import_module("…")."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                # the bare package holds nothing but the version and lazy re-exports
                yield from ((node.lineno, alias.name) for alias in names if alias.name != "loominal")
            case ast.ImportFrom(module="loominal", names=names):
                yield from ((node.lineno, f"loominal.{alias.name}") for alias in names)
            case ast.ImportFrom(module=str(name), level=0):
                yield node.lineno, name
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def imports_point_down(module: Module) -> Breaches:
    allowed = BELOW.get(module.layer, set())
    for line, name in imports(module):
        top, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if top == "loominal" and target != "__version__" and target not in allowed:
            yield line, f"{module.layer} must not import {name}"


def libraries_stay_in_their_layer(module: Module) -> Breaches:
    for line, name in imports(module):
        top = name.partition(".")[0]
        if top in ONLY_BROKER and module.layer != "broker":
            yield line, f"only broker imports {top}"
        elif module.layer in LEAN and top not in {"loominal", "msgspec", *sys.stdlib_module_names}:
            yield line, f"{module.layer} imports msgspec and the standard library, not {top}"


def model_is_pure(module: Module) -> Breaches:
    if module.layer != "model":
        return
    for line, name in imports(module):
        if name.partition(".")[0] in IMPURE:
            yield line, f"model must not import {name}"
    for node in ast.walk(module.tree):
        match node:
            case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield node.lineno, "model awaits nothing"
            case ast.Call(func=ast.Name(id=called) | ast.Attribute(attr=called)) if called in IMPURE_CALLS:
                yield node.lineno, f"model must not call {called}()"


def lengths_are_bounded(module: Module) -> Breaches:
    if (lines := module.text.count("\n")) > MODULE_LINES:
        yield lines, f"the module has {lines} lines, over {MODULE_LINES}: split it by noun"
    for node in ast.walk(module.tree):
        if isinstance(node, Function):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, over {FUNCTION_LINES}"


def names_say_what_is_inside(module: Module) -> Breaches:
    for part in module.parts:
        if part.strip("_") in VAGUE:
            yield 1, f"{part!r} does not say what is inside"


def only_main_catches_everything(module: Module) -> Breaches:
    if module.parts[-1] == "main" or module.path in LAST_DEFENCES:
        return
    for node in ast.walk(module.tree):
        match node:
            case ast.ExceptHandler(type=None):
                yield node.lineno, "bare except"
            case ast.ExceptHandler(type=ast.Name(id="BaseException"), body=[*_, ast.Raise(exc=None)]):
                pass  # cleans up and passes it on
            case ast.ExceptHandler(type=ast.expr() as caught):
                yield from broad(caught, "except")
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=args):
                for arg in args:
                    yield from broad(arg, "suppress")


def broad(caught: ast.expr, how: str) -> Breaches:
    for node in ast.walk(caught):
        if isinstance(node, ast.Name) and node.id in BROAD:
            yield node.lineno, f"{how} {node.id} stands only in a main.py"


def only_broker_names_subjects(module: Module) -> Breaches:
    if module.layer == "broker":
        return
    docstrings = {node.value for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(module.tree):
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings and SUBJECT.search(text):
                yield node.lineno, f"{text!r} looks like a subject: name it in broker/subjects.py"
            case ast.JoinedStr(values=[ast.Constant(value=str(text)), *_]) if STREAM.fullmatch(text):
                yield node.lineno, f"{text!r} looks like a stream: name it in broker/subjects.py"


def public_things_have_docstrings(module: Module) -> Breaches:
    tree = module.tree
    if tree.body and not ast.get_docstring(tree):
        yield 1, "the module does not say what it owns"
    yield from undocumented(tree)


def undocumented(scope: ast.Module | ast.ClassDef) -> Breaches:
    for node in scope.body:
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_") or repeats(node):
            continue
        if not ast.get_docstring(node):
            yield node.lineno, f"{node.name} has no docstring"
        if isinstance(node, ast.ClassDef):
            yield from undocumented(node)


def repeats(node: Function | ast.ClassDef) -> bool:
    """Return whether this is one more form of something documented elsewhere: an overload or a property's setter."""
    decorators = [ast.unparse(decorator).split(".")[-1] for decorator in node.decorator_list]
    return not {"overload", "setter", "deleter"}.isdisjoint(decorators)


BREAKING: dict[Callable[[Module], Breaches], list[Module]] = {
    imports_point_down: [
        Module("model/work.py", "from loominal.broker.subjects import item\n"),
        Module("local/up.py", "def up():\n    import loominal.weft.main\n"),
        Module("fabric/client.py", "from loominal import connect\n"),
        Module("warp/main.py", "from importlib import import_module\nimport_module('loominal.local.up')\n"),
    ],
    libraries_stay_in_their_layer: [
        Module("weft/main.py", "import nats.aio.client\n"),
        Module("fabric/client.py", "import click\n"),
    ],
    model_is_pure: [
        Module("model/times.py", "import time\n"),
        Module("model/times.py", "from datetime import datetime\nNOW = datetime.now()\n"),
        Module("model/work.py", "async def step(): ...\n"),
    ],
    lengths_are_bounded: [
        Module("fabric/client.py", "#\n" * (MODULE_LINES + 1)),
        Module("fabric/client.py", "def long():\n" + "    x = 1\n" * FUNCTION_LINES),
    ],
    names_say_what_is_inside: [Module("weft/utils.py", ""), Module("weft/mechanisms/base.py", "")],
    only_main_catches_everything: [
        Module("weft/serve.py", "try:\n    x\nexcept (OSError, Exception):\n    pass\n"),
        Module("weft/serve.py", "try:\n    x\nexcept:\n    pass\n"),
        Module("weft/serve.py", "try:\n    x\nexcept BaseException:\n    pass\n"),
        Module("weft/serve.py", "with contextlib.suppress(Exception):\n    x\n"),
    ],
    only_broker_names_subjects: [
        Module("fabric/client.py", "f'rq.{project}.work.{agent}'\n"),
        Module("fabric/client.py", "STATS = '$SYS.REQ.SERVER.PING'\n"),
        Module("fabric/client.py", "name = f'WK_{project}'\n"),
    ],
    public_things_have_docstrings: [
        Module("fabric/client.py", "x = 1\n"),
        Module("fabric/client.py", '"""Text."""\nclass Agent:\n    """Text."""\n    def send(self): ...\n'),
    ],
}


def read(rule: Callable[[Module], Breaches], module: Module) -> list[tuple[int, str]]:
    try:
        return list(rule(module))
    except SyntaxError as error:
        return [(error.lineno or 1, f"not Python 3.11: {error.msg}")]


@pytest.fixture(scope="module")
def modules() -> list[Module]:
    return [Module(str(path.relative_to(PACKAGE)), path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))]


@pytest.mark.parametrize("rule", BREAKING, ids=lambda rule: rule.__name__)
def test_the_code_keeps_the_rule(rule: Callable[[Module], Breaches], modules: list[Module]) -> None:
    breaches = [f"src/loominal/{module.path}:{line}: {what}" for module in modules for line, what in read(rule, module)]

    assert not breaches, "\n" + "\n".join(breaches)


@pytest.mark.parametrize(
    ("rule", "sample"), [(rule, sample) for rule, samples in BREAKING.items() for sample in samples]
)
def test_the_rule_catches_a_breach(rule: Callable[[Module], Breaches], sample: Module) -> None:
    assert list(rule(sample))


def test_the_package_exports_every_error_a_caller_can_meet() -> None:
    met = {cls.__name__ for cls in errors.BY_CODE.values()} - {"Conflict"}  # that one never leaves the hub

    assert met <= set(loominal.__all__)
    assert loominal.LeaseLost is errors.LeaseLost
