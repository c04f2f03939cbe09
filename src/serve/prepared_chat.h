// SPDX-License-Identifier: Apache-2.0
// A conversation, from what any of the chat endpoints was asked to what is generated: the prompt, the
// constraints of the output (required and strict tool calls, limits of reasoning), and what reads it.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "serve/generation.h"

namespace braid::serve {

using Parsers = std::vector<std::unique_ptr<parse::OutputParser>>;

struct PreparedChat {
  protocol::ChatRequest request;
  std::string text;                                // the rendered prompt
  std::vector<std::vector<std::int32_t>> prompts;  // one
  Parsers parsers;  // one a choice; none where an answer is content as it stands
};

// What a piece of a choice's text adds to the answer; the last piece ends it.
parse::Delta read_on(parse::OutputParser& parser, const Choice& choice, std::string_view text);
// The parser of the only choice, which there is in any case.
std::unique_ptr<parse::OutputParser> only_parser(PreparedChat& chat);

Result<PreparedChat> prepare_chat(Context& context, protocol::ChatRequest request);

}  // namespace braid::serve
