"""The share of fully typed public functions does not fall."""

import ast

import pytest

from tests.typing.typed_share import functions, is_typed, share

MINIMUM = 0.34


def test_share_of_typed_public_functions():
    assert share() >= MINIMUM


@pytest.mark.parametrize(
    "source, expected",
    [
        ("def f(a: int, *b: int, c: int = 1, **d: int) -> int: ...", [True]),
        ("def f(a: int, b) -> int: ...", [False]),
        ("def f(a: int, *b) -> int: ...", [False]),
        ("def f(a: int): ...", [False]),
        ("def _f(a): ...", []),
        ("class A:\n def __init__(self, a: int): ...\n def b(self) -> int: ...", [True, True]),
        ("class A:\n def __init__(self): ...\n @staticmethod\n def b(c) -> int: ...", [False] * 2),
        ("class _A:\n def b(self): ...", []),
    ],
)
def test_functions_are_counted(source, expected):
    assert [is_typed(*pair) for pair in functions(ast.parse(source))] == expected
