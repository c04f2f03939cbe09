#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants one fault at a time in a small tree and expects tools/check_layers.py to find it."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CHECKER = Path(__file__).resolve().parents[2] / "tools/check_layers.py"
HEAD = "// SPDX-License-Identifier: Apache-2.0\n"
HEADER = HEAD + "#pragma once\n"
LAYERS = """set(BRAID_LAYERS
  "base||What lies below."
  "kv|base|Blocks."
  "sched|kv|Order."
  "backend/cpu|base|Kernels."
)
"""


class CheckLayersTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = Path(self.folder.name)
        self.write("cmake/layers.cmake", LAYERS)
        self.write("docs/architecture.md",
                   "<!-- layers: begin (written by tools/check_layers.py --write) -->\n"
                   "<!-- layers: end -->\n")
        for layer in ("base", "kv", "sched", "backend/cpu"):
            self.write(f"src/{layer}/CMakeLists.txt", f"add_layer(NAME {layer} HEADERS a.h)\n")
            self.write(f"src/{layer}/a.h", HEADER)
        self.run_checker("--write")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_checker(self, *arguments):
        command = [sys.executable, str(CHECKER), "--root", str(self.root), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def expect(self, *offences):
        result = self.run_checker()
        self.assertEqual(result.stdout.splitlines(), list(offences), result.stderr)
        self.assertEqual(result.returncode, 1 if offences else 0)

    def test_a_tree_without_faults_passes(self):
        self.write("src/sched/a.cc", HEAD + '#include "base/a.h"\n#include "kv/a.h"\n')
        self.expect()

    def test_an_include_upwards_is_found(self):
        self.write("src/kv/a.cc", HEAD + '#include "sched/a.h"\n')
        self.expect("src/kv/a.cc:2: layer 'kv' must not include 'sched'")

    def test_an_include_of_a_sibling_is_found(self):
        self.write("src/backend/cpu/a.cc", HEAD + '#include "kv/a.h"\n')
        self.expect("src/backend/cpu/a.cc:2: layer 'backend/cpu' must not include 'kv'")

    def test_a_test_may_include_every_layer_below(self):
        self.write("src/backend/cpu/a_test.cc", HEAD + '#include "kv/a.h"\n')
        self.expect()

    def test_a_dependency_that_is_not_below_is_refused(self):
        self.write("cmake/layers.cmake", LAYERS.replace("kv|base", "kv|sched"))
        result = self.run_checker()
        self.assertIn("'kv' names 'sched', which is not below it", result.stderr)
        self.assertNotEqual(result.returncode, 0)

    def test_a_long_file_is_found_and_a_kernel_may_be_longer(self):
        self.write("src/kv/a.cc", HEAD + "\n" * 600)
        self.write("src/backend/cpu/a.cu", HEAD + "\n" * 799)
        self.expect("src/kv/a.cc:601: 601 lines; the limit is 600")

    def test_conditions_are_found_outside_their_folders(self):
        self.write("src/base/a.h", HEADER + "#ifdef X\n#endif\n")
        self.write("src/backend/cpu/a.cc", HEAD + "#if X\n#endif\n")
        self.expect()
        self.write("src/kv/a.cc", HEAD + "# ifndef X\n#endif\n")
        where = "#if is allowed only in src/backend, src/transport and one header of src/base"
        self.expect(f"src/kv/a.cc:2: {where}")

    def test_a_second_header_of_base_with_conditions_is_found(self):
        self.write("src/base/CMakeLists.txt", "add_layer(NAME base HEADERS a.h b.h)\n")
        self.write("src/base/a.h", HEADER + "#if X\n#endif\n")
        self.write("src/base/b.h", HEADER + "#if X\n#endif\n")
        self.expect("src/base/b.h:3: #if is allowed only in src/backend, src/transport and one "
                    "header of src/base")

    def test_a_missing_licence_line_is_found(self):
        self.write("src/kv/a.cc", "int x;\n")
        self.write("tools/a.py", "x = 1\n")
        what = "the first line must say 'SPDX-License-Identifier: Apache-2.0'"
        self.expect(f"src/kv/a.cc:1: {what}", f"tools/a.py:1: {what}")

    def test_a_header_without_guard_or_listing_is_found(self):
        self.write("src/kv/b.h", HEAD)
        self.expect("src/kv/b.h:1: a header needs #pragma once",
                    "src/kv/b.h:1: is not listed in src/kv/CMakeLists.txt")

    def test_a_file_in_no_layer_is_found(self):
        self.write("src/stray/a.cc", HEAD)
        self.expect("src/stray/a.cc:1: lies in no layer of cmake/layers.cmake")

    def test_a_stale_table_is_found(self):
        self.write("cmake/layers.cmake", LAYERS.replace("Order.", "Who comes next."))
        self.expect("docs/architecture.md:1: the table of layers is stale; "
                    "run tools/check_layers.py --write")


if __name__ == "__main__":
    unittest.main()
