"""A condition on stored scores, such as `utmos >= 3.5 and snr_db >= 20`: read as an expression, never run as code.

It may use names of scores, numbers, quoted words, lists, `< <= > >= == != in`, `is None`, `and or not`, and `+ - * /`.
A score that nobody has set compares with nothing: the comparison is then neither true nor false, and what is not true
is not kept (`is None` asks for it).
"""

import ast
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from infra.manifest import ManifestError, did_you_mean

DEEPEST = 60
"""Brackets inside brackets: no person writes more."""
COMPARED: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "less", ast.LtE: "less_equal", ast.Gt: "greater", ast.GtE: "greater_equal", ast.Eq: "equal",
    ast.NotEq: "not_equal",
}  # fmt: skip
COMPUTED: Mapping[type[ast.operator], str] = {
    ast.Add: "add_checked", ast.Sub: "subtract_checked", ast.Mult: "multiply_checked", ast.Div: "divide",
}  # fmt: skip
"""Checked: whole numbers that grow too large are a mistake, not other numbers."""


@dataclass(frozen=True)
class Condition:
    """An expression that was read and found good."""

    text: str
    tree: ast.expr
    names: frozenset[str]
    """The scores that it looks at."""

    @property
    def parts(self) -> tuple["Condition", ...]:
        """What `and` joins at its top: conditions that each can lose a segment."""
        if isinstance(self.tree, ast.BoolOp) and isinstance(self.tree.op, ast.And):
            return tuple(part for value in self.tree.values for part in condition_of(value).parts)
        return (self,)


def read_condition(text: str, *, known: Collection[str], where: str) -> Condition:
    """The condition in `text`; `known` are the scores that there are, `where` names the option for messages.

    Raises: ManifestError
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        told = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ManifestError(where, [f"{text!r} cannot be read ({told}); write such as `snr_db >= 20`"]) from None
    wrong = [*problems(tree, known, depth=0)]
    if not wrong and not is_verdict(tree):
        wrong = [f"{ast.unparse(tree)} is a value, not a condition; compare it with something"]
    if wrong:
        raise ManifestError(where, wrong)
    return condition_of(tree)


def condition_of(tree: ast.expr) -> Condition:
    """A part of an expression that was found good."""
    names = frozenset(node.id for node in ast.walk(tree) if isinstance(node, ast.Name))
    return Condition(ast.unparse(tree), tree, names)


def is_verdict(tree: ast.expr) -> bool:
    """Is it true or false, and not a number? A name alone may be either, and pyarrow will tell."""
    if isinstance(tree, ast.BoolOp):
        return all(map(is_verdict, tree.values))
    if isinstance(tree, ast.UnaryOp):
        return isinstance(tree.op, ast.Not) and is_verdict(tree.operand)
    return isinstance(tree, ast.Compare | ast.Name)


def problems(tree: ast.expr, known: Collection[str], *, depth: int) -> list[str]:
    """What is wrong with an expression: one sentence each."""
    if depth > DEEPEST:
        return [f"more than {DEEPEST} brackets inside each other"]
    inner: list[ast.expr]
    match tree:
        case ast.Name(id=name):
            return [] if name in known else [f"no score {name!r}{did_you_mean(name, known)}"]
        case ast.Constant(value=value):
            good = isinstance(value, str | int | float | bool) or value is None
            return [] if good else [f"{value!r} is no number and no word"]
        case ast.List() | ast.Tuple() | ast.Set():
            return [f"{ast.unparse(tree)}: a list can only stand behind `in`"]
        case ast.BoolOp(values=values):
            inner = values
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            inner = [operand]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in COMPUTED:
            inner = [left, right]
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            for sign, other in zip(ops, others, strict=True):
                if isinstance(sign, ast.Is | ast.IsNot) and not is_none(other):
                    return [f"{ast.unparse(tree)}: `is` asks for None only; compare with =="]
                if isinstance(sign, ast.In | ast.NotIn) and (told := about_list(other)):
                    return [f"{ast.unparse(tree)}: {told}"]
                if type(sign) in COMPARED and is_none(other):
                    return [f"{ast.unparse(tree)}: write `is None`"]
            lists = [other for sign, other in zip(ops, others, strict=True) if isinstance(sign, ast.In | ast.NotIn)]
            inner = [side for side in sides if side not in lists]
        case _:
            return [f"{ast.unparse(tree)}: only scores, numbers, words, comparisons, and, or, not, + - * / can be here"]
    return [told for part in inner for told in problems(part, known, depth=depth + 1)]


def about_list(tree: ast.expr) -> str | None:
    """What is wrong with what stands behind `in`, if anything is."""
    if not isinstance(tree, ast.List | ast.Tuple | ast.Set):
        return "`in` wants a list, such as ['en', 'zh']"
    constant = all(isinstance(value, ast.Constant) and value.value is not None for value in tree.elts)
    return None if constant else "a list holds numbers or quoted words"


def is_none(tree: ast.expr) -> bool:
    """Is it the word None?"""
    return isinstance(tree, ast.Constant) and tree.value is None


def holds(condition: Condition, table: Any, *, unknown: bool | None = False) -> Any:
    """A pyarrow array of booleans, one a row of the table; where scores are missing, `unknown`.

    Raises: ManifestError where words are compared with numbers, or a score is no verdict.
    """
    import pyarrow
    from pyarrow import compute

    try:
        found = value_of(condition.tree, table)
        if not isinstance(found, pyarrow.Array | pyarrow.ChunkedArray):
            found = pyarrow.chunked_array([pyarrow.repeat(found, table.num_rows)])
        if not pyarrow.types.is_boolean(found.type):
            raise ManifestError("condition", [f"{condition.text} is {found.type}, not true or false"])
        return found if unknown is None else compute.fill_null(found, unknown)
    except (pyarrow.ArrowException, OverflowError, UnicodeError) as error:
        told = " ".join(str(error).split())[:160]
        names = sorted({part.id for part in ast.walk(condition.tree) if isinstance(part, ast.Name)})
        if names and isinstance(error, pyarrow.ArrowNotImplementedError):
            told = ", ".join(f"{name} is {kind_of(table[name].type)}" for name in names)
        raise ManifestError("condition", [f"{condition.text}: cannot be compared ({told})"]) from None


def kind_of(held: Any) -> str:
    """What a column holds, in a person's words."""
    from pyarrow import types

    if types.is_string(held) or types.is_large_string(held) or types.is_dictionary(held):
        return "words"
    return "true or false" if types.is_boolean(held) else "a list" if types.is_list(held) else "a number"


def value_of(tree: ast.expr, table: Any) -> Any:
    """The expression over the columns of the table: an array, or a scalar."""
    import pyarrow
    from pyarrow import compute

    match tree:
        case ast.Name(id=name):
            return table[name]
        case ast.Constant(value=value):
            return pyarrow.scalar(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return compute.invert(value_of(operand, table))
        case ast.UnaryOp(operand=operand):
            return compute.negate_checked(value_of(operand, table))
        case ast.BinOp(left=left, op=op, right=right):
            one, two = value_of(left, table), value_of(right, table)
            if isinstance(op, ast.Div):
                one = compute.cast(one, pyarrow.float64())
            return compute.call_function(COMPUTED[type(op)], [one, two])
        case ast.BoolOp(op=op, values=values):
            join = compute.and_kleene if isinstance(op, ast.And) else compute.or_kleene
            return folded(join, [value_of(value, table) for value in values])
        case ast.Compare(left=left, ops=ops, comparators=others):
            sides = [left, *others]
            pairs = zip(sides, ops, others, strict=False)
            return folded(compute.and_kleene, [compared(one, op, two, table) for one, op, two in pairs])
    raise AssertionError(f"{ast.dump(tree)} was let in by `problems`")


def compared(left: ast.expr, op: ast.cmpop, right: ast.expr, table: Any) -> Any:
    """One comparison."""
    import pyarrow
    from pyarrow import compute

    one = value_of(left, table)
    if isinstance(op, ast.Is | ast.IsNot):
        return compute.is_null(one) if isinstance(op, ast.Is) else compute.is_valid(one)
    if isinstance(op, ast.In | ast.NotIn):
        assert isinstance(right, ast.List | ast.Tuple | ast.Set)
        values = [value.value for value in right.elts if isinstance(value, ast.Constant)]
        if {isinstance(value, str) for value in values} != {pyarrow.types.is_string(one.type)}:
            raise pyarrow.ArrowInvalid(f"{one.type} against {values}")
        inside = compute.is_in(one, value_set=pyarrow.array(values).cast(one.type))
        inside = compute.if_else(compute.is_null(one), None, inside)
        return inside if isinstance(op, ast.In) else compute.invert(inside)
    return compute.call_function(COMPARED[type(op)], [one, value_of(right, table)])


def folded(join: Callable[[Any, Any], Any], values: list[Any]) -> Any:
    """The values joined, from left to right."""
    whole = values[0]
    for value in values[1:]:
        whole = join(whole, value)
    return whole
