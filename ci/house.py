"""Print the shape of the house: rooms, floors, imports that run back up, and what is central.

    python ci/house.py [CHECKOUT]          what the imports say, nothing is run
    python ci/house.py --walk              follow one synthetic sample through the code on the path

A room is a folder of modules. It stands on the floor above the highest room that it imports. Where
two rooms import each other, the smaller number of imports counts as running back up.
"""

import argparse
import ast
import io
import sys
import tempfile
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path

PACKAGES = {
    "gptfl_bench": "benchmark",
    "gptfl_methods": "methods",
    "gptfl_datasets": "datasets",
    "gptfl_reports": "reports",
}
"""Our packages, and the folder of each."""


def modules(root: Path) -> dict[str, str]:
    """Return the source of each module of ours by its dotted name."""
    found = {}
    for package, folder in PACKAGES.items():
        for path in sorted((root / folder / package).rglob("*.py")):
            name = ".".join(path.relative_to(root / folder).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path.read_text(encoding="utf-8")
    return found


def imports(text: str, known: Mapping[str, str], *, everywhere: bool = True) -> Iterator[str]:
    """Yield the modules of ours that a source imports.

    Args:
        text: The source.
        known: All modules of ours.
        everywhere: Whether imports inside functions and for type checkers count, too.
    """
    for full, base in _named(text, everywhere):
        name = full if full in known else base
        if name.partition(".")[0] in PACKAGES:
            yield name


@cache
def parsed(text: str) -> ast.Module:
    """Return a source's tree, which nobody is to change."""
    return ast.parse(text)


@cache
def _named(text: str, everywhere: bool) -> tuple[tuple[str, str], ...]:
    return tuple(_imports(parsed(text), everywhere))


def _imports(tree: ast.AST, everywhere: bool) -> Iterator[tuple[str, str]]:
    """Yield what is imported, and what it is imported from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            # "from package import module" names a module, "from module import name" its parent.
            yield from ((f"{base}.{alias.name}", base) for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            if everywhere:
                yield from _imports(node, everywhere)
        elif everywhere or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(node, everywhere)


def room(module: str, known: Mapping[str, str]) -> str:
    """Return the folder a module lies in, as a dotted name; a package is its own room."""
    is_package = any(name.startswith(f"{module}.") for name in known)
    return module if is_package else module.rpartition(".")[0]


def arrows(known: Mapping[str, str]) -> Counter[tuple[str, str]]:
    """Return how many imports lead from one room to another."""
    return Counter(
        (here, there)
        for module, text in known.items()
        for target in imports(text, known)
        for here, there in [(room(module, known), room(target, known))]
        if here != there
    )


def back_up(counted: Mapping[tuple[str, str], int]) -> int:
    """Return how many imports run back up, the fewer of each pair of rooms."""
    return sum(
        min(number, counted[there, here])
        for (here, there), number in counted.items()
        if here < there and (there, here) in counted
    )


def circle(known: Mapping[str, str], place: Callable[[str], str] = str) -> list[str]:
    """Return modules that import one another in a circle when they are loaded; empty if none.

    Args:
        known: All modules of ours.
        place: Gives what stands for a module, such as its room, where its circles are looked for.
    """
    targets: dict[str, set[str]] = {}
    for name, text in known.items():
        named = {*imports(text, known, everywhere=False)} & known.keys()
        targets.setdefault(place(name), set()).update(map(place, named))
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for target in sorted(targets[name] - {name}):
                if found := visit(target, (*path, name)):
                    return found
            done.add(name)
        return []

    return next((found for name in targets if (found := visit(name, ()))), [])


def floors(counted: Mapping[tuple[str, str], int]) -> int:
    """Return the number of floors; rooms that import each other share one."""
    below: dict[str, set[str]] = {}
    for here, there in counted:
        mutual = counted.get((there, here), 0)
        if not mutual or counted[here, there] > mutual:
            below.setdefault(here, set()).add(there)

    def height(name: str, path: tuple[str, ...] = ()) -> int:
        under = [part for part in below.get(name, ()) if part not in path]
        return 1 + max((height(part, (*path, name)) for part in under), default=0)

    return max(map(height, below), default=1)


def code_lines(text: str) -> list[str]:
    """Return a source's lines of code, stripped: no blanks, comments, docstrings or imports."""
    left_out: set[int] = set()
    for node in ast.walk(parsed(text)):
        text_alone = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_import = isinstance(node, ast.Import | ast.ImportFrom)
        if isinstance(node, ast.stmt) and (text_alone or is_import):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1].strip().startswith("#"):
            left_out.add(token.start[0])
    return [
        line.strip()
        for number, line in enumerate(lines, 1)
        if number not in left_out and line.strip()
    ]


def server_fields(known: Mapping[str, str]) -> int:
    """Return how many fields the engine's ``Server`` has."""
    for name, text in known.items():
        if name in ("gptfl_bench.server", "gptfl_bench.engine.server"):
            for node in ast.parse(text).body:
                if isinstance(node, ast.ClassDef) and node.name == "Server":
                    return sum(isinstance(part, ast.AnnAssign) for part in node.body)
    return 0


def walk() -> str:
    """Return how many modules a synthetic sample enters in GPT-FL's preparation.

    Counts the files of ours in which a function is called between the beginning and the end of
    ``GptFl.prepare``, and how often a call enters the file of ``Server`` from another one to bring
    labels, samples or weights; handing over a resource is no such call.
    """
    import gptfl_bench
    from gptfl_methods.gptfl import GptFl

    entered: Counter[str] = Counter()
    prepare = GptFl.prepare
    bringing = ("discover_labels", "synthetic", "pretrain")

    def note(frame: object, event: str, _: object) -> None:
        code = getattr(frame, "f_code")  # noqa: B009 - frames have no public type
        if event == "call" and "gptfl_" in code.co_filename:
            entered[code.co_filename] += 1
            if code.co_filename.endswith("server.py") and code.co_name in bringing:
                entered["server"] += 1

    def watched(self: GptFl, server: object) -> object:
        sys.setprofile(note)
        try:
            return prepare(self, server)  # type: ignore[arg-type]
        finally:
            sys.setprofile(None)

    GptFl.prepare = watched  # type: ignore[method-assign, assignment]
    with tempfile.TemporaryDirectory() as scratch:
        gptfl_bench.run(
            "gptfl",
            seeds=[0],
            preset="quick",
            rounds=0,
            out=Path(scratch) / "out",
            cache=Path(scratch) / "cache",
            synthetic={"generator": "renderer", "multiplier": 0.05},
            quality={"samples": 0},
        )
    met = entered.pop("server", 0)
    return f"a synthetic sample enters {len(entered)} modules and meets Server {met} times"


def main() -> int:
    """Print the figures of a checkout."""
    parser = argparse.ArgumentParser(description="The shape of the house.")
    parser.add_argument("checkout", nargs="?", type=Path, default=Path(__file__).parents[1])
    parser.add_argument("--walk", action="store_true", help="follow a synthetic sample")
    options = parser.parse_args()
    if options.walk:
        print(walk())
        return 0
    known = modules(options.checkout)
    counted = arrows(known)
    held = Counter(room(name, known) for name in known if room(name, known) != name)
    fullest, most = held.most_common(1)[0]
    lengths = {name: len(text.splitlines()) for name, text in known.items()}
    methods = [name for name in known if name.rpartition(".")[0] == "gptfl_methods"]
    print(f"modules: {sum(held.values())} in {len(held)} rooms, at most {most} ({fullest})")
    print(f"floors: {floors(counted)}")
    print(f"imports between rooms: {sum(counted.values())}, back up: {back_up(counted)}")
    print(f"circle of modules: {' -> '.join(circle(known)) or 'none'}")
    rooms = circle(known, lambda name: room(name, known))
    print(f"circle of rooms: {' -> '.join(rooms) or 'none'}")
    print(f"fields of Server: {server_fields(known)}")
    print(f"lines of code of FedProx: {len(code_lines(known['gptfl_methods.fedprox']))}")
    for what, names in (("method", methods), ("file", [*known])):
        longest = max(names, key=lambda name: lengths[name])
        print(f"longest {what}: {longest}, {lengths[longest]} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
