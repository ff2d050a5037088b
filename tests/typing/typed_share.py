"""How many public functions are fully typed: `python -m tests.typing.typed_share` lists folders."""

import ast
import collections
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]


def functions(tree, inside=False):
    """Yields public functions and methods: names without underscore, and `__init__`."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node, inside=True)
        elif isinstance(node, ast.FunctionDef):
            if not node.name.startswith("_") or node.name == "__init__":
                yield node, inside


def is_typed(function, is_method):
    """Whether every parameter has a type, and what is returned (`__init__` may leave that out)."""
    arguments = function.args
    static = any(getattr(d, "id", "") == "staticmethod" for d in function.decorator_list)
    named = [*arguments.posonlyargs, *arguments.args][is_method and not static :]
    named += [*arguments.kwonlyargs, *filter(None, [arguments.vararg, arguments.kwarg])]
    returned = function.returns is not None or (function.name == "__init__" and named)
    return bool(returned) and all(each.annotation is not None for each in named)


def counts():
    """dict folder -> (typed, all), `export/` included."""
    found = collections.defaultdict(lambda: [0, 0])
    for top in ("keras_det", "export"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT / top).parts
            folder = f"{top}/{parts[0]}" if len(parts) > 1 and top == "keras_det" else top
            for function, is_method in functions(ast.parse(path.read_text(encoding="utf-8"))):
                found[folder][0] += is_typed(function, is_method)
                found[folder][1] += 1
    return {folder: tuple(pair) for folder, pair in sorted(found.items())}


def share():
    """Typed public functions through all of them, 0 to 1."""
    pairs = counts().values()
    return sum(typed for typed, _ in pairs) / sum(total for _, total in pairs)


if __name__ == "__main__":
    for folder, (typed, total) in counts().items():
        print(f"{folder:<22}{typed:>5} of {total:>4}  {typed / total:>5.0%}")
    print(f"{'all':<22}{share():>19.0%}")
