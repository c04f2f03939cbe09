#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks the rules of the house that a compiler does not.

  tools/check_layers.py [--root DIR]    prints each offence as FILE:LINE: what; exit status 1 if any
  tools/check_layers.py --write         rewrites the table of layers in docs/architecture.md

* A file of src/LAYER includes only headers of LAYER and of the layers that its row in
  cmake/layers.cmake names, transitively. A test may include every layer below as well.
* A file has at most 600 lines, a device kernel (.cu, .cuh) at most 800.
* #if, #ifdef and #ifndef stand only in src/backend, src/transport and one header of src/base.
* Each source file begins with the SPDX line, each header has #pragma once.
* Each header is listed in its layer's CMakeLists.txt, so that it is compiled alone.
* The table of layers in docs/architecture.md is the one in cmake/layers.cmake.
"""
import argparse
import re
import sys
from pathlib import Path

MAX_LINES = 600
MAX_KERNEL_LINES = 800
CONDITIONAL_FOLDERS = ("backend", "transport")
CODE = {".h", ".cc", ".cu", ".cuh"}
SPDX = "SPDX-License-Identifier: Apache-2.0"
BEGIN = "<!-- layers: begin (written by tools/check_layers.py --write) -->"
END = "<!-- layers: end -->"


def read_layers(root):
    """[(name, [dependencies], what)] from bottom to top."""
    text = (root / "cmake/layers.cmake").read_text()
    rows = re.findall(r'^\s*"([^"|]+)\|([^"|]*)\|([^"]*)"', text, re.M)
    return [(name, deps.split(), what) for name, deps, what in rows]


def reachable(layers):
    """For each layer the set of layers it may include."""
    allowed = {}
    for name, deps, _ in layers:
        allowed[name] = {name}
        for dep in deps:
            if dep not in allowed:
                raise SystemExit(f"cmake/layers.cmake: '{name}' names '{dep}', which is not below it")
            allowed[name] |= allowed[dep]
    return allowed


def layer_of(path, names):
    """The layer a path relative to src lies in, or None."""
    parts = path.split("/")
    for depth in (2, 1):
        candidate = "/".join(parts[:depth])
        if len(parts) > depth and candidate in names:
            return candidate
    return None


def table_of(layers):
    lines = ["| layer | builds on | what it is |", "|---|---|---|"]
    for name, deps, what in layers:
        lines.append(f"| `{name}` | {' '.join(f'`{dep}`' for dep in deps)} | {what} |")
    return "\n".join(lines)


class Checker:
    def __init__(self, root):
        self.root = root
        self.layers = read_layers(root)
        self.allowed = reachable(self.layers)
        self.order = [name for name, _, _ in self.layers]
        self.offences = []
        self.base_headers_with_conditions = set()

    def report(self, path, line, what):
        self.offences.append(f"{path.relative_to(self.root)}:{line}: {what}")

    def run(self):
        source = self.root / "src"
        for path in sorted(source.rglob("*")):
            if not path.is_file() or "target" in path.relative_to(source).parts:
                continue
            if path.suffix in CODE:
                self.check_code(path)
            elif path.suffix == ".rs":
                self.check_text(path, path.read_text().splitlines())
        for folder in ("tools", "tests", "bench"):
            for pattern in ("*.py", "*.sh", "*.cc", "*.h"):
                for path in sorted((self.root / folder).rglob(pattern)):
                    self.check_text(path, path.read_text().splitlines())
        self.check_document()
        return self.offences

    def check_text(self, path, lines):
        limit = MAX_KERNEL_LINES if path.suffix in (".cu", ".cuh") else MAX_LINES
        if len(lines) > limit:
            self.report(path, len(lines), f"{len(lines)} lines; the limit is {limit}")
        if not any(SPDX in line for line in lines[:2]):
            self.report(path, 1, f"the first line must say '{SPDX}'")

    def check_code(self, path):
        relative = path.relative_to(self.root / "src").as_posix()
        lines = path.read_text().splitlines()
        self.check_text(path, lines)
        layer = layer_of(relative, self.allowed)
        if layer is None:
            self.report(path, 1, "lies in no layer of cmake/layers.cmake")
            return
        if path.suffix in (".h", ".cuh"):
            self.check_header(path, relative, layer, lines)
        for number, line in enumerate(lines, 1):
            self.check_include(path, number, line, layer)
            if re.match(r"\s*#\s*(if|ifdef|ifndef|elif)\b", line):
                self.check_condition(path, number, relative)

    def check_header(self, path, relative, layer, lines):
        if not any(line.strip() == "#pragma once" for line in lines):
            self.report(path, 1, "a header needs #pragma once")
        listing = self.root / "src" / layer / "CMakeLists.txt"
        inside = relative[len(layer) + 1 :]
        if not listing.exists():
            return  # an interface that is ahead of its layer
        if inside not in re.split(r"[\s()\"]+", listing.read_text()):
            self.report(path, 1, f"is not listed in src/{layer}/CMakeLists.txt")

    def check_include(self, path, number, line, layer):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            return
        target = layer_of(match.group(1), self.allowed)
        if target is None:
            if "/" not in match.group(1):
                self.report(path, number, f'write the whole path: "{layer}/{match.group(1)}"')
            return
        permitted = self.allowed[layer]
        if path.stem.endswith("_test"):
            permitted = permitted | set(self.order[: self.order.index(layer)])
        if target not in permitted:
            self.report(path, number, f"layer '{layer}' must not include '{target}'")

    def check_condition(self, path, number, relative):
        folder = relative.split("/")[0]
        if folder in CONDITIONAL_FOLDERS:
            return
        if folder == "base" and path.suffix == ".h":
            self.base_headers_with_conditions.add(relative)
            if len(self.base_headers_with_conditions) == 1:
                return
        self.report(path, number, "#if is allowed only in src/backend, src/transport and one "
                                  "header of src/base")

    def check_document(self):
        document = self.root / "docs/architecture.md"
        if not document.exists():
            self.offences.append("docs/architecture.md:1: is missing")
            return
        text = document.read_text()
        between = re.search(re.escape(BEGIN) + r"\n(.*)\n" + re.escape(END), text, re.S)
        if not between:
            self.report(document, 1, "has no table of layers between its markers")
        elif between.group(1) != table_of(self.layers):
            self.report(document, 1, "the table of layers is stale; run tools/check_layers.py --write")


def write_document(root):
    document = root / "docs/architecture.md"
    text = document.read_text()
    begin, end = text.index(BEGIN), text.index(END)
    table = table_of(read_layers(root))
    document.write_text(text[:begin] + BEGIN + "\n" + table + "\n" + text[end:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    if arguments.write:
        write_document(root)
        return 0
    offences = Checker(root).run()
    for offence in offences:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
