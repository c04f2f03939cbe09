// SPDX-License-Identifier: Apache-2.0
// Reads the text that a model generates: reasoning, content and tool calls, as it comes. Formats are
// described in tool_format.h, reasoning.h and harmony.h. No output is an error: what does not follow
// its format is content. What has been told is never taken back, and does not depend on where the
// pieces end.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "parse/delta.h"
#include "parse/request.h"

namespace braid::parse {

class OutputParser {
 public:
  virtual ~OutputParser() = default;
  virtual Delta push(std::string_view text) = 0;
  // `cut`: the output reached its length limit. Of an unfinished call the arguments so far stay.
  virtual Delta finish(bool cut) = 0;
};

// Names are vLLM's; empty: no such parser. An unknown name is an error that lists the known ones.
struct ParserNames {
  std::string tools;
  std::string reasoning;
};
Status check_names(const ParserNames& names);
// Whether the parsers look for markers that may be special tokens, which the text must then have.
bool reads_special_tokens(const ParserNames& names, const Request& request);

// The reasoning with which the output of a request may begin; none: it begins with the answer.
struct ReasoningMarks {
  std::string open, close;
  bool open_in_prompt = false;
};
std::optional<ReasoningMarks> reasoning_marks(const ParserNames& names, const Request& request);

Result<std::unique_ptr<OutputParser>> make_parser(const ParserNames& names, Request request);

}  // namespace braid::parse
