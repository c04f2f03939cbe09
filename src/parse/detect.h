// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

#include "parse/parser.h"

namespace braid::parse {

// The parsers for a model, by the markers that its chat template writes around tool calls and reasoning
// of earlier turns. A name stays empty where the template shows no format that is known.
ParserNames detect_parsers(std::string_view chat_template);

}  // namespace braid::parse
