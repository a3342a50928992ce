#!/usr/bin/env python3
"""docs/REQUIREMENTS.md: each row names a test that is there, or says why there is none.

`requirements.py --self-test` shows that this can say no.
"""

import functools
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = "docs/REQUIREMENTS.md"

CRATES = {
    "cipher": "dataplane/cipher",
    "config": "gateway/config",
    "control": "control/daemon",
    "crypto": "control/crypto",
    "dataplane": "dataplane/daemon",
    "e2e": "tests/e2e",
    "engine": "dataplane/engine",
    "fuzz": "tests/fuzz",
    "ike": "control/ike",
    "ipsec_mb": "ffi/ipsec-mb",
    "link": "gateway/link",
    "model": "gateway/model",
    "wire": "gateway/wire",
}
LEVELS = {"MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "advice"}
# "5.1.2", "A2.1", in tables of several RFCs "4106 5"; several of them with commas between.
SECTION = r"(?:\d{4} )?(?:[A-F]\d*|\d+)(?:\.\d+)*"
SECTIONS = re.compile(rf"{SECTION}(?:, {SECTION})*")
# Between the attribute and the function only other attributes and comments.
BETWEEN = r"(?:\s*#\[[^\]]*\]|\s*//[^\n]*)*\s*"
TEST = re.compile(rf"#\[test\]{BETWEEN}(?:pub(?:\([a-z]+\))? )?fn (\w+)")
IGNORED = re.compile(rf"#\[ignore[^\]]*\]{BETWEEN}fn (\w+)")


@functools.cache
def tests_in(path):
    """Names of the tests of one file; those that are ignored are none."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    return set(TEST.findall(text)) - set(IGNORED.findall(text))


def files_of(crate, modules):
    """Where a module of a crate, or one of its integration tests, may stand."""
    way = "/".join(modules)
    places = [f"src/{way}.rs", f"src/{way}/mod.rs", f"tests/{way}.rs", f"tests/{way}/main.rs"]
    places += [f"tests/{folder}/{way}.rs" for folder in sub_folders(crate)]
    if modules[-1:] == ["tests"]:
        # A module within its file.
        above = "/".join(modules[:-1])
        places += [f"src/{above}.rs", f"src/{above}/mod.rs"]
    found = [f"{CRATES[crate]}/{place}" for place in places]
    return [path for path in found if os.path.isfile(os.path.join(ROOT, path))]


@functools.cache
def sub_folders(crate):
    tests = os.path.join(ROOT, CRATES[crate], "tests")
    return sorted(os.listdir(tests)) if os.path.isdir(tests) else []


@functools.cache
def words_of_vm():
    """All that the names of the rows of `make test-vm` are made of."""
    source = ""
    for place in ["tests/vm/src/row.rs", "tests/vm/src/ike.rs", "tests/vm/src/daemon.rs", "gateway/model/src/suite.rs"]:
        with open(os.path.join(ROOT, place), encoding="utf-8") as file:
            source += file.read()
    words = re.findall(r"[a-z][a-z0-9-]*", source)
    return set(words) | {part for word in words for part in word.split("-")}


def check_reference(reference):
    """`None`, or what is wrong with it."""
    if reference.startswith("vm: "):
        unknown = [word for word in reference[4:].split() if word not in words_of_vm()]
        return f"no row of tests/vm has {', '.join(unknown)} in its name" if unknown else None
    crate, *modules, name = reference.split("::")
    if crate not in CRATES:
        return f"{reference}: unknown crate {crate}"
    files = files_of(crate, modules) if modules else []
    if not files:
        return f"{reference}: no such module in {CRATES[crate]}"
    if not any(name in tests_in(path) for path in files):
        return f"{reference}: no such test in {', '.join(files)}"
    return None


def check_row(cells):
    """All that is wrong with a row."""
    if len(cells) != 4:
        return [f"{len(cells)} cells where there should be 4"]
    sections, level, what, shown = cells
    wrong = []
    if not SECTIONS.fullmatch(sections):
        wrong.append(f"section {sections!r} is none")
    if level not in LEVELS:
        wrong.append(f"level {level!r} is none")
    if len(what) < 10:
        wrong.append("says nothing")
    references = [word for word in re.findall(r"`([^`]+)`", shown) if "::" in word or word.startswith("vm:")]
    reason = re.search(r"\*\*(?:Exception|Not met):\*\* (.*)", shown)
    if not references and not reason:
        wrong.append("neither a test nor a reason")
    if reason and len(reason[1]) < 15:
        wrong.append("an exception without its reason")
    return wrong + [error for error in map(check_reference, references) if error]


def check(lines):
    """Everything wrong with the page, as (line, message)."""
    wrong, rows, in_table = [], 0, False
    for number, line in enumerate(lines, 1):
        line = line.strip()
        if not line.startswith("|"):
            in_table = False
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not in_table:
            in_table = True
            if cells != ["§", "level", "what", "shown by"]:
                wrong.append((number, "a table with other columns"))
        elif not all(re.fullmatch("-+", cell) for cell in cells):
            rows += 1
            wrong += [(number, message) for message in check_row(cells)]
    if rows == 0:
        wrong.append((len(lines), "no requirement at all"))
    return wrong


def self_test():
    """Rows that must be refused, each with a piece of what must be said; and some that must not."""
    test = "`engine::ecn::figure_4`"
    bad = [
        (f"| 4.x | MUST | long enough to say | {test} |", "section"),
        (f"| §4 | MUST | long enough to say | {test} |", "section"),
        (f"| 4 | must | long enough to say | {test} |", "level"),
        (f"| 4 | MUST | short | {test} |", "says nothing"),
        (f"| 4 | MUST | long enough to say {test} |", "3 cells"),
        ("| 4 | MUST | long enough to say | |", "neither"),
        ("| 4 | MUST | long enough to say | `ecn.rs` |", "neither"),
        ("| 4 | MUST | long enough to say | **Exception:** no |", "without its reason"),
        ("| 4 | MUST | long enough to say | `engine::ecn::figure_5` |", "no such test"),
        ("| 4 | MUST | long enough to say | `engine::ecn::outer` |", "no such test"),
        ("| 4 | MUST | long enough to say | `engine::nowhere::figure_4` |", "no such module"),
        ("| 4 | MUST | long enough to say | `engine::figure_4` |", "no such module"),
        ("| 4 | MUST | long enough to say | `motor::ecn::figure_4` |", "unknown crate"),
        ("| 4 | MUST | long enough to say | `vm: smell-o-vision` |", "no row"),
        (f"| 4 | MUST | long enough to say | {test}, `engine::ecn::figure_5` |", "no such test"),
    ]
    good = [
        f"| 4.2, A2.1 | MUST NOT | long enough to say | {test}, `vm: path-mtu` |",
        "| 4106 8.2 | MUST | long enough to say | **Exception:** a reason that explains it |",
        "| 4 | MAY | long enough to say | `engine::spd::tests::the_index_finds_what_the_list_finds` |",
    ]
    head = ["| § | level | what | shown by |", "|---|---|---|---|"]
    for row, want in bad:
        said = check([*head, row])
        assert any(number == 3 and want in message for number, message in said), f"{row}: {said}"
    assert check([*head, *good]) == [], check([*head, *good])
    assert check(head) and check([]) and check(["| a | b |", *good]), "no rows, no table, other columns"
    assert {"a", "b"} == set(TEST.findall("#[test]\nfn a() {}\n#[test]\n// why\n#[cfg(x)]\nfn b() {}\nfn c() {}"))
    assert ["a"] == IGNORED.findall("#[test]\n#[ignore = \"slow\"]\nfn a() {}\n#[test]\nfn b() {}")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    with open(os.path.join(ROOT, PAGE), encoding="utf-8") as file:
        wrong = check(file.read().splitlines())
    for number, message in wrong:
        print(f"{PAGE}:{number}: {message}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
