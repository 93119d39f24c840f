"""The documentation agrees with the tree: links, paths, cited pitfalls and named tests exist."""

import re
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


def facts(page: Path) -> dict[str, list[str]]:
    """What a page and its translation have in common, in this order: levels of headings, links, figures, code."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^```\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return {
        "headings": re.findall(r"^#+ ", prose, re.MULTILINE),
        "links": [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not link.startswith("README")],
        "code": sorted(re.sub(r"\s+", " ", code) for code in re.findall(r"`([^`]+)`", prose)),
        "numbers": sorted(re.findall(r"(?<![\w.-])\d[\d,.e-]*\d|(?<![\w.-])\d(?![\w-])", prose)),
        "in blocks": re.findall(
            rf"^(?:pip .*|\|.*|page: .*|(?:{'|'.join(FOLDERS)})\S*)", "".join(blocks), re.MULTILINE
        ),
    }


def test_the_front_page_is_the_same_in_chinese() -> None:
    english, chinese = facts(ROOT / "README.md"), facts(ROOT / "README.zh.md")
    assert {kind: found for kind, found in english.items() if found != chinese[kind]} == {}
