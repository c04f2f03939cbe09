// SPDX-License-Identifier: Apache-2.0
#include "text/render_lines.h"

#include <cstdio>
#include <iostream>

#include "app/commands.h"

namespace braid::app {

int render(Words words) {
  if (words.size() != 1 || is_help(words[0])) {
    std::puts("usage: braid render FOLDER|TEMPLATE < cases.jsonl\n\n"
              "Renders chat templates. Each input line is an object {messages, tools, documents, kwargs,\n"
              "variables, now}; each output line {\"rendered\": text} or {\"error\": message}.");
    return words.size() == 1 ? 0 : 2;
  }
  const Status status = text::render_lines(words[0], std::cin, std::cout);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
