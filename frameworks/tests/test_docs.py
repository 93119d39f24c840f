"""The documentation agrees with the tree: links, paths, cited pitfalls and named tests exist."""

import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "experiments", "frameworks", "parity_tests", "reports")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SOURCES = sorted(
    path
    for pattern in ("*.py", "*.md", "*.toml", "*.j2")
    for folder in FOLDERS
    for path in (ROOT / folder).rglob(pattern)
    if "generated" not in path.parts and path != Path(__file__)
)
HEADINGS = re.findall(r"^#+ ([A-Z]\.\d+) ", (ROOT / "docs/pitfalls.md").read_text(encoding="utf-8"), re.MULTILINE)
# References to the notes that the project was planned with: a reader of the repository does not have them.
OUTSIDE = re.compile(r"PITFALLS|DESIGN\.md|HOUSE\.md|\(RECIPE(?: section|\))|\.\./shared")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def cited_pitfalls(text: str) -> list[str]:
    """Numbers cited as ``docs/pitfalls.md B.1``, ``... B.1, D.5 and D.8``, also over a line break."""
    lists = re.findall(r"pitfalls\.md\W+((?:[A-Z]\.\d+(?:\W+and\W+|\W+)?)+)", text)
    return [number for found in lists for number in re.findall(r"[A-Z]\.\d+", found)]


def slug(heading: str) -> str:
    """A heading's anchor as GitHub makes it: lower case, spaces to dashes, no punctuation."""
    return re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")


def broken_link(page: Path, link: str) -> bool:
    """Whether a relative link, with or without an anchor, leads nowhere."""
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    if not target.exists():
        return True
    headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
    return bool(anchor) and anchor not in map(slug, headings)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_relative_links_resolve(page: Path) -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    local = [link for link in links if not link.startswith(("http://", "https://", "mailto:"))]
    assert [link for link in local if broken_link(page, link)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=relative)
def test_paths_in_the_documentation_exist(page: Path) -> None:
    """Paths in backticks, which may be patterns (``*``, NAME), and the README's tree at the beginning of lines."""
    text = page.read_text(encoding="utf-8")
    folders = "|".join(FOLDERS)
    paths = re.findall(rf"`((?:{folders})/[\w./*-]+)[`:]", text) + re.findall(
        rf"^(?:{folders})/?[\w/]*", text, re.M
    )
    patterns = {path: re.sub(r"[A-Z]{2,}", "*", path.rstrip("/")) for path in paths if "generated" not in path}
    assert [path for path, pattern in patterns.items() if not any(ROOT.glob(pattern))] == []


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_tests_that_a_page_names_exist(page: Path) -> None:
    named = re.findall(r"([\w/]+\.py)::(\w+)", page.read_text(encoding="utf-8"))
    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).is_file() or f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")
    ]
    assert missing == []


def test_every_pitfall_names_a_test() -> None:
    entries = re.split(r"^### ", (ROOT / "docs/pitfalls.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "- **Test:** `" not in entry] == []
    assert len(entries) == len(HEADINGS) == len(set(HEADINGS)) > 0


def test_cited_pitfalls_are_described() -> None:
    cited = {
        number: relative(path)
        for path in SOURCES
        for number in cited_pitfalls(path.read_text(encoding="utf-8"))
        if number not in HEADINGS
    }
    assert cited == {}


def test_citations_of_pitfalls_are_found_in_every_form() -> None:
    text = "x (docs/pitfalls.md A.4). y docs/pitfalls.md B.1, D.5\n    # and D.8: z docs/pitfalls.md\n#   E.9 B.2"
    assert cited_pitfalls(text) == ["A.4", "B.1", "D.5", "D.8", "E.9", "B.2"]


def test_no_file_refers_to_a_document_outside_the_repository() -> None:
    found = {relative(path): OUTSIDE.findall(path.read_text(encoding="utf-8")) for path in [*SOURCES, *PAGES]}
    assert {path: words for path, words in found.items() if words} == {}


def test_the_front_page_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_the_front_page_says_how_long_its_commands_take() -> None:
    """Both commands, cold and warm, in minutes; the session that proves parity says the same in noxfile.py."""
    stated = r"(\d+)\s+minutes\s+the\s+first\s+time,\s+then\s+(?:about\s+)?(\d+)"
    front = re.findall(stated, (ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(front) == 2 and all(int(cold) > int(warm) for cold, warm in front)
    assert re.findall(stated, (ROOT / "noxfile.py").read_text(encoding="utf-8")) == front[1:]


def sections(page: Path) -> list[str]:
    """The parts of a page, each of which begins with a heading; a # in a code block is a comment."""
    text = page.read_text(encoding="utf-8")
    blocks = [range(*block.span()) for block in re.finditer(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)]
    headings = [found.start() for found in re.finditer(r"^#+ ", text, re.MULTILINE)]
    cuts = sorted({0, *(start for start in headings if not any(start in block for block in blocks))})
    return [text[start:end] for start, end in zip(cuts, [*cuts[1:], len(text)], strict=True)]


def facts(section: str) -> dict[str, tuple[str, ...]]:
    """What a section and its translation have in common: heading, links, code, numbers, lists, tables, blocks."""
    blocks = re.findall(r"^```.*?^```", section, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```.*?^```", "", section, flags=re.MULTILINE | re.DOTALL)
    # Of a block: commands, rows and keys without a comment, and the paths of the tree; the rest is drawing.
    code = rf"^(?:```\w*|(?:{'|'.join(FOLDERS)})\S*|(?:\$ |pip |python |nox |\w+: |\|).*?(?=\s+# |$))"
    number = r"(?<![\w.-])\d[\d,.e-]*\d|(?<![\w.-])\d(?![\w-])"
    return {
        "heading": tuple(re.findall(r"^#+(?= )", prose)),
        "link": tuple(re.findall(r"\]\(([^)\s]+)\)", prose)),
        "code": tuple(sorted(re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose))),
        "number": tuple(sorted(re.findall(number, prose, re.ASCII))),
        "formula": tuple(re.findall(r"\$\$(.+?)\$\$", prose, re.DOTALL)),
        "item of a list": tuple(re.findall(r"^ *(-|\d+\.) ", prose, re.MULTILINE)),
        "row with bars": tuple(str(line.count("|")) for line in prose.split("\n") if line.startswith("|")),
        "line of a block": tuple(re.findall(code, "\n".join(blocks), re.MULTILINE | re.ASCII)),
    }


def pairs(page: Path, chinese: Path) -> list[tuple[str | None, str | None]]:
    """Each section beside its translation, found by the facts that they share; None where there is none."""
    ours, theirs = sections(page), sections(chinese)
    # Links are left out: those to headings are known only once this list is.
    keys = [[tuple((facts(section) | {"link": ()}).items()) for section in side] for side in (ours, theirs)]
    return [
        pair
        for _, start, end, other, last in SequenceMatcher(None, *keys, autojunk=False).get_opcodes()
        for pair in zip_longest(ours[start:end], theirs[other:last])
    ]


def translated_link(page: Path, link: str) -> str:
    """What a translation writes for a link of its English page: the Chinese page and heading, where they exist."""
    name, _, anchor = link.partition("#")
    target = (page.parent / name if name else page).resolve()
    chinese = target.with_suffix(".zh.md")
    if target.name.endswith(".zh.md"):  # The link at the top to the other language.
        return name.replace(".zh.md", ".md")
    if target.suffix != ".md" or not chinese.is_file():
        return link
    anchors = {slug(title(ours)): slug(title(theirs)) for ours, theirs in pairs(target, chinese) if ours and theirs}
    return name.replace(".md", ".zh.md") + (f"#{anchors.get(anchor, anchor)}" if anchor else "")


def title(section: str) -> str:
    return section.split("\n")[0].lstrip("# ")


def untranslated(page: Path, chinese: Path) -> list[str]:
    """What the Chinese page lacks, has too much of, or has in another order, by section of the English page."""
    lines, whole = [], []
    for ours, theirs in pairs(page, chinese):
        if ours and theirs:
            english = facts(ours)
            english["link"] = tuple(translated_link(page, link) for link in english["link"])
            where = f"in {title(ours)!r}, there {title(theirs)!r}"
            lines += [f"{where}: {line}" for line in different(english, facts(theirs))]
        elif ours:
            whole.append(f"missing: the section {title(ours)!r}")
        elif theirs:
            whole.append(f"too much: the section {title(theirs)!r}")
    return whole + lines


def different(english: dict[str, tuple[str, ...]], chinese: dict[str, tuple[str, ...]]) -> list[str]:
    """For each kind of fact: those that only one of two sections has, or has more often."""
    lines = []
    for kind, found in english.items():
        missing, surplus = Counter(found) - Counter(chinese[kind]), Counter(chinese[kind]) - Counter(found)
        if missing:
            lines.append(f"missing: the {kind} {'; '.join(missing.elements())}")
        if surplus:
            lines.append(f"too much: the {kind} {'; '.join(surplus.elements())}")
        if found != chinese[kind] and not missing and not surplus:
            lines.append(f"in another order: the {kind} {'; '.join(chinese[kind])}")
    return lines


@pytest.mark.parametrize("chinese", [page for page in PAGES if page.name.endswith(".zh.md")], ids=relative)
def test_a_page_is_the_same_in_chinese(chinese: Path) -> None:
    """X.zh.md has each section, link, command, number and table of the X.md beside it; each names the other."""
    english = chinese.with_name(chinese.name.replace(".zh.md", ".md"))
    lines = untranslated(english, chinese)
    assert f"]({chinese.name})" in sections(english)[0] and f"]({english.name})" in sections(chinese)[0]
    assert not lines, f"{relative(chinese)} is not {relative(english)}:\n" + "\n".join(lines)


ENGLISH = """# One

[中文](p.zh.md) [a](a.png) [c](c.png): 5 steps, `--steps`, [two](#two), [b](b.md)

## Two

- A

$$ e $$

| A | B |
|---|---|
| 1 | 2 |

```
python a.py  # A
# B
```
"""
CHINESE = """# 一

[English](p.md) [a](a.png) [c](c.png)：5 步，`--steps`，[二](#二)，[b](b.zh.md)

## 二

- 甲

$$ e $$

| 甲 | 乙 |
|---|---|
| 1 | 2 |

```
python a.py  # 甲
# 乙
```
"""


@pytest.mark.parametrize(
    ("correct", "fault", "named"),
    [
        ("## 二", "二", "missing: the section 'Two'"),
        ("## 二", "### 二", "there '二': missing: the heading ##"),
        ("5 步", "6 步", "in 'One', there '一': missing: the number 5"),
        ("`--steps`", "`--step`", "missing: the code --steps"),
        ("(#二)", "(#一)", "missing: the link #二"),
        ("(b.zh.md)", "(b.md)", "missing: the link b.zh.md"),
        ("| 1 | 2 |\n", "", "in 'Two', there '二': missing: the row with bars 3"),
        ("python a.py  # 甲", "python b.py  # 甲", "missing: the line of a block python a.py"),
        ("- 甲", "甲", "missing: the item of a list -"),
        ("$$ e $$", "$$ c $$", "missing: the formula  e"),
        ("[a](a.png) [c](c.png)", "[c](c.png) [a](a.png)", "in another order: the link"),
    ],
)
def test_a_fault_of_a_translation_is_named(tmp_path: Path, correct: str, fault: str, named: str) -> None:
    (tmp_path / "p.md").write_text(ENGLISH, encoding="utf-8")
    (tmp_path / "p.zh.md").write_text(CHINESE, encoding="utf-8")
    (tmp_path / "b.md").touch()
    (tmp_path / "b.zh.md").touch()
    page, translation = tmp_path / "p.md", tmp_path / "p.zh.md"
    assert untranslated(page, translation) == []
    text = translation.read_text(encoding="utf-8")
    assert correct in text
    translation.write_text(text.replace(correct, fault, 1), encoding="utf-8")
    assert any(named in line for line in untranslated(page, translation))
