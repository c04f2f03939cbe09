// SPDX-License-Identifier: Apache-2.0
#include "parse/call_grammar.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "parse/json_text.h"

namespace braid::parse {
namespace {

using Json = nlohmann::ordered_json;

enum class Arguments { kJson, kTagged, kPython };

// A format as text with holes. "%n" stands for a name, "%d" for a number, "%k" for a parameter's name.
struct Layout {
  std::string_view format;
  std::string_view lead = {};       // what may come before, as Lark, where its markers are tokens
  std::string_view trigger = {};    // the marker that begins calls; empty: none is sure to
  std::string_view begin = {};      // behind it
  std::string_view before, after;   // the arguments of a call
  std::string_view between = {};    // calls
  std::string_view end = {};
  bool repeats = true;              // several calls can follow each other
  Arguments arguments = Arguments::kJson;
  bool quotes_names = false;        // the name stands in a JSON string
  std::string_view before_text = {}, before_value = {}, after_value = {};  // of a tagged parameter
};

constexpr std::string_view kAnalysis = R"((<|channel|> "analysis" <|message|> /(.|\n)*/ <|end|> <|start|> "assistant")?)";

const std::vector<Layout>& layouts() {
  static const std::vector<Layout> all = {
      {.format = "hermes", .trigger = "<tool_call>", .before = "\n{\"name\": \"%n\", \"arguments\": ", .after = "}\n</tool_call>",
       .between = "\n<tool_call>", .quotes_names = true},
      {.format = "deepseek_v3", .trigger = "<｜tool▁calls▁begin｜>", .before = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>%n\n```json\n",
       .after = "\n```<｜tool▁call▁end｜>", .between = "\n", .end = "<｜tool▁calls▁end｜>"},
      {.format = "deepseek_v31", .trigger = "<｜tool▁calls▁begin｜>", .before = "<｜tool▁call▁begin｜>%n<｜tool▁sep｜>",
       .after = "<｜tool▁call▁end｜>", .end = "<｜tool▁calls▁end｜>"},
      {.format = "kimi_k2", .trigger = "<|tool_calls_section_begin|>", .before = "<|tool_call_begin|>functions.%n:%d<|tool_call_argument_begin|>",
       .after = "<|tool_call_end|>", .end = "<|tool_calls_section_end|>"},
      {.format = "openai", .lead = kAnalysis, .before = "<|channel|>commentary to=functions.%n <|constrain|>json<|message|>", .after = "",
       .repeats = false},
      {.format = "mistral", .trigger = "[TOOL_CALLS]", .before = "%n[ARGS]", .after = "", .between = "[TOOL_CALLS]"},
      {.format = "mistral_list", .trigger = "[TOOL_CALLS]", .begin = " [", .before = "{\"name\": \"%n\", \"arguments\": ", .after = "}",
       .between = ", ", .end = "]", .quotes_names = true},
      {.format = "llama3_json", .before = "{\"name\": \"%n\", \"parameters\": ", .after = "}", .between = "; ", .quotes_names = true},
      {.format = "json_list", .begin = "[", .before = "{\"name\": \"%n\", \"parameters\": ", .after = "}", .between = ", ", .end = "]",
       .quotes_names = true},
      {.format = "pythonic", .begin = "[", .before = "%n(", .after = ")", .between = ", ", .end = "]", .arguments = Arguments::kPython},
      {.format = "qwen3_coder", .trigger = "<tool_call>", .before = "\n<function=%n>\n", .after = "</function>\n</tool_call>",
       .between = "\n<tool_call>", .arguments = Arguments::kTagged, .before_text = "<parameter=%k>\n", .before_value = "<parameter=%k>\n",
       .after_value = "\n</parameter>\n"},
      {.format = "glm45", .trigger = "<tool_call>", .before = "%n\n", .after = "</tool_call>", .between = "\n<tool_call>",
       .arguments = Arguments::kTagged, .before_text = "<arg_key>%k</arg_key>\n<arg_value>", .before_value = "<arg_key>%k</arg_key>\n<arg_value>",
       .after_value = "</arg_value>\n"},
      {.format = "deepseek_v32", .trigger = "<｜DSML｜function_calls>", .begin = "\n", .before = "<｜DSML｜invoke name=\"%n\">\n",
       .after = "</｜DSML｜invoke>\n", .end = "</｜DSML｜function_calls>", .arguments = Arguments::kTagged,
       .before_text = "<｜DSML｜parameter name=\"%k\" string=\"true\">", .before_value = "<｜DSML｜parameter name=\"%k\" string=\"false\">",
       .after_value = "</｜DSML｜parameter>\n"},
      {.format = "deepseek_v4", .trigger = "<｜DSML｜tool_calls>", .begin = "\n", .before = "<｜DSML｜invoke name=\"%n\">\n",
       .after = "</｜DSML｜invoke>\n", .end = "</｜DSML｜tool_calls>", .arguments = Arguments::kTagged,
       .before_text = "<｜DSML｜parameter name=\"%k\" string=\"true\">", .before_value = "<｜DSML｜parameter name=\"%k\" string=\"false\">",
       .after_value = "</｜DSML｜parameter>\n"},
  };
  return all;
}

// Every marker that may be one token.
constexpr std::string_view kMarkers[] = {
    "<tool_call>", "</tool_call>", "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>",
    "<｜tool▁sep｜>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>", "<|tool_call_end|>",
    "<|tool_call_argument_begin|>", "<|channel|>", "<|message|>", "<|constrain|>", "<|end|>", "<|start|>", "[TOOL_CALLS]", "[ARGS]",
    "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>", "<parameter=", "</parameter>", "<function=", "</function>", "｜DSML｜"};

const Layout* layout_of(const CallRules& rules) {
  std::string_view name = rules.format;
  if (name == "llama4_json") name = "llama3_json";
  if (name == "llama4_pythonic") name = "pythonic";
  if (name == "qwen3_xml") name = "qwen3_coder";
  if (name == "glm47") name = "glm45";
  if (name == "mistral" && !rules.token_of("[ARGS]")) name = "mistral_list";
  const auto found = std::find_if(layouts().begin(), layouts().end(), [&](const Layout& l) { return l.format == name; });
  return found == layouts().end() ? nullptr : &*found;
}

std::string replaced(std::string_view text, std::string_view hole, std::string_view value) {
  std::string result(text);
  const std::size_t at = result.find(hole);
  return at == std::string::npos ? result : result.replace(at, hole.size(), value);
}

struct Tool {
  std::string name;
  Json parameters;
  bool strict = false;
};

std::vector<Tool> tools_of(std::string_view text) {
  std::vector<Tool> tools;
  const Json list = Json::parse(text.begin(), text.end(), nullptr, false);
  if (!list.is_array()) return tools;
  for (const Json& tool : list) {
    const Json function = tool.is_object() ? tool.value("function", Json()) : Json();
    if (!function.is_object() || !function.contains("name") || !function["name"].is_string()) continue;
    Json parameters = function.value("parameters", Json());
    if (!parameters.is_object()) parameters = Json::object();
    tools.push_back({function["name"], std::move(parameters), function.value("strict", Json()) == true});
  }
  return tools;
}

class Builder {
 public:
  Builder(const Layout& layout, const CallRules& rules) : layout_(layout), rules_(rules) {}

  // `any_arguments`: those of tools that are not strict.
  std::string build(const std::vector<Tool>& tools, bool with_trigger, bool more, bool any_arguments) {
    std::string calls;
    for (std::size_t i = 0; i < tools.size(); ++i) {
      calls += (i ? " | " : "") + call(tools[i], i, any_arguments && !tools[i].strict);
    }
    std::string start = rules_.token_of("<|end|>") ? lead_tokens(std::string(layout_.lead)) + " " : "";
    if (with_trigger) start += literal(layout_.trigger);
    start += literal(layout_.begin) + "call";
    if (more) start += " (" + literal(layout_.between) + "call)*";
    return "start: " + start + " " + literal(layout_.end) + "\ncall: " + calls + "\n" + rules_text_;
  }

 private:
  // Where the first marker that is a token begins, and which it is; the text's end if there is none.
  std::pair<std::size_t, std::string_view> first_token(std::string_view text) const {
    std::pair<std::size_t, std::string_view> first{text.size(), {}};
    for (const std::string_view marker : kMarkers) {
      const std::size_t found = text.find(marker);
      if (found < first.first && rules_.token_of(marker)) first = {found, marker};
    }
    return first;
  }

  // Text as Lark: its markers are tokens where the model has them.
  std::string literal(std::string_view text) const {
    std::string lark;
    while (!text.empty()) {
      const auto [at, marker] = first_token(text);
      if (at > 0) lark += parse::quoted(text.substr(0, at)) + " ";
      if (!marker.empty()) lark += "<[" + std::to_string(*rules_.token_of(marker)) + "]> ";
      text.remove_prefix(at + marker.size());
    }
    return lark;
  }

  // The same for the markers that stand bare in a layout's lead.
  std::string lead_tokens(std::string lark) const {
    for (const std::string_view marker : kMarkers) {
      const std::string token = literal(marker);
      for (std::size_t at = lark.find(marker); at != std::string::npos; at = lark.find(marker, at + token.size())) {
        lark.replace(at, marker.size(), token);
      }
    }
    return lark;
  }

  std::string call(const Tool& tool, std::size_t index, bool any_arguments) {
    const std::string rule = "args" + std::to_string(index);
    std::string name = tool.name;
    if (layout_.quotes_names) name = parse::quoted(name), name = name.substr(1, name.size() - 2);
    std::string_view before(layout_.before);
    const std::size_t hole = before.find("%d");
    std::string head = literal(replaced(before.substr(0, hole), "%n", name));
    if (hole != std::string_view::npos) head += "/[0-9]+/ " + literal(before.substr(hole + 2));
    const Json schema = any_arguments ? Json::object() : tool.parameters;
    switch (layout_.arguments) {
      case Arguments::kJson: rules_text_ += rule + ": " + json(with_type(schema)) + "\n"; break;
      case Arguments::kTagged: tagged(rule, schema); break;
      case Arguments::kPython: python(rule, schema); break;
    }
    return head + rule + " " + literal(layout_.after);
  }

  static Json with_type(Json schema) {
    if (schema.empty()) schema["type"] = "object";
    return schema;
  }

  // One way to write white space, that of Python's json.dumps.
  static std::string json(Json schema) {
    schema["x-guidance"] = {{"whitespace_flexible", false}, {"item_separator", ", "}, {"key_separator", ": "}};
    return "%json " + schema.dump(-1, ' ', false, Json::error_handler_t::replace);
  }

  struct Parameter {
    std::string name;
    Json schema;
    bool required;
  };

  static std::vector<Parameter> parameters_of(const Json& schema) {
    std::vector<Parameter> parameters;
    const Json properties = schema.value("properties", Json());
    const Json required = schema.value("required", Json());
    if (!properties.is_object()) return parameters;
    for (const auto& [name, property] : properties.items()) {
      Json own = property.is_object() ? property : Json::object();
      for (const char* definitions : {"$defs", "definitions"}) {
        if (schema.contains(definitions)) own[definitions] = schema[definitions];
      }
      parameters.push_back({name, std::move(own), std::find(required.begin(), required.end(), name) != required.end()});
    }
    return parameters;
  }

  static bool is_text(const Json& schema) {
    const Json type = schema.value("type", Json());
    return type == "string" || (type.is_array() && std::find(type.begin(), type.end(), "string") != type.end());
  }

  void tagged(const std::string& rule, const Json& schema) {
    std::string all, more;
    for (const Parameter& p : parameters_of(schema)) {
      const std::string own = rule + "p" + std::to_string(counter_++);
      all += own + (p.required ? " " : "? ");
      const bool text = is_text(p.schema);
      more += own + ": " + literal(replaced(text ? layout_.before_text : layout_.before_value, "%k", p.name)) + value(own, p.schema, text, more);
    }
    rules_text_ += rule + ": " + (all.empty() ? "\"\"" : all) + "\n" + more;
  }

  // The rest of a parameter's rule, and what rules it needs.
  std::string value(const std::string& own, const Json& schema, bool text, std::string& more) {
    if (!text) return json(schema) + " " + literal(layout_.after_value) + "\n";
    if (const Json choices = schema.value("enum", Json()); choices.is_array() && !choices.empty()) {
      std::string words;
      for (const Json& choice : choices) {
        if (choice.is_string()) words += (words.empty() ? "" : " | ") + parse::quoted(choice.get<std::string>());
      }
      if (!words.empty()) return "(" + words + ") " + literal(layout_.after_value) + "\n";
    }
    const std::string_view end = layout_.after_value;
    const std::size_t token = first_token(end).first;
    if (token < end.size()) return "/(.|\\n)*" + as_regex(end.substr(0, token)) + "/ " + literal(end.substr(token)) + "\n";
    more += own + "t[suffix=" + parse::quoted(end) + "]: /(.|\\n)*/\n";
    return own + "t\n";
  }

  static std::string as_regex(std::string_view text) {
    std::string regex;
    for (const char c : text) {
      if (c == '\n') regex += "\\n";
      else if (c == '<' || c == '>' || c == '/') regex += std::string("\\") + c;
      else regex += c;
    }
    return regex;
  }

  // Parameters in their order, with commas between those that are there.
  void python(const std::string& rule, const Json& schema) {
    const auto parameters = parameters_of(schema);
    std::string more;
    const auto name = [&](const char* kind, std::size_t i) { return rule + kind + std::to_string(i); };
    for (std::size_t i = parameters.size(); i-- > 0;) {
      const Parameter& p = parameters[i];
      more += name("p", i) + ": " + parse::quoted(p.name + "=") + " " + json(p.schema) + "\n";
      more += name("f", i) + ": " + name("p", i) + " " + name("r", i + 1) + (p.required ? "" : " | " + name("f", i + 1)) + "\n";
      more += name("r", i) + ": \", \" " + name("p", i) + " " + name("r", i + 1) + (p.required ? "" : " | " + name("r", i + 1)) + "\n";
    }
    for (const char* kind : {"f", "r"}) more += name(kind, parameters.size()) + ": \"\"\n";
    rules_text_ += rule + ": " + name("f", 0) + "\n" + more;
  }

  const Layout& layout_;
  const CallRules& rules_;
  std::string rules_text_;
  std::size_t counter_ = 0;
};

Error unknown(const CallRules& rules) {
  return invalid_argument("tool calls in the format " + std::string(rules.format) + " cannot be required; use tool_choice auto", "tool_choice");
}

}  // namespace

Result<std::string> call_grammar(const CallRules& rules) {
  const Layout* layout = layout_of(rules);
  if (layout == nullptr) return unknown(rules);
  auto tools = tools_of(rules.tools);
  if (!rules.only.empty()) std::erase_if(tools, [&](const Tool& tool) { return tool.name != rules.only; });
  if (tools.empty()) return invalid_argument("tool_choice names no tool of the request", "tool_choice");
  return Builder(*layout, rules).build(tools, true, layout->repeats && rules.parallel && rules.only.empty(), false);
}

Result<std::optional<TriggeredCalls>> strict_call_grammar(const CallRules& rules) {
  const Layout* layout = layout_of(rules);
  const auto tools = tools_of(rules.tools);
  if (layout == nullptr || layout->trigger.empty() || tools.empty()) return std::optional<TriggeredCalls>();
  const bool section = !layout->end.empty() && rules.parallel;
  return std::optional(TriggeredCalls{std::string(layout->trigger), Builder(*layout, rules).build(tools, false, section, true)});
}

bool any_strict(std::string_view tools) {
  const auto all = tools_of(tools);
  return std::any_of(all.begin(), all.end(), [](const Tool& tool) { return tool.strict; });
}

}  // namespace braid::parse
