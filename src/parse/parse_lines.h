// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <iosfwd>

#include "base/result.h"
#include "parse/parser.h"

namespace braid::parse {

// Reads JSON lines {pieces, prompt, request, tools, finish, chat_template_kwargs}, gives the pieces
// to a parser one by one, and writes a line {content, reasoning, tool_calls, deltas}, where deltas
// has [number of the piece, what it added]. A bad line gives {"error": message} and the rest goes on.
// `request`: what differs from a plain request with tools.
Status parse_lines(const ParserNames& names, std::istream& in, std::ostream& out);

}  // namespace braid::parse
