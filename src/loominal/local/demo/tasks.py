"""The work of the demo: what can be found out about Python files. Agents do it, and the boss again, to compare."""

from __future__ import annotations

import ast
import hashlib
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loominal.model.agent import JsonObject

TEST_SECONDS = 30.0
LONG_LINES = 40  # a function over this is called long
SECRET = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY|\b(?:SU|SA|SO)[A-Z2-7]{56}\b|(?i:password) *= *['\"]\w")
MARKER = re.compile(r"\b(TODO|FIXME|XXX)\b")
SALT = b"loominal demo"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What an item asks for; it travels as the item's context data."""

    task: str
    path: str  # a Python file, or a directory of them
    rounds: int = 0  # of key stretching


@dataclass(frozen=True)
class Given:
    """What a task works on: sources by their path below the request's, oldest parent first."""

    request: Request
    sources: dict[str, bytes]
    parents: tuple[JsonObject, ...]
    report: Callable[[float], None]

    def trees(self) -> Iterator[tuple[str, ast.Module]]:
        """Yield every file parsed. Raises: SyntaxError."""
        for place, (name, source) in enumerate(self.sources.items()):
            yield name, ast.parse(source, name)
            self.report(100 * (place + 1) / len(self.sources))


def run(
    request: Request, parents: tuple[JsonObject, ...] = (), report: Callable[[float], None] | None = None
) -> JsonObject:
    """Return what the request asks for; `report` hears the percentage. Raises: SyntaxError, OSError, ValueError."""
    path = Path(request.path)
    files = [path] if path.is_file() else sorted(path.rglob("*.py"))
    sources = {str(file.relative_to(path)) if file != path else file.name: file.read_bytes() for file in files}
    return TASKS[request.task](Given(request, sources, parents, report or (lambda _: None)))


def rounds_for(seconds: float) -> int:
    """Return how many rounds of key stretching take about so long on this machine."""
    began, sample = time.perf_counter(), 20_000
    hashlib.pbkdf2_hmac("sha256", b"sample", SALT, sample)
    return max(int(sample * seconds / (time.perf_counter() - began)), 1)


def _count(given: Given) -> JsonObject:
    """Return how many lines there are, and of which kind."""
    lines = [line.strip() for source in given.sources.values() for line in source.splitlines()]
    comments = sum(line.startswith(b"#") for line in lines)
    return {"files": len(given.sources), "lines": len(lines), "blank": lines.count(b""), "comments": comments}


def _hash(given: Given) -> JsonObject:
    """Return one SHA-256 over the list that sha256sum would print."""
    listed = [f"{hashlib.sha256(source).hexdigest()}  {name}\n" for name, source in given.sources.items()]
    return {"files": len(listed), "sha256": hashlib.sha256("".join(listed).encode()).hexdigest()}


def _compile(given: Given) -> JsonObject:
    """Return how much byte code the files make."""
    sizes = [len(compile(tree, name, "exec").co_code) for name, tree in given.trees()]
    return {"files": len(sizes), "moduleBytes": sum(sizes)}


def _lint(given: Given) -> JsonObject:
    """Return what a strict reader would remark."""
    remarks: Counter[str] = Counter()
    for _, tree in given.trees():
        for node in ast.walk(tree):
            match node:
                case ast.ExceptHandler(type=None):
                    remarks["bare except"] += 1
                case ast.FunctionDef(returns=None) | ast.AsyncFunctionDef(returns=None):
                    remarks["no return type"] += 1
                case ast.FunctionDef() | ast.AsyncFunctionDef() if _length(node) > LONG_LINES:
                    remarks["long function"] += 1
                case ast.Name(id="print" | "eval" | "exec"):
                    remarks[node.id] += 1
    return {"files": len(given.sources), "remarks": dict(sorted(remarks.items()))}


def _imports(given: Given) -> JsonObject:
    """Return which package of ours imports which other, and how often."""
    edges: Counter[str] = Counter()
    for name, tree in given.trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("loominal."):
                target = (node.module or "").split(".")[1]
                if (here := name.split("/")[0]) != target:
                    edges[f"{here} -> {target}"] += 1
    return {"modules": len(given.sources), "edges": dict(sorted(edges.items()))}


def _markers(given: Given) -> JsonObject:
    """Return how much was left to do, by the word that says so."""
    found = Counter(word for source in given.sources.values() for word in MARKER.findall(source.decode()))
    return {"files": len(given.sources), "markers": dict(sorted(found.items()))}


def _audit(given: Given) -> JsonObject:
    """Return the files that seem to hold a secret."""
    return {
        "files": len(given.sources),
        "suspects": [name for name, source in given.sources.items() if SECRET.search(source)],
    }


def _test(given: Given) -> JsonObject:
    """Return how many tests the file has and whether all pass; they run in a process of their own."""
    path = Path(given.request.path)
    command = [sys.executable, "-m", "unittest", path.name]
    said = subprocess.run(command, cwd=path.parent, capture_output=True, text=True, timeout=TEST_SECONDS, check=False)
    ran = re.search(r"^Ran (\d+) tests?", said.stderr, re.MULTILINE)
    return {"tests": int(ran[1]) if ran else 0, "passed": said.returncode == 0}


def _stretch(given: Given) -> JsonObject:
    """Return a checksum that takes its time: each file's digest is stretched, and they are chained."""
    chained = b""
    for place, source in enumerate(given.sources.values()):
        chained = hashlib.pbkdf2_hmac("sha256", chained + source, SALT, given.request.rounds)
        given.report(100 * (place + 1) / len(given.sources))
    return {"files": len(given.sources), "sha256": chained.hex()}


def _merge(given: Given) -> JsonObject:
    """Return what the parents found, in one. Raises: ValueError if they have nothing to tell."""
    if len(given.parents) < 2 or not all(given.parents):
        raise ValueError(f"two results are to be merged, {len(given.parents)} are here")
    return {name: value for parent in given.parents for name, value in parent.items()}


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


TASKS: dict[str, Callable[[Given], JsonObject]] = {
    "audit": _audit,
    "compile": _compile,
    "count": _count,
    "hash": _hash,
    "imports": _imports,
    "lint": _lint,
    "markers": _markers,
    "merge": _merge,
    "stretch": _stretch,
    "test": _test,
}
