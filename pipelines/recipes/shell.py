"""The commands of a shell script with the script's own variables filled in.

Nothing is run, and no variable of ours is ever looked at. What the script does not say itself stays as it is written,
with a hint why. Conditions and loops are not followed: what is set inside of one counts as unknown.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from .shell_words import Array, Opaque, Operator, Part, Plain, Reader, ShellProblem, Sum, Variable, Word
from .spec import gettext_noop

__all__ = ["Arg", "Command", "Hint", "Script", "ShellProblem", "read"]

MOST_EXPANDED: Final = 1_000_000
PIECE: Final = 10
"""What a piece of a word costs beside its characters: empty ones take time too."""


@dataclass(frozen=True)
class Hint:
    """Why a piece of text is unknown, or doubtful."""

    line: int
    template: str
    values: Mapping[str, object] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Piece:
    """`missing`: the text is only how it is written; what it would be is not known. `whole`: it was quoted, so that
    its blanks part no words."""

    text: str
    hint: Hint | None = None
    missing: bool = False
    whole: bool = False


Value: TypeAlias = tuple[Piece, ...]


@dataclass(frozen=True)
class Arg:
    """A word as the command would get it."""

    pieces: Value
    line: int

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def hints(self) -> tuple[Hint, ...]:
        return tuple(dict.fromkeys(piece.hint for piece in self.pieces if piece.hint is not None))

    @property
    def missing(self) -> bool:
        return any(piece.missing for piece in self.pieces)


@dataclass(frozen=True)
class Command:
    """At least one word."""

    args: tuple[Arg, ...]
    line: int


@dataclass(frozen=True)
class Script:
    """`exported`: names of environment variables that are set for its commands, with the line."""

    commands: tuple[Command, ...]
    exported: Mapping[str, int]


def read(text: str) -> Script:
    """Raises ShellProblem where the text is no script: quotes or brackets that never close."""
    return _Walk().script(Reader(text))


@dataclass(frozen=True)
class _Stored:
    fields: tuple[Value, ...]
    line: int


_OPENERS: Final = frozenset({"if", "for", "while", "until", "case", "select", "{"})
_CLOSERS: Final = frozenset({"fi", "done", "esac", "}"})
_BETWEEN: Final = frozenset({"then", "else", "elif", "do", "!", "time", "function"})
_DECLARING: Final = frozenset({"export", "declare", "local", "readonly", "typeset"})
_ASSIGNED: Final = re.compile(r"([A-Za-z_]\w*)(\+?)=")
_ARGUMENTS: Final = frozenset("@*")

UNSET: Final = gettext_noop("%(source)s is not set in the script.")
CONDITIONAL: Final = gettext_noop("%(source)s is set inside a condition or a loop only, and these are not followed.")
DOUBTFUL: Final = gettext_noop(
    "%(source)s is set again in line %(again)d, inside a condition or a loop, and these are not followed: "
    "its value of line %(before)d is taken."
)
NOT_RUN: Final = gettext_noop("%(source)s would have to be run, and nothing is run here.")
NOT_TOLD: Final = gettext_noop("%(source)s cannot be worked out.")


class _Walk:
    """Goes through the commands in order, as a shell would that takes no branch."""

    def __init__(self) -> None:
        self.variables: dict[str, _Stored] = {}
        self.doubted: dict[str, int] = {}
        self.exported: dict[str, int] = {}
        self.spent = 0

    def script(self, reader: Reader) -> Script:
        commands: list[Command] = []
        words: list[Word] = []
        opened: list[str] = []
        chained = loop = False
        for token in [*reader.tokens(), Operator("\n", 0)]:
            conditional = bool(opened) or chained
            match token:
                case Array():
                    self._assign(token.name, self._fields(token.words), token.line, token.append, conditional)
                    chained = False
                case Operator(text=text):
                    if words:
                        commands += self._command(words, conditional, loop)
                    chained = text in ("&&", "||") or (chained and text == "\n" and not words)
                    words, loop = [], False
                    if text == "(":
                        opened.append(text)
                    elif text == ")" and opened and opened[-1] == "(":
                        opened.pop()
                case Word(bare=bare) if bare == "{" or (not words and bare in _OPENERS):
                    opened.append(bare)
                    loop = bare in ("for", "select")
                case Word(bare=bare) if not words and bare in _CLOSERS:
                    if opened:
                        opened.pop()
                case Word(bare=bare) if not words and bare in _BETWEEN:
                    pass
                case Word():
                    words.append(token)
        return Script(tuple(commands), self.exported)

    def _command(self, words: list[Word], conditional: bool, loop: bool) -> Iterator[Command]:
        if loop:
            self.doubted[words[0].bare] = words[0].line
            return
        declaring = words[0].bare in _DECLARING
        rest = words[1:] if declaring else words
        leading = next((at for at, word in enumerate(rest) if _assignment(word) is None), len(rest))
        if declaring or leading == len(rest):
            for word in rest:
                self._set(word, conditional, exported=words[0].bare == "export")
            return
        self.exported |= {found[1]: word.line for word in rest[:leading] if (found := _assignment(word))}
        args = tuple(self._fields_of(rest[leading:]))
        if args:
            yield Command(args, rest[leading].line)

    def _set(self, word: Word, conditional: bool, *, exported: bool) -> None:
        found = _assignment(word)
        if found is None:
            return
        if exported:
            self.exported[found[1]] = word.line
        first, *others = word.parts
        assert isinstance(first, Plain)  # for the type checker: an assignment begins with its name
        value = tuple(self._expanded([Plain(first.text[found.end() :], quoted=True), *others]))
        self._assign(found[1], (value,), word.line, bool(found[2]), conditional)

    def _assign(self, name: str, fields: tuple[Value, ...], line: int, append: bool, conditional: bool) -> None:
        if conditional:
            self.doubted[name] = line
            return
        old = self.variables.get(name)
        if append and old is not None:
            self._pay(PIECE * (len(old.fields) + len(old.fields[0] if old.fields else ())))
            many = len(old.fields) != 1 or len(fields) != 1
            fields = (*old.fields, *fields) if many else ((*old.fields[0], *fields[0]),)
        elif not append:
            self.doubted.pop(name, None)
        self.variables[name] = _Stored(fields, line)

    # --- Expansion ------------------------------------------------------------------------------------------

    def _fields(self, words: Iterable[Word]) -> tuple[Value, ...]:
        return tuple(arg.pieces for arg in self._fields_of(words))

    def _fields_of(self, words: Iterable[Word]) -> Iterator[Arg]:
        """The words that become of words: an unquoted variable may be none or many."""
        for word in words:
            split = _Fields()
            for part in word.parts:
                if isinstance(part, Variable) and part.quoted and self._is_many(part):
                    for at, value in enumerate(self.variables[part.name].fields):
                        self._pay(len(value) + PIECE)
                        if at:
                            split.end()
                        split.add(value)
                elif isinstance(part, Variable) and not part.quoted:
                    for piece in self._variable(part):
                        split.add_unquoted(piece)
                else:
                    split.add(self._expanded([part]))
            if not self._only_arguments(word):
                split.end()
            yield from (Arg(tuple(pieces), word.line) for pieces in split.done)

    def _is_many(self, part: Variable) -> bool:
        """Whether a quoted variable is an array that stays many words: "${name[@]}"."""
        stored = self.variables.get(part.name)
        return "[@]" in part.source and stored is not None and bool(stored.fields)

    def _only_arguments(self, word: Word) -> bool:
        """`"$@"`, and an array that is empty, are no word at all."""
        told = [part for part in word.parts if not (isinstance(part, Plain) and not part.text)]
        return bool(told) and all(
            isinstance(part, Variable)
            and (
                part.name in _ARGUMENTS or ((stored := self.variables.get(part.name)) is not None and not stored.fields)
            )
            for part in told
        )

    def _expanded(self, parts: Iterable[Part]) -> Iterator[Piece]:
        for part in parts:
            match part:
                case Plain():
                    self._pay(len(part.text) + PIECE)
                    yield Piece(part.text, whole=part.quoted)
                case Opaque():
                    yield _missing(part, NOT_TOLD if part.source.startswith("${") else NOT_RUN)
                case Sum():
                    yield self._sum(part)
                case Variable():
                    yield from (replace(piece, whole=part.quoted) for piece in self._variable(part))

    def _variable(self, part: Variable) -> Iterator[Piece]:
        if part.name in _ARGUMENTS:
            return
        stored = self.variables.get(part.name)
        doubt = self.doubted.get(part.name)
        empty = stored is None or (part.operator.startswith(":") and not any(p.text for v in stored.fields for p in v))
        if part.operator and empty:
            value = tuple(self._expanded(part.otherwise))
            if part.operator.endswith("="):
                self._assign(part.name, (value,), part.line, append=False, conditional=False)
            hint = _hint(part, DOUBTFUL, again=doubt, before=part.line) if doubt is not None else None
            yield from (replace(piece, hint=piece.hint or hint) for piece in value)
        elif stored is None:
            yield _missing(part, UNSET if doubt is None else CONDITIONAL)
        else:
            hint = _hint(part, DOUBTFUL, again=doubt, before=stored.line) if doubt is not None else None
            for at, value in enumerate(stored.fields):
                if at:
                    yield Piece(" ")
                for piece in value:
                    self._pay(len(piece.text) + PIECE)
                    yield Piece(piece.text, piece.hint or hint, piece.missing)

    def _sum(self, part: Sum) -> Piece:
        """A whole number worked out of whole numbers. Anything else a shell could do here is not done."""
        try:
            tree = ast.parse(re.sub(r"\$\{?(\w+)\}?", r"\1", part.text).strip(), mode="eval")
            return Piece(str(self._number(tree.body)))
        except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
            return _missing(part, NOT_TOLD)

    def _number(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(value)):
                return value
            case ast.Name(id=name) if name in self.variables and name not in self.doubted:
                return int("".join(piece.text for value in self.variables[name].fields for piece in value))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -self._number(inner)
            case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _SIGNS:
                found = _SIGNS[type(sign)](self._number(left), self._number(right))
                if abs(found) < 2**63:
                    return found
        raise ValueError("no whole number")

    def _pay(self, characters: int) -> None:
        """A few lines that fill variables into each other could make any amount of text."""
        self.spent += characters
        if self.spent > MOST_EXPANDED:
            raise ShellProblem(
                gettext_noop("With its variables filled in, the script is longer than %(limit)d characters."),
                limit=MOST_EXPANDED,
            )


class _Fields:
    """Words in the making."""

    def __init__(self) -> None:
        self.done: list[list[Piece]] = []
        self.current: list[Piece] | None = None

    def add(self, pieces: Iterable[Piece]) -> None:
        self.current = self.current if self.current is not None else []
        self.current.extend(pieces)

    def add_unquoted(self, piece: Piece) -> None:
        """Blanks in it part words."""
        if piece.missing or piece.whole:
            self.add([piece])
            return
        for at, share in enumerate(re.split(r"\s+", piece.text)):
            if at:
                self.end()
            if share:
                self.add([Piece(share, piece.hint)])

    def end(self) -> None:
        if self.current is not None:
            self.done.append(self.current)
        self.current = None


_SIGNS: Final[Mapping[type[ast.operator], Callable[[int, int], int]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    # A shell's division cuts towards zero.
    ast.Div: lambda left, right: abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1),
}


def _assignment(word: Word) -> re.Match[str] | None:
    first = word.parts[0] if word.parts else None
    return _ASSIGNED.match(first.text) if isinstance(first, Plain) and not first.quoted else None


def _missing(part: Variable | Sum | Opaque, template: str) -> Piece:
    return Piece(part.source, _hint(part, template), missing=True)


def _hint(part: Variable | Sum | Opaque, template: str, **values: object) -> Hint:
    return Hint(part.line, template, {"source": shown(part.source), **values})


def shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}…"
