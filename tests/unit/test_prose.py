"""The text of the repository, and the rules of `devtools.prose` that check it."""

from __future__ import annotations

import pytest

from devtools import prose
from devtools.prose import Text


def test_text_follows_the_rules() -> None:
    found = list(prose.findings(prose.repository()))
    assert not found, "\n".join(map(str, found))


def test_every_exception_is_needed_and_has_a_reason() -> None:
    for allowed in prose.ALLOWED:
        file = prose.ROOT / allowed.file
        texts = prose.texts(file.name, file.read_text(encoding="utf-8"))
        broken = [sentence for text in texts for _, sentence in prose.problems(text)]
        assert any(allowed.part in sentence for sentence in broken), allowed
        assert allowed.reason


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("Whether the object is there.", "begins with a question word"),
        ("What is left.", "begins with a question word"),
        ("Return " + "x" * 100, "first line of 107 characters"),
        ("Return it.\n\nNobody knows.", "'Nobody'"),
        ("Return it.\n\nThe function tells the queue.", "'tells'"),
        ("Return it.\n\n" + "word " * 31, "31 words"),
    ],
)
def test_docstring_that_breaks_a_rule_is_found(text: str, problem: str) -> None:
    source = f'def function():\n    """{text}"""\n'
    assert [found for each in prose.texts("x.py", source) for found, _ in prose.problems(each)] == [problem]


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("x.py", "x = 1\n# for nobody\n", 2),
        ("x.py", "# one\n# for\n# nobody\n", 1),
        ("x.py", "raise ValueError('for nobody')\n", 1),
        ("x.py", "raise ValueError(f'{x} for nobody')\n", 1),
        ("x.py", "f(help='for nobody')\n", 1),
        ("script", "#!/bin/sh\n# for nobody\n", 2),
        ("x.tf", "# for nobody\n", 1),
        ("x.tf", '\ndescription = "for nobody"\n', 2),
        ("x.tftest.hcl", 'error_message = "for nobody"\n', 1),
        ("x.md", "Fine.\n\nFor nobody.\n", 3),
        ("x.md", "| a | for nobody |\n", 1),
    ],
)
def test_every_kind_of_text_is_read(name: str, source: str, line: int) -> None:
    assert [text.line for text in prose.texts(name, source) if list(prose.problems(text))] == [line]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("x.py", '"""Return `nobody` or `who`."""\n'),
        ("x.py", "x = 'nobody'  # noqa: S105\n"),
        ("x.md", "```\nwho | sort\n```\n"),
        ("x.md", "[the page](https://example.com/who-is-who)\n"),
        ("x.md", "| " + "three small words | " * 20 + "\n"),
        ("x.tf", "# main.tf     " + "word " * 20 + "\n# queue.tf    " + "word " * 20 + "\n"),
    ],
)
def test_code_links_and_tables_break_no_rule(name: str, source: str) -> None:
    assert [found for each in prose.texts(name, source) for found in prose.problems(each)] == []


def test_long_sentences_are_counted_one_by_one() -> None:
    assert not list(prose.problems(Text(1, "A short sentence. " * 20)))
