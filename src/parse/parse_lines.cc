// SPDX-License-Identifier: Apache-2.0
#include "parse/parse_lines.h"

#include <istream>
#include <nlohmann/json.hpp>
#include <ostream>

namespace braid::parse {
namespace {

using Json = nlohmann::ordered_json;

const Json& field(const Json& object, const char* name) {
  static const Json none;
  const auto found = object.is_object() ? object.find(name) : object.end();
  return object.is_object() && found != object.end() ? *found : none;
}

bool is_false(const Json& value) { return value.is_boolean() && !value.get<bool>(); }

Request request_of(const Json& line) {
  Request request;
  const Json& given = field(line, "request");
  if (field(line, "prompt").is_string()) request.prompt = line["prompt"].get<std::string>();
  const bool replaced = given.is_object() && given.contains("tools");
  request.types = ToolTypes((replaced ? given["tools"] : field(line, "tools")).dump());
  if (field(given, "tool_choice") == "none") request.tools = Request::Tools::kDeclined;
  if (replaced && given["tools"].empty()) request.tools = Request::Tools::kAbsent;
  request.parallel_calls = !is_false(field(given, "parallel_tool_calls"));
  request.include_reasoning = !is_false(field(given, "include_reasoning"));
  request.thinking = asks_for_thinking(field(line, "chat_template_kwargs").dump());
  return request;
}

class Answer {
 public:
  void add(std::size_t step, const Delta& delta) {
    if (delta.empty()) return;
    Json shown = Json::object();
    if (!delta.content.empty()) shown["content"] = delta.content;
    if (!delta.reasoning.empty()) shown["reasoning"] = delta.reasoning;
    for (const CallDelta& call : delta.calls) shown["tool_calls"].push_back(add(call));
    content_ += delta.content;
    reasoning_ += delta.reasoning;
    deltas_.push_back({step, shown});
  }

  Json json() const {
    return {{"content", content_}, {"reasoning", reasoning_}, {"tool_calls", calls_}, {"deltas", deltas_}};
  }

 private:
  Json add(const CallDelta& call) {
    Json shown = {{"index", call.index}};
    if (!call.name.empty()) shown.update({{"id", call.id}, {"name", call.name}});
    if (!call.arguments.empty()) shown["arguments"] = call.arguments;
    if (!call.name.empty()) calls_.push_back({{"id", call.id}, {"name", call.name}, {"arguments", ""}});
    auto& arguments = calls_[static_cast<std::size_t>(call.index)]["arguments"].get_ref<std::string&>();
    arguments += call.arguments;
    return shown;
  }

  std::string content_, reasoning_;
  Json calls_ = Json::array();
  Json deltas_ = Json::array();
};

Result<Json> parse_line(const ParserNames& names, const std::string& text) {
  const Json line = Json::parse(text, nullptr, false);
  if (!field(line, "pieces").is_array()) return invalid_argument("a line is an object with a list \"pieces\"", "pieces");
  ASSIGN_OR_RETURN(const auto parser, make_parser(names, request_of(line)));
  Answer answer;
  std::size_t step = 0;
  for (const Json& piece : line["pieces"]) {
    if (!piece.is_string()) return invalid_argument("pieces are strings", "pieces");
    answer.add(step++, parser->push(piece.get_ref<const std::string&>()));
  }
  answer.add(step, parser->finish(field(line, "finish") == "length"));
  return answer.json();
}

}  // namespace

Status parse_lines(const ParserNames& names, std::istream& in, std::ostream& out) {
  RETURN_IF_ERROR(check_names(names));
  std::string text;
  while (std::getline(in, text)) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto answer = parse_line(names, text);
    const Json line = answer.ok() ? *answer : Json{{"error", answer.error().message}};
    // ASCII only: some readers take U+2028 and U+0085 for line ends.
    out << line.dump(-1, ' ', true, Json::error_handler_t::replace) << '\n' << std::flush;
  }
  return {};
}

}  // namespace braid::parse
