"""Words of the field in documents, help and code: none that only this project would use.

Each row has a pattern of old words and the right one. The changelog may name the old ones.
"""

import ast
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from musclejax.cli.main import main

ROOT = Path(__file__).parents[1]
PACKAGES = ("musclejax", "configs", "examples", "benchmarks", "tools")

RIGHT_WORDS = {
    "test-time augmentation (TTA)": r"second[ -_]looks?\b|\blook(?:s|ed|ing)?(?: at)? twice",
    "post-processing": r"\btid(?:y|ies|ied|ying)\b(?! tables?\b)|\bcleaning\b|"
    r"\bclean(?:s|ed)? (?:the )?(?:labels?|maps?|up)\b",
    "small connected components": r"\bcrumbs?\b|\bislands?\b",
    "out-of-distribution check, quality flags": r"\bdoubts?\b|\bsigns (?:and|of|that)\b|`signs?`|"
    r"\bdomains?\b",
    "atlas prior": r"\b(?:atlas(?:'s)?|expected) shares?\b|\bshares? of (?:the|an) atlas",
    "metadata, model card": r"(?<!model )(?<!model-)(?<!graphics )\bcards?\b",
    "predict function": r"\blabell?ers?\b",
    "unavailable_reason": r"\bobstacles?\b",
    "sampler": r"\b(?:an?|the|each|every|this|its|of|synthetic|phantom) feeds?\b|\bfeeds? of\b",
    "manifest, provenance": r"\bclaim(?:s|ed|ing)? (?:an?|the|this|its|of|on) (?:folder|file)",
    "prefetch": r"\b(?:made|make[sd]?|batches|drawn|worked) ahead\b|\bahead of time\b",
    "rematerialize": r"\brecomput\w*",
    "eval_variables": r"\btested variables\b",
    "truncated (by the field of view)": r"touch(?:es|ed|ing)?[ _](?:the )?edges?\b",
    "annotated slices": r"\b(?:drawn|annotated|real|labell?ed) levels\b|"
    r"\blevels (?:that|which|drawn)",
    "resumes, continues": r"\b(?:goes|go|going|went|gone) on(?:\b(?! (?:line|top|a |the ))|$)",
    "already done": r"\bfinished (?:before|earlier)\b",
    "reported": r"\btold\b(?! (?:\w+ ){0,3}apart)|\b(?:is|are|was) said\b",
    "requested": r"\b(?:is|are|was|were|be) asked\b|\basked (?:about|for)\b",
    "warning": r"\bcautions?\b|--caution\b|\bfindings?\b|^notes?: |\bnoted\b",
    "per muscle, per slice": r"\b(?:row|file|folder|second|seconds|ms|s|MB|Dice|DSC|one|once) an? "
    r"(?:muscle|slice|scan|case|subject|limb|side|layer|line|network|step|batch|epoch|trial)\b",
    "American: license": r"licen[c]e",
    "American: -ize, -yze": r"\b(?:un|re|de|ir)?(?:normal|initial|optim|organ|recogn|summar|"
    r"visual|regular|standard|minim|maxim|synchron|serial|random|general|special|token|vector|"
    r"parallel|util|discret|"
    r"real|local|penal|stabil|custom|capital|material|neutral|equal|final|modern|factor|quant)"
    r"is(?:e[sdr]?|ers|ing|ations?)\b|\banalys(?:e[sdr]?|ing)\b(?<!analyses)",
    "American: -or, -er": r"\b(?:colour|neighbour|behaviour|favour|honour|labour|tumour|vapour|"
    r"rigour|centre|metre|millimetre|centimetre|micrometre|fibre|litre|millilitre|theatre)",
    "American: one l": r"\b(?:label|model|travel|cancel|signal|channel|level|fuel|total)"
    r"l(?:ed|ing|er)s?\b",
    "American: other": r"\b(?:artefact|grey|oedema|programme|judgement|whilst|learnt|ageing|"
    r"catalogue|dialogue|analogue|aluminium|sceptic|cheque|defence|offence|acknowledgement)",
    "plain English": r"\bmanieth\b|\bunheeded\b|\bof no account\b|\bwhat is wrong with\b|"
    r"\bby and by\b|\bnought\b|\baught\b",
    "options of today": r"--no-second-look|--no-tidy|--licence|--caution|--memory(?![-\w])",
}


@pytest.mark.parametrize("right", RIGHT_WORDS)
def test_old_words_are_gone(right: str) -> None:
    pattern = re.compile(RIGHT_WORDS[right], re.IGNORECASE | re.MULTILINE)
    found = [f"{place}: {hit[0]}" for place, text in texts() for hit in pattern.finditer(text)]
    assert not found, f"{len(found)} times; write: {right}\n" + "\n".join(found[:100])


@cache
def texts() -> list[tuple[str, str]]:
    """Return pairs of a place and what people read there."""
    return [*documents(), *helps(main, "musclejax"), *sources()]


def documents() -> Iterator[tuple[str, str]]:
    files = [
        *ROOT.glob("*.md"),
        *(f for top in ("docs", *PACKAGES) for f in (ROOT / top).rglob("*.md")),
    ]
    for file in files:
        if file.name != "CHANGELOG.md":
            name = str(file.relative_to(ROOT))
            for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
                yield f"{name}:{number}", line


def helps(command: click.Command, name: str) -> Iterator[tuple[str, str]]:
    yield f"{name} --help", command.get_help(click.Context(command, info_name=name))
    for sub in getattr(command, "commands", {}).values():
        yield from helps(sub, f"{name} {sub.name}")


def sources() -> Iterator[tuple[str, str]]:
    """Strings, docstrings and comments; a name or a number is no text."""
    for file in sorted(f for top in PACKAGES for f in (ROOT / top).rglob("*.py")):
        name = str(file.relative_to(ROOT))
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield f"{name}:{node.lineno}", node.value
        with tokenize.open(file) as lines:
            for token in tokenize.generate_tokens(lines.readline):
                if token.type == tokenize.COMMENT:
                    yield f"{name}:{token.start[0]}", token.string
