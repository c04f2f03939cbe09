// SPDX-License-Identifier: Apache-2.0
#include "parse/parse_lines.h"

#include <cstdio>
#include <iostream>

#include "app/commands.h"
#include "app/parse.h"
#include "config/reference.h"

namespace braid::app {
namespace {

struct ParseSettings {
  std::string tool_call_parser;
  std::string reasoning_parser;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("tool-call-parser", self.tool_call_parser, {.help = "Format of tool calls; unset: none are looked for"});
    v.field("reasoning-parser", self.reasoning_parser, {.help = "Format of reasoning; unset: none is looked for"});
  }
};

}  // namespace

int parse(Words words) {
  ParseSettings settings;
  auto options = parse_options();
  options.positional_fields = {};
  const auto parsed = config::parse(settings, words, options);
  if (!parsed.ok()) return fail(parsed.error());
  if (parsed->help) {
    std::puts(config::help<ParseSettings>({"braid parse [flags] < outputs.jsonl",
        "Splits outputs of models into content, reasoning and tool calls. Each input line is an object\n"
        "{pieces, prompt, request, tools, finish, chat_template_kwargs}; each output line\n"
        "{content, reasoning, tool_calls, deltas} or {\"error\": message}.",
        "  braid parse --tool-call-parser hermes --reasoning-parser qwen3 < outputs.jsonl\n"}).c_str());
    return 0;
  }
  const Status status = parse::parse_lines({settings.tool_call_parser, settings.reasoning_parser}, std::cin, std::cout);
  return status.ok() ? 0 : fail(status.error());
}

}  // namespace braid::app
