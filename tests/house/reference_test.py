#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The pages of docs/reference are what the program prints, and a stale page is noticed.

  reference_test.py PROGRAM FOLDER            compares; then the same with a planted change
  reference_test.py --write PROGRAM FOLDER    writes the pages
"""
import subprocess
import sys
from pathlib import Path


def pages(program):
    return {name: subprocess.run([program, name], capture_output=True, text=True, check=True).stdout
            for name in ("config", "metrics", "router")}


def stale(printed, stored):
    return [name for name, text in printed.items() if stored.get(name) != text]


def main(arguments):
    write = arguments[0] == "--write"
    program, folder = arguments[-2], Path(arguments[-1])
    printed = pages(program)
    if write:
        for name, text in printed.items():
            (folder / f"{name}.md").write_text(text)
        return 0
    stored = {name: (folder / f"{name}.md").read_text() for name in printed}
    outdated = stale(printed, stored)
    for name in outdated:
        print(f"{folder}/{name}.md is stale; run `make reference`")
    planted = dict(stored, config=stored["config"].replace("|", "!", 1))
    assert "config" in stale(printed, planted), "a planted change was not noticed"
    return 1 if outdated else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
