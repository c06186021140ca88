"""Check the text of code and documents against the rules of CONTRIBUTING.md.

    python -m devtools.prose [FILE ...]

Without a file it checks the whole repository. It reads only; the exit code is 1 if it finds a place.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devtools.bootstrap import ROOT

#: Longest sentence, in words. CONTRIBUTING.md asks for 25; the margin is for names and figures, which count as words.
SENTENCE_MAX = 30

#: Longest first line of a docstring, in characters.
FIRST_LINE_MAX = 100

#: A first line that begins like this describes a question, not an action.
QUESTION_WORD = re.compile(r"(?:what|whether|how|who|whom|whose|where|when|whoever|whatever)\b", re.IGNORECASE)

#: Words that hide the actor, and literal translations.
BANNED = tuple(
    re.compile(rf"\b(?:{words})\b", re.IGNORECASE)
    for words in (
        "who|whom|whose|whoever",
        "(?:some|any|every)(?:body|one)|nobody|others",
        "tells?|told|telling|hears?|heard|bury|buried|buries|refusal",
        r"vouch\w*|brake|lane",
        "hands? on|handed on|go(?:es|ne)? on with|has to be had|can(?:not)? be had",
        "overheard|overlook(?:s|ed)?",
        "of (?:its|their|our|one's) own|in good order|in earnest|in vain|at the most|as ever|anew|besides",
    )
)


@dataclass(frozen=True)
class Text:
    """A docstring, a comment, a message or a line of a document, and the line that it begins in."""

    line: int
    text: str
    is_docstring: bool = False


@dataclass(frozen=True)
class Finding:
    """A place that breaks a rule."""

    file: str
    line: int
    problem: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.problem}: {self.sentence[:110]}"


@dataclass(frozen=True)
class Allowed:
    """A sentence that may break the rules: the file, a part of the sentence, and the reason."""

    file: str
    part: str
    reason: str


ALLOWED: tuple[Allowed, ...] = ()


def findings(files: Iterable[Path]) -> Iterator[Finding]:
    """Return the places in the files that break a rule and are not allowed to."""
    for file in files:
        name = file.relative_to(ROOT).as_posix()
        for text in texts(file.name, file.read_text(encoding="utf-8")):
            for problem, sentence in problems(text):
                if not any(each.file == name and each.part in sentence for each in ALLOWED):
                    yield Finding(name, text.line, problem, sentence)


def repository() -> Iterator[Path]:
    """Return the files with text that people write and read."""
    for folder in ("lambda", "scripts", "tests", "examples", "docs", ""):
        pattern = "**/*" if folder else "*"
        for file in sorted((ROOT / folder).glob(pattern)):
            hidden = any(part.startswith(".") for part in file.relative_to(ROOT).parts)
            if file.is_file() and not hidden and (file.suffix in READERS or (folder == "scripts" and not file.suffix)):
                yield file


def texts(name: str, source: str) -> Iterator[Text]:
    """Return the texts of a file. Of a script without a suffix, these are only the comments."""
    yield from READERS.get(Path(name).suffix, of_comments)(source)


def problems(text: Text) -> Iterator[tuple[str, str]]:
    """Return each rule that the text breaks, with the sentence that breaks it."""
    first = text.text.strip().partition("\n")[0]
    if text.is_docstring and QUESTION_WORD.match(first):
        yield "begins with a question word", first
    if text.is_docstring and len(first) > FIRST_LINE_MAX:
        yield f"first line of {len(first)} characters", first
    for sentence in sentences(text.text):
        words = re.sub(r"`[^`]*`|https?://\S+", "", sentence)
        for banned in BANNED:
            if found := banned.search(words):
                yield f"{found[0]!r}", sentence
        if (length := len(words.split())) > SENTENCE_MAX:
            yield f"{length} words", sentence


def sentences(text: str) -> Iterator[str]:
    """Return the sentences of a text. Paragraphs, list items, table cells and aligned rows end one, too."""
    without_code = re.sub(r"`[^`]*`", "`code`", text)
    for sentence in re.split(r"(?<=[.!?])\s+|\n\s*\n|\n\s*[-*|]|\n(?=\S+ {2,}\S)|\|", without_code):
        if sentence and sentence.strip():
            yield " ".join(sentence.split())


def of_python(source: str) -> Iterator[Text]:
    """Return docstrings, comments, the messages of errors, and the help of options."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if docstring := ast.get_docstring(node):
                yield Text(getattr(node, "lineno", 1), docstring, is_docstring=True)
        elif isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield from (Text(node.lineno, literal) for part in node.exc.args if (literal := _literal(part)))
        elif isinstance(node, ast.keyword) and node.arg == "help" and (literal := _literal(node.value)):
            yield Text(node.value.lineno, literal)
    yield from of_comments(source, python=True)


def _literal(node: ast.expr) -> str:
    """Return the text of a string or an f-string, with `x` for each value, or an empty string."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_literal(part) or "`x`" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def of_comments(source: str, *, python: bool = False) -> Iterator[Text]:
    """Return the comments; adjacent lines are one comment."""
    lines: list[tuple[int, str]] = []
    if python:
        tokens = tokenize.generate_tokens(io.StringIO(source).readline)
        lines = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    else:
        numbered = enumerate(source.splitlines(), start=1)
        lines = [(number, line.strip()) for number, line in numbered if line.strip().startswith("#")]
    block: list[str] = []
    start = last = 0
    for number, line in [*((n, s) for n, s in lines if not _is_directive(s)), (sys.maxsize, "")]:
        if block and number != last + 1:
            yield Text(start, "\n".join(block))
            block = []
        start = start if block else number
        block.append(line.lstrip("#: "))
        last = number


def _is_directive(comment: str) -> bool:
    return re.match(r"#!|#+ ?(?:noqa|type:|pragma|checkov:)", comment) is not None


def of_terraform(source: str) -> Iterator[Text]:
    """Return comments, descriptions and the messages of failed conditions; heredocs are not read."""
    yield from of_comments(source)
    for number, line in enumerate(source.splitlines(), start=1):
        if found := re.search(r'(?:description|error_message)\s*=\s*"((?:[^"\\]|\\.)*)"', line):
            yield Text(number, re.sub(r"\$\{[^}]*\}", "`x`", found[1]))


def of_markdown(source: str) -> Iterator[Text]:
    """Return each line outside code blocks. A sentence over two lines is read in two parts."""
    is_code = False
    for number, line in enumerate(source.splitlines(), start=1):
        if line.strip().startswith("```"):
            is_code = not is_code
        elif not is_code and "<a name=" not in line and line.strip():
            yield Text(number, line)


READERS = {".py": of_python, ".tf": of_terraform, ".hcl": of_terraform, ".md": of_markdown}


def main(arguments: Sequence[str]) -> int:
    files = [Path(argument).resolve() for argument in arguments] or repository()
    found = list(findings(files))
    print("".join(f"{finding}\n" for finding in found) + f"{len(found)} places break the rules.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
