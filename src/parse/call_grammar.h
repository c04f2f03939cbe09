// SPDX-License-Identifier: Apache-2.0
// Grammars of tool calls as a model writes them, for constrained output: Lark in the dialect of the text
// layer's grammars, with the tools' JSON schemas inside. What such a grammar allows, the parser of the
// same format reads as calls.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"

namespace braid::parse {

struct CallRules {
  std::string_view format;  // a tool parser's name
  std::string_view tools;   // the request's JSON list
  std::string_view only;    // the one tool that must be called, once; empty: any
  bool parallel = true;     // several calls may follow each other
  // The id of a marker that is one token of the model; none where it is plain text.
  std::function<std::optional<std::int32_t>(std::string_view)> token_of;
};

// The whole output: one call, or more where they are allowed.
Result<std::string> call_grammar(const CallRules& rules);

// Calls amid free text: `grammar` says what follows `trigger`.
struct TriggeredCalls {
  std::string trigger;
  std::string grammar;
};
// None where the format has no marker to begin with. Arguments of tools that are not strict are any
// JSON object.
Result<std::optional<TriggeredCalls>> strict_call_grammar(const CallRules& rules);

// Whether one of the tools asks for arguments that fit its schema.
bool any_strict(std::string_view tools);

}  // namespace braid::parse
