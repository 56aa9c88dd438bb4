"""Compares the snippets in a document with the programs they come from.

    check_snippets.py DOCUMENT

A snippet is a fenced block after a comment "<!-- PROGRAM: NAME -->". It must equal, but for indentation, the lines between
"-- NAME" and "-- end" in that program. Prints one line per snippet; fails if one differs or if there is none.
"""

import re
import sys
import textwrap
from pathlib import Path

SNIPPET = re.compile(r"<!-- (\S+): (\w+) -->\n```\w+\n(.*?)```", re.DOTALL)


def lines_between(program, name):
    found = re.search(rf"^ *(?:#|//) -- {name}\n(.*?)^ *(?:#|//) -- end$", program, re.DOTALL | re.MULTILINE)
    return textwrap.dedent(found.group(1)).strip() if found else None


def main(document):
    snippets = SNIPPET.findall(Path(document).read_text())
    failed = not snippets
    for program, name, shown in snippets:
        same = lines_between((Path(__file__).parent / program).read_text(), name) == shown.strip()
        print(f"{'ok' if same else 'not ok'} snippet {name} of {program}")
        failed |= not same
    return failed


sys.exit(main(*sys.argv[1:]))
