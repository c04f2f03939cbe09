# SPDX-License-Identifier: Apache-2.0
# The page as one C++ string: style and script stand where page.html names them.
file(READ ${FOLDER}/page.html page)
file(READ ${FOLDER}/style.css style)
file(READ ${FOLDER}/script.js script)
string(REPLACE "/* style.css */" "${style}" page "${page}")
string(REPLACE "/* script.js */" "${script}" page "${page}")
file(WRITE ${OUT} "// Written by embed.cmake.\n#include \"dashboard/dashboard.h\"\n\nnamespace braid::dashboard {\nstd::string_view page() {\n  return R\"braid(${page})braid\";\n}\n}  // namespace braid::dashboard\n")
