// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace braid::parse {

// The parameter types that the tools of a request declare.
class ToolTypes {
 public:
  ToolTypes() = default;
  // `tools`: the request's JSON list; anything else gives no tools.
  explicit ToolTypes(std::string_view tools);

  bool has(std::string_view tool) const { return types_.find(tool) != types_.end(); }

  // The JSON value that `text` is as this parameter: of the types that its schema allows the first that
  // the text fits (null, integer, number, boolean, object or array, string), and a string where the
  // parameter is not declared.
  std::string value(std::string_view tool, std::string_view parameter, std::string_view text) const;

 private:
  using Parameters = std::map<std::string, std::set<std::string>, std::less<>>;
  std::map<std::string, Parameters, std::less<>> types_;
};

// Whether a chat template was told to let the model think, by its JSON arguments.
std::optional<bool> asks_for_thinking(std::string_view template_kwargs);

// What of a request decides how its output is read.
struct Request {
  enum class Tools { kOffered, kDeclined, kAbsent };  // kDeclined: "tool_choice": "none"

  std::string prompt;  // its end tells whether reasoning is already open or closed
  Tools tools = Tools::kOffered;
  ToolTypes types;
  bool parallel_calls = true;     // false: calls after the first are dropped
  bool include_reasoning = true;  // false: reasoning is dropped
  std::optional<bool> thinking;   // what the template was told
  std::string call_id_prefix = "call_";  // of calls to which the model gives no id
};

}  // namespace braid::parse
