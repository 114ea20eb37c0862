"""What the source of a class says, so that two versions of a class can be told apart.

Only what may change a result counts: not where a file lies, nor its imports, comments, docstrings
and lay-out, nor what a class does not use.
"""

import ast
import hashlib
import inspect
import sys
from collections.abc import Iterator
from functools import lru_cache


def source_sha256(kind: type, base: type = object) -> str:
    """Return the SHA-256 over the source of a class and its bases; empty where it can't be read.

    The definitions of a module that a class names count with it, and what those name in turn.

    Args:
        kind: The class.
        base: Its bases above this one are left out, and so is this one.
    """
    digest = hashlib.sha256()
    for part in kind.__mro__:
        if part not in base.__mro__ and issubclass(part, base):
            try:
                # A class is hashable, whatever its objects are.
                texts = _texts(part)  # type: ignore[arg-type]
            except (KeyError, OSError, TypeError, SyntaxError):
                # A notebook's cell, a class made by exec, or a module without a file.
                return ""
            for text in texts:
                digest.update(text.encode())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _texts(kind: type) -> tuple[str, ...]:
    """Return the syntax trees, as text, of a class and of what it uses of its module."""
    source = ast.parse(inspect.getsource(sys.modules[kind.__module__]))
    defined = {name: node for node in source.body for name in _names(node)}
    if kind.__qualname__ not in defined:
        # It was made inside a function.
        source = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind)))
        return (_text(source),)
    wanted, used = [kind.__qualname__], dict.fromkeys([kind.__qualname__])
    while wanted:
        node = defined[wanted.pop()]
        named = sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)} & defined.keys())
        wanted += [name for name in named if name not in used]
        used |= dict.fromkeys(named)
    # A tuple's names share one definition.
    return tuple(sorted({_text(defined[name]) for name in used}))


def _names(node: ast.stmt) -> Iterator[str]:
    """Yield what a statement of a module defines; imports define nothing that counts."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def _text(tree: ast.AST) -> str:
    """Return a tree as text without docstrings and imports."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        # A lambda's body is no list.
        if isinstance(body, list):
            body[:] = [part for part in body if not _silent(part)]
    return ast.unparse(tree)


def _silent(node: ast.AST) -> bool:
    """Return whether a statement changes no result: an import, or a text that stands alone."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text or isinstance(node, ast.Import | ast.ImportFrom)
