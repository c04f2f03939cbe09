// SPDX-License-Identifier: Apache-2.0
// JSON as text: values are passed on as the model wrote them.
#pragma once

#include <cstddef>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace braid::parse {

bool is_space(char c);
std::string_view trimmed(std::string_view text);
std::string quoted(std::string_view text);
bool is_json(std::string_view text);
// `text` itself, trimmed, where that is JSON, else as a JSON string.
std::string json_or_quoted(std::string_view text);

// Follows brackets and strings of JSON text that comes in pieces.
class BracketDepth {
 public:
  // Takes characters up to the one that closes the first bracket; says how many it took.
  std::size_t take(std::string_view text);
  bool closed() const { return opened_ && depth_ == 0; }
  bool in_string() const { return in_string_; }

 private:
  int depth_ = 0;
  bool opened_ = false;
  bool in_string_ = false;
  bool escaped_ = false;
};

// {"name": …, "arguments": …} as far as it has come.
struct CallObject {
  std::optional<std::string> name;      // once its string has ended
  std::optional<std::string> arguments; // as written; cut where the text ends
  bool valid = false;                   // all of it is one JSON object
};
CallObject read_call(std::string_view text, std::initializer_list<std::string_view> argument_keys);

}  // namespace braid::parse
