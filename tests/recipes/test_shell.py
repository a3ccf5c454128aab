"""A shell script is read as text: its own variables are filled in, and nothing is run or looked up."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.recipes import shell


def args(text):
    """The last command's words."""
    return [arg.text for arg in shell.read(text).commands[-1].args]


def hints(text):
    command = shell.read(text).commands[-1]
    return [(hint.line, hint.template % hint.values) for arg in command.args for hint in arg.hints]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("c a b", ["c", "a", "b"]),
        ("c \\\n  a \\\n\tb\n", ["c", "a", "b"]),
        ("c 'a b' \"a b\" a\\ b", ["c", "a b", "a b", "a b"]),
        ("c k='[\"x\",\"y\"]' k=['x','y']", ["c", 'k=["x","y"]', "k=[x,y]"]),
        ("c '' \"\"", ["c", "", ""]),
        ("# it's a comment\nc a # that's \"too\"\n", ["c", "a"]),
        ("c a#b", ["c", "a#b"]),
        ("c a 2>&1 >out.txt 2>> 'my log' <in", ["c", "a"]),
        ("c a &> all.log &", ["c", "a"]),
        ("cat <<EOF > x\nit's $(not) read\nEOF\nc a", ["c", "a"]),
        ("cat <<-'EOF'\n\tc no\n\tEOF\nc a", ["c", "a"]),
        ("x | c a", ["c", "a"]),
        ("X=1 Y=2 c a", ["c", "a"]),
        ("a=1\nc $a ${a} \"$a\" '$a' \\$a ${a}x", ["c", "1", "1", "1", "$a", "$a", "1x"]),
        ("f=/x\nfiles=\"['$f/a', '$f/b']\"\nc k=\"$files\"", ["c", "k=['/x/a', '/x/b']"]),
        ('a="x  y\n z"\nc $a "$a" k=$a', ["c", "x", "y", "z", "x  y\n z", "k=x", "y", "z"]),
        ('a="k=1 \\\n  l=2"\nc $a', ["c", "k=1", "l=2"]),
        ("c ${N:-8} ${M-'a b'} ${O:-$N}x ${1:-2}", ["c", "8", "a b", "$Nx", "2"]),
        ("N=3\nc ${N:-8} ${N:=9}", ["c", "3", "3"]),
        ("E=\nc ${E:-8} [${E-8}]", ["c", "8", "[]"]),
        (": ${N:=4}\nc $N", ["c", "4"]),
        ("A=(a 'b c' # no\n  d=$X\n)\nA+=(e)\nc \"${A[@]}\"", ["c", "a", "b c", "d=$X", "e"]),
        ('A=()\nc "${A[@]}" x', ["c", "x"]),
        ("s=a\ns+=b\nc $s", ["c", "ab"]),
        ('c "$@" $@ x $*', ["c", "x"]),
        (
            "B=4\nc $((1024 * 2)) $((B+-1)) $(( ($B + ${B}) * 3 )) $((7/2)) $((-7/2))",
            ["c", "2048", "3", "24", "3", "-3"],
        ),
        ("export A=1 B=2\ndeclare -r C=3\nc $A$B$C", ["c", "123"]),
        ("cd x && c a", ["c", "a"]),
        ("(c a)", ["c", "a"]),
        ("run() {\n  c a\n}", ["c", "a"]),
        ("if [ $A = 1 ]; then\n  c a\nfi", ["c", "a"]),
        ("case $D in\n gpu) c a;;\nesac", ["c", "a"]),
    ],
)
def test_words_are_what_the_shell_would_hand_on(text, words):
    assert args(text) == words


@pytest.mark.parametrize(
    ("text", "word", "told"),
    [
        ("c $HOME/x", "$HOME/x", "$HOME is not set in the script."),
        ("c ${PATH}", "${PATH}", "${PATH} is not set in the script."),
        ("c $1", "$1", "$1 is not set in the script."),
        ("c $(rm -rf /)", "$(rm -rf /)", "$(rm -rf /) would have to be run, and nothing is run here."),
        ("c `id -u`", "`id -u`", "`id -u` would have to be run, and nothing is run here."),
        ('c "x$(date "+%s")"', 'x$(date "+%s")', '$(date "+%s") would have to be run, and nothing is run here.'),
        ("a=$(x)\nc $a", "$(x)", "$(x) would have to be run, and nothing is run here."),
        ("c ${A//x/y}", "${A//x/y}", "${A//x/y} cannot be worked out."),
        ("A=ab\nc ${#A}", "${#A}", "${#A} cannot be worked out."),
        ("c $((9**9**9))", "$((9**9**9))", "$((9**9**9)) cannot be worked out."),
        ("c $((1/0))", "$((1/0))", "$((1/0)) cannot be worked out."),
        ("c $((A=3))", "$((A=3))", "$((A=3)) cannot be worked out."),
        ("if x; then A=1; fi\nc $A", "$A", "$A is set inside a condition or a loop only"),
        ("[ -z x ] && A=1\nc $A", "$A", "$A is set inside a condition or a loop only"),
        ("for i in 1 2; do c $i; done", "$i", "$i is set inside a condition or a loop only"),
    ],
)
def test_what_only_a_shell_could_tell_stays_as_it_is_written_and_is_said(text, word, told):
    command = shell.read(text).commands[-1]
    assert command.args[1].text == word
    assert command.args[1].missing
    (hint,) = command.args[1].hints
    assert (hint.template % hint.values).startswith(told)


def test_no_variable_of_ours_is_looked_at(monkeypatch):
    monkeypatch.setenv("OURS", "secret")
    assert args("c $OURS ${OURS:-theirs}") == ["c", "$OURS", "theirs"]


def test_a_value_that_a_condition_may_change_is_taken_with_a_word():
    text = "N=8\nif x; then\n  N=16\nfi\nc n=$N"
    assert args(text) == ["c", "n=8"]
    ((line, told),) = hints(text)
    assert line == 5
    assert "set again in line 3" in told
    assert "value of line 1" in told
    assert hints(f"{text}\nN=4\nc $N") == []


def test_lines_are_those_of_the_text():
    script = shell.read("# one\n\nc \\\n  a \\\n  $B\n")
    assert script.commands[0].line == 3
    assert [arg.line for arg in script.commands[0].args] == [3, 4, 5]
    assert [hint.line for hint in script.commands[0].args[2].hints] == [5]


def test_environment_variables_that_are_set_are_named():
    assert shell.read("export A=1\nB=2\nC=3 D=4 c").exported == {"A": 1, "C": 3, "D": 3}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("c\nc 'a", "Line 2: ' is opened and never closed."),
        ('c "a\nb', 'Line 1: " is opened and never closed.'),
        ("c `a", "Line 1: ` is opened and never closed."),
        ("c $(a", "Line 1: the bracket is not closed."),
        ("c ${a", "Line 1: the bracket is not closed."),
        ("c ${a:-b", "Line 1: ${ is opened and never closed."),
        ("A=(a\nb", "Line 1: the bracket is not closed."),
        ("c " + "${a:-" * 100, "Line 1: nested too deeply."),
        ("x" * 1_000_000, "Longer than 131072 characters."),
        ("a=xx\n" + "a=$a$a\n" * 40 + "c $a", "With its variables filled in, the script is longer than 1000000 char"),
        ("A+=x\n" * 20_000 + "c $A", "With its variables filled in, the script is longer than 1000000 char"),
    ],
    ids=range(11),
)
def test_a_text_that_is_no_script_is_refused(text, told):
    with pytest.raises(shell.ShellProblem) as refused:
        shell.read(text)
    assert str(refused.value).startswith(told)


@pytest.mark.parametrize(
    "text", ["c " + "\\a" * 60_000, "(" * 120_000, "if " * 40_000, "<<a " * 30_000, "c " + "$a" * 60_000], ids=range(5)
)
def test_no_text_takes_long(text):
    assert len(shell.read(text).commands) <= 1


@given(st.text(alphabet="ab=$(){}[]@'\"`\\ \n#;&|<>:-+0123456789*", max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(shell.ShellProblem):
        shell.read(text)
