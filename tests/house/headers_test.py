#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A header that leans on its includer is refused by add_layer's header check.

  headers_test.py CMAKE SOURCE_DIR
"""
import subprocess
import sys
import tempfile
from pathlib import Path

CMAKE, SOURCE = sys.argv[1], sys.argv[2]
PROJECT = f"""cmake_minimum_required(VERSION 3.25)
project(planted LANGUAGES CXX)
set(CMAKE_CXX_STANDARD 20)
set(BRAID_LAYERS "base||Planted.")
add_library(braid_flags INTERFACE)
target_include_directories(braid_flags INTERFACE ${{PROJECT_SOURCE_DIR}}/src)
include({SOURCE}/cmake/add_layer.cmake)
add_subdirectory(src/base)
"""
HEAD = "// SPDX-License-Identifier: Apache-2.0\n#pragma once\n"
USE = "inline std::string name() { return {}; }\n"


FIRST = '#include "base/a.h"\n#include <string>\n'
LATER = '#include <string>\n#include "base/a.h"\n'


def verify(folder, header, source):
    root = Path(folder)
    base = root / "src/base"
    base.mkdir(parents=True, exist_ok=True)
    (root / "CMakeLists.txt").write_text(PROJECT)
    (base / "CMakeLists.txt").write_text("add_layer(NAME base HEADERS a.h b.h SOURCES a.cc)\n")
    (base / "a.cc").write_text(source)
    (base / "a.h").write_text(header)
    (base / "b.h").write_text(HEAD)
    build = root / "build"
    subprocess.run([CMAKE, "-G", "Ninja", "-S", root, "-B", build], check=True, capture_output=True)
    return subprocess.run([CMAKE, "--build", build, "--target", "all", "all_verify_interface_header_sets"],
                          capture_output=True, text=True, check=False)


for source in FIRST, LATER:
    with tempfile.TemporaryDirectory() as folder:
        result = verify(folder, HEAD + "#include <string>\n" + USE, source)
        assert result.returncode == 0, result.stdout
    with tempfile.TemporaryDirectory() as folder:
        result = verify(folder, HEAD + USE, source)
        assert result.returncode != 0, "the planted header was not found"
        assert "a.h" in result.stdout and "std::string" in result.stdout.replace("‘", ""), result.stdout
print("the header check finds the planted fault")
