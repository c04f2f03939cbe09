// SPDX-License-Identifier: Apache-2.0
#include "serve/prepared_chat.h"

#include "parse/call_grammar.h"

namespace braid::serve {
namespace {

using protocol::StructuredOutput;
using Tools = parse::Request::Tools;
using ToolChoice = protocol::ChatRequest::ToolChoice;

constexpr std::string_view kHarmony = "openai";
constexpr std::string_view kOwnFormat = "json_list";  // where the model has none

bool must_call(const protocol::ChatRequest& chat) {
  return chat.tool_choice == ToolChoice::kRequired || chat.tool_choice == ToolChoice::kNamed;
}

// The parsers for one request: calls that must come have a format in any case.
Result<parse::ParserNames> names_for(const Context& context, const protocol::ChatRequest& chat) {
  parse::ParserNames names = context.parsers;
  if (!context.reads_calls && !must_call(chat)) names.tools.clear();
  if (chat.tools == "null" || chat.tool_choice == ToolChoice::kNone) return names;
  if (names.tools.empty() && must_call(chat)) names.tools = kOwnFormat;
  if (!names.tools.empty()) return names;
  return invalid_argument("tool_choice \"auto\" needs --enable-auto-tool-choice and --tool-call-parser, and this server runs without; "
                          "restart it with them, or send \"none\", \"required\" or a named tool", "tool_choice");
}

parse::Request parse_request(const protocol::ChatRequest& chat, const std::string& prompt) {
  parse::Request request;
  request.prompt = prompt;
  request.types = parse::ToolTypes(chat.tools);
  request.tools = chat.tools == "null" ? Tools::kAbsent : chat.tool_choice == ToolChoice::kNone ? Tools::kDeclined : Tools::kOffered;
  request.parallel_calls = chat.parallel_tool_calls && chat.tool_choice != ToolChoice::kNamed;
  request.include_reasoning = chat.include_reasoning;
  request.thinking = parse::asks_for_thinking(chat.template_kwargs);
  return request;
}

parse::CallRules call_rules(const Context& context, const protocol::ChatRequest& chat, std::string_view format) {
  parse::CallRules rules{.format = format, .tools = chat.tools, .only = chat.tool_name, .parallel = chat.parallel_tool_calls, .token_of = {}};
  rules.token_of = [&context](std::string_view marker) { return context.parts.tokenizer->id_of(marker); };
  return rules;
}

// Grammars of calls that must come, or of strict ones that may.
Status constrain_calls(const Context& context, const std::string& format, PreparedChat& chat) {
  StructuredOutput& structured = chat.request.sampling.structured;
  const bool offered = chat.request.tools != "null" && chat.request.tool_choice != ToolChoice::kNone;
  if (!offered || !context.parts.tokenizer) return {};
  const parse::CallRules rules = call_rules(context, chat.request, format);
  if (must_call(chat.request)) {
    ASSIGN_OR_RETURN(auto grammar, parse::call_grammar(rules));
    structured = {StructuredOutput::Kind::kGrammar, std::move(grammar), {}, {}};
    return {};
  }
  if (structured.kind != StructuredOutput::Kind::kNone || !parse::any_strict(chat.request.tools)) return {};
  ASSIGN_OR_RETURN(auto strict, parse::strict_call_grammar(rules));
  if (strict) structured = {StructuredOutput::Kind::kGrammar, std::move(strict->grammar), {}, std::move(strict->trigger)};
  return {};
}

Status limit_reasoning(const parse::ParserNames& names, const parse::Request& request, PreparedChat& chat) {
  const auto& budget = chat.request.thinking_budget;
  if (budget && names.reasoning.empty()) {
    return invalid_argument("thinking_token_budget needs --reasoning-parser, and this server runs without one", "thinking_token_budget");
  }
  const bool has_lead = names.tools == kHarmony && must_call(chat.request);  // the grammar has a place for reasoning
  const auto marks = parse::reasoning_marks(names, request);
  if (marks && !has_lead) chat.request.sampling.reasoning = {marks->open, marks->close, marks->open_in_prompt, budget};
  return {};
}

}  // namespace

parse::Delta read_on(parse::OutputParser& parser, const Choice& choice, std::string_view text) {
  parse::Delta delta = parser.push(text);
  if (choice.done()) parse::append(delta, parser.finish(choice.finish == protocol::FinishReason::kLength));
  return delta;
}

std::unique_ptr<parse::OutputParser> only_parser(PreparedChat& chat) {
  return chat.parsers.empty() ? *parse::make_parser({}, {}) : std::move(chat.parsers.front());
}

Result<PreparedChat> prepare_chat(Context& context, protocol::ChatRequest request) {
  PreparedChat chat;
  chat.request = std::move(request);
  RETURN_IF_ERROR(context.check(chat.request));
  ASSIGN_OR_RETURN(const parse::ParserNames names, names_for(context, chat.request));
  ASSIGN_OR_RETURN(chat.text, render_chat(context, chat.request));
  ASSIGN_OR_RETURN(auto tokens, tokens_of(context, {chat.text, {}, false}, chat.request));
  chat.prompts.push_back(std::move(tokens));

  parse::Request reads = parse_request(chat.request, chat.text);
  RETURN_IF_ERROR(constrain_calls(context, names.tools, chat));
  RETURN_IF_ERROR(limit_reasoning(names, reads, chat));
  if (names.tools.empty() && names.reasoning.empty()) return chat;
  if (parse::reads_special_tokens(names, reads)) chat.request.sampling.skip_special_tokens = false;
  for (int i = 0; i < chat.request.sampling.n; ++i) {
    reads.call_id_prefix = context.new_id("call_") + "_";
    ASSIGN_OR_RETURN(auto parser, parse::make_parser(names, reads));
    chat.parsers.push_back(std::move(parser));
  }
  return chat;
}

}  // namespace braid::serve
