#!/usr/bin/env python3
"""Turns the SQL of a Markdown document into a script for psql that checks it.

    sql_blocks.py FIRST DOCUMENT

Every ```sql block becomes a test; after each psql prints a TAP line "ok N - DOCUMENT:LINE", counting from FIRST, and it
ends at the first that fails. An HTML comment in the line before a block says what is special about it:

    <!-- test: skip -->           is not run: it needs what a throwaway server does not have
    <!-- test: error 42501 -->    the last statement fails with this SQLSTATE

SQL that a reader need not see, such as what makes the tables of an example, stands in a comment of its own:

    <!-- test: run
    create table t ();
    -->
"""

import re
import sys
from pathlib import Path

PIECE = re.compile(
    r"^<!-- test: run\n(?P<hidden>.*?)^-->$"
    r"|^(?:<!-- test: (?P<mark>[^\n]*?) -->\n)?```sql\n(?P<shown>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"(?P<skip>skip)|error (?P<sqlstate>[0-9A-Z]{5})")


def script(text, name, first):
    """The lines of the psql script."""
    lines, number = [], first
    marks = len(re.findall(r"^<!-- test:", text, re.MULTILINE))
    for piece in PIECE.finditer(text):
        place = f"{name}:{text.count(chr(10), 0, piece.start()) + 1}"
        if piece["hidden"] is not None:
            marks -= 1
            lines.append(piece["hidden"])
            continue
        mark = None
        if piece["mark"] is not None:
            marks -= 1
            mark = MARK.fullmatch(piece["mark"])
            if mark is None:
                sys.exit(f"{place}: unknown mark: {piece['mark']}")
        if mark and mark["skip"]:
            continue
        if mark:
            lines += [
                r"\set ON_ERROR_STOP off", piece["shown"], r"\set ON_ERROR_STOP on",
                f"select :'LAST_ERROR_SQLSTATE' = '{mark['sqlstate']}' and :'ERROR' as as_expected \\gset",
                r"\if :as_expected", r"\else",
                f"do $$ begin raise exception '{place}: should have failed with {mark['sqlstate']}'; end $$;",
                r"\endif",
            ]
        else:
            lines.append(piece["shown"])
        lines.append(f"\\qecho ok {number} - {place}")
        number += 1
    if marks:
        sys.exit(f"{name}: a \"test:\" comment does not stand directly before a block")
    return lines


def main():
    first, document = int(sys.argv[1]), Path(sys.argv[2])
    print("\n".join(script(document.read_text(), document.name, first)))


if __name__ == "__main__":
    main()
