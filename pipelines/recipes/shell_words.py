"""The text of a shell script as words: quotes, variables and operators told apart. Nothing is run.

After the "Shell Grammar" and "Quoting" sections of the POSIX shell and of bash: what people's training scripts use.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from .spec import gettext_noop

LONGEST: Final = 131_072
DEEPEST: Final = 20


class ShellProblem(ValueError):
    """The text is no script. `template` is the untranslated sentence that says where and why; `values` fill it."""

    def __init__(self, template: str, **values: object) -> None:
        super().__init__(template % values)
        self.template = template
        self.values = values


@dataclass(frozen=True)
class Plain:
    text: str
    quoted: bool


@dataclass(frozen=True)
class Variable:
    """`$name` or `${name…}`. `source` is how it is written; `otherwise` what stands behind `:-`, `-`, `:=` or `=`."""

    name: str
    source: str
    line: int
    quoted: bool
    operator: str = ""
    otherwise: tuple["Part", ...] = ()


@dataclass(frozen=True)
class Sum:
    """`$((text))`."""

    text: str
    source: str
    line: int


@dataclass(frozen=True)
class Opaque:
    """What only a shell could tell: `$(…)`, backticks, rewriting expansions."""

    source: str
    line: int


Part: TypeAlias = Plain | Variable | Sum | Opaque


@dataclass(frozen=True)
class Word:
    parts: tuple[Part, ...]
    line: int

    @property
    def bare(self) -> str:
        """The word, if it is nothing but unquoted text; else empty."""
        match self.parts:
            case (Plain(text, quoted=False),):
                return text
        return ""


@dataclass(frozen=True)
class Array:
    """`name=(words)`, or `name+=(words)`."""

    name: str
    append: bool
    words: tuple[Word, ...]
    line: int


@dataclass(frozen=True)
class Operator:
    """What stands between commands: a line's end, `;`, `&&`, a bracket and their like."""

    text: str
    line: int


Token: TypeAlias = Word | Array | Operator

_BLANK: Final = re.compile(r"(?:[ \t\r]|\\\r?\n)+")
_RUN: Final = re.compile(r"[^\s\\'\"$`;&|()<>}]+")
_RUN_IN_QUOTES: Final = re.compile(r"[^\\\"$`]+")
_REDIRECT: Final = re.compile(r"(?:\d*(?:<<<|<<-?|>>|[<>]&|>\||[<>])|&>>?)")
_OPERATOR: Final = re.compile(r"&&|\|\||;;&?|;&|\|&|[;&|()\n]")
_ARRAY: Final = re.compile(r"([A-Za-z_]\w*)(\+?)=\(")
_NAME: Final = re.compile(r"[A-Za-z_]\w*|[0-9]|[@*#?$!-]")
_BRACED: Final = re.compile(r"([A-Za-z_]\w*|[0-9]+|[@*])(?:\[[@*]\])?(\}|:?[-=])")


@dataclass
class Reader:
    """Goes through the text once. Raises ShellProblem."""

    text: str
    at: int = 0
    _ends: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(self.text) > LONGEST:
            raise ShellProblem(gettext_noop("Longer than %(limit)d characters."), limit=LONGEST)
        self._ends = [found.start() for found in re.finditer("\n", self.text)]

    def line(self, at: int | None = None) -> int:
        return bisect_right(self._ends, (self.at if at is None else at) - 1) + 1

    def tokens(self) -> Iterator[Token]:
        heredocs: list[str] = []
        while self._skip_blanks():
            if self.text[self.at] == "#":
                self.at = self._find("\n")
            elif found := _REDIRECT.match(self.text, self.at):
                self.at = found.end()
                ends_at = self._redirected(heredoc=found[0].rstrip("-").endswith("<<"))
                heredocs += [ends_at] if ends_at else []
            elif found := _OPERATOR.match(self.text, self.at):
                yield Operator(found[0], self.line())
                self.at = found.end()
                if found[0] == "\n":
                    self._skip_heredocs(heredocs)
                    heredocs = []
            elif found := _ARRAY.match(self.text, self.at):
                yield self._array(found)
            else:
                yield self._word()

    def _skip_blanks(self) -> bool:
        """Whether something is left."""
        if found := _BLANK.match(self.text, self.at):
            self.at = found.end()
        return self.at < len(self.text)

    def _redirected(self, *, heredoc: bool) -> str:
        """Past the file that a redirection names. For a here-document: the line that ends it."""
        self._skip_blanks()
        if self.at >= len(self.text) or self.text[self.at] in "\n;&|()<>":
            return ""
        began = self.at
        self._word()
        return self.text[began : self.at].strip("'\"\\") if heredoc else ""

    def _skip_heredocs(self, ends: list[str]) -> None:
        for end in ends:
            found = re.compile(rf"^\t*{re.escape(end)}[ \t\r]*$", re.MULTILINE).search(self.text, self.at)
            self.at = min(found.end() + 1, len(self.text)) if found else len(self.text)

    def _array(self, found: re.Match[str]) -> Array:
        line = self.line()
        self.at = found.end()
        words: list[Word] = []
        while self._skip_blanks():
            letter = self.text[self.at]
            if letter == ")":
                self.at += 1
                return Array(found[1], bool(found[2]), tuple(words), line)
            if letter == "#":
                self.at = self._find("\n")
            elif letter in "\n;&|(<>":
                self.at += 1
            else:
                words.append(self._word())
        raise ShellProblem(gettext_noop("Line %(line)d: the bracket is not closed."), line=line)

    def _word(self) -> Word:
        line = self.line()
        return Word(tuple(self._parts(" \t\r\n;&|()<>", 0)), line)

    def _parts(self, stops: str, depth: int) -> list[Part]:
        """Unquoted text up to one of the `stops`."""
        if depth > DEEPEST:
            raise ShellProblem(gettext_noop("Line %(line)d: nested too deeply."), line=self.line())
        parts: list[Part] = []
        while self.at < len(self.text) and self.text[self.at] not in stops:
            match self.text[self.at]:
                case "'":
                    end = self._closing("'", self.at + 1)
                    parts.append(Plain(self.text[self.at + 1 : end], quoted=True))
                    self.at = end + 1
                case '"':
                    parts += self._quoted(depth)
                case "\\":
                    escaped = self.text[self.at + 1 : self.at + 2]
                    if escaped != "\n":
                        parts.append(Plain(escaped, quoted=True))
                    self.at += 2
                case "$" | "`":
                    parts.append(self._expansion(depth, quoted=False))
                case _:
                    found = _RUN.match(self.text, self.at)
                    end = found.end() if found else self.at + 1
                    parts.append(Plain(self.text[self.at : end], quoted=False))
                    self.at = end
        return parts

    def _quoted(self, depth: int) -> Iterator[Part]:
        """Between double quotes, where variables count and blanks do not."""
        opened = self.at
        self.at += 1
        # An empty pair of quotes is a word too.
        yield Plain("", quoted=True)
        while self.at < len(self.text):
            match self.text[self.at]:
                case '"':
                    self.at += 1
                    return
                case "\\":
                    escaped = self.text[self.at + 1 : self.at + 2]
                    kept = {"\n": ""}.get(escaped, escaped if escaped in '$`"\\' else f"\\{escaped}")
                    yield Plain(kept, quoted=True)
                    self.at += 2
                case "$" | "`":
                    yield self._expansion(depth, quoted=True)
                case _:
                    found = _RUN_IN_QUOTES.match(self.text, self.at)
                    assert found is not None  # for the type checker: the letter is none of the excluded
                    yield Plain(found[0], quoted=True)
                    self.at = found.end()
        raise _unclosed(self.line(opened), '"')

    def _expansion(self, depth: int, *, quoted: bool) -> Part:
        began, line = self.at, self.line()
        text = self.text
        if text[began] == "`":
            self.at = self._closing("`", began + 1) + 1
            return Opaque(text[began : self.at], line)
        if text.startswith("$((", began):
            self.at = self._balanced(began + 1)
            source = text[began : self.at]
            return Sum(source[3:-2], source, line) if source.endswith("))") else Opaque(source, line)
        if text.startswith("$(", began):
            self.at = self._balanced(began + 1)
            return Opaque(text[began : self.at], line)
        if text.startswith("${", began):
            return self._braced(depth, quoted=quoted)
        if text.startswith("$'", began) and not quoted:
            self.at = self._closing("'", began + 2) + 1
            return Opaque(text[began : self.at], line)
        if found := _NAME.match(text, began + 1):
            self.at = found.end()
            return Variable(found[0], text[began : self.at], line, quoted)
        self.at += 1
        return Plain("$", quoted)

    def _braced(self, depth: int, *, quoted: bool) -> Part:
        began, line = self.at, self.line()
        found = _BRACED.match(self.text, began + 2)
        if not found:
            self.at = self._balanced(began + 1, "{", "}")
            return Opaque(self.text[began : self.at], line)
        self.at = found.end()
        if found[2] == "}":
            return Variable(found[1], self.text[began : self.at], line, quoted)
        otherwise = tuple(self._parts("}", depth + 1))
        if self.at >= len(self.text):
            raise _unclosed(line, "${")
        self.at += 1
        if quoted:
            otherwise = tuple(Plain(part.text, quoted=True) if isinstance(part, Plain) else part for part in otherwise)
        return Variable(found[1], self.text[began : self.at], line, quoted, found[2], otherwise)

    def _balanced(self, at: int, opening: str = "(", closing: str = ")") -> int:
        """Behind the bracket that closes the one at `at`; quoted brackets do not count."""
        began, depth = at, 0
        brackets = re.compile(rf"\\.|'|\"|[{opening}{closing}]", re.DOTALL)
        while found := brackets.search(self.text, at):
            at = found.end()
            if found[0] in ("'", '"'):
                at = self._closing(found[0], at) + 1
            elif found[0] == opening:
                depth += 1
            elif found[0] == closing:
                depth -= 1
                if depth == 0:
                    return at
        raise ShellProblem(gettext_noop("Line %(line)d: the bracket is not closed."), line=self.line(began))

    def _closing(self, quote: str, at: int) -> int:
        """Where the next quote is that is not escaped; a single quote cannot be."""
        found = re.compile("'" if quote == "'" else rf"(?:[^\\{quote}]|\\.)*+({quote})", re.DOTALL)
        closed = found.search(self.text, at) if quote == "'" else found.match(self.text, at)
        if not closed:
            raise _unclosed(self.line(at - 1), quote)
        return closed.end() - 1

    def _find(self, what: str) -> int:
        found = self.text.find(what, self.at)
        return found if found >= 0 else len(self.text)


def _unclosed(line: int, quote: str) -> ShellProblem:
    return ShellProblem(gettext_noop("Line %(line)d: %(quote)s is opened and never closed."), line=line, quote=quote)
