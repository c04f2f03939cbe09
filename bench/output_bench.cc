// SPDX-License-Identifier: Apache-2.0
// What reading a model's output costs, a token at a time: the detokenizer, and each format's parser
// on the text of the same tokens. Prints one line a format: million tokens a second on one core.
// usage: output_bench FOLDER, that of a tokenizer
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "base/check.h"
#include "parse/parser.h"
#include "text/detokenizer.h"
#include "text/tokenizer.h"

namespace braid {
namespace {

using Clock = std::chrono::steady_clock;

struct Case {
  const char* name;
  parse::ParserNames parsers;
  std::string before;  // the markup around reasoning,
  std::string between;
  std::string call;  // and a call, none if empty
};

std::string prose(int sentences) {
  std::string text;
  for (int i = 0; i < sentences; ++i) {
    text += "A river is water that flows to the sea; number " + std::to_string(i) + " is {longer} than [most], \"they\" say.\n";
  }
  return text;
}

// Seconds of the fastest of several runs.
template <class Run>
double fastest(Run run) {
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const auto start = Clock::now();
    run();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

std::vector<std::string> pieces_of(const std::shared_ptr<const text::Tokenizer>& tokenizer, const std::vector<std::int32_t>& ids) {
  text::Detokenizer detokenizer(tokenizer, false);
  std::vector<std::string> pieces;
  pieces.reserve(ids.size());
  for (const std::int32_t& id : ids) pieces.push_back(detokenizer.append({&id, 1}));
  return pieces;
}

std::size_t calls_in(const Case& c, const std::vector<std::string>& pieces) {
  auto parser = parse::make_parser(c.parsers, {});
  CHECK(parser.ok());
  std::size_t calls = 0;
  const auto count = [&](const parse::Delta& delta) {
    for (const auto& call : delta.calls) calls += !call.name.empty();
  };
  for (const std::string& piece : pieces) count((*parser)->push(piece));
  count((*parser)->finish(false));
  return calls;
}

void measure(const Case& c, const std::shared_ptr<const text::Tokenizer>& tokenizer) {
  const auto ids = tokenizer->encode(c.before + prose(400) + c.between + prose(400) + c.call, false);
  const auto pieces = pieces_of(tokenizer, ids);
  CHECK((calls_in(c, pieces) > 0) == !c.call.empty());
  const double detokenizing = fastest([&] { pieces_of(tokenizer, ids); });
  const double parsing = fastest([&] { calls_in(c, pieces); });
  const auto millions = static_cast<double>(ids.size()) * 1e-6;
  std::printf("%-16s %9zu %12.2f %12.2f %12.2f\n", c.name, ids.size(), millions / detokenizing, millions / parsing, millions / (detokenizing + parsing));
}

int run(const char* folder) {
  const auto tokenizer = text::load_tokenizer(folder);
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "%s\n", tokenizer.error().message.c_str());
    return 1;
  }
  const std::string arguments = R"({"city": "Paris", "days": 3, "note": ")" + std::string(2000, 'x') + R"("})";
  const std::string think = "<think>\n", answer = "</think>\n\n";
  const Case cases[] = {
      {"none", {}, "", "", ""},
      {"hermes", {"hermes", "qwen3"}, think, answer, "<tool_call>\n{\"name\": \"weather\", \"arguments\": " + arguments + "}\n</tool_call>"},
      {"qwen3_coder", {"qwen3_coder", "qwen3"}, think, answer, "<tool_call>\n<function=weather>\n<parameter=city>\nParis\n</parameter>\n</function>\n</tool_call>"},
      {"deepseek_v31", {"deepseek_v31", "deepseek_r1"}, think, answer,
       "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>" + arguments + "<｜tool▁call▁end｜><｜tool▁calls▁end｜>"},
      {"kimi_k2", {"kimi_k2", "kimi_k2"}, think, answer,
       "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0<|tool_call_argument_begin|>" + arguments + "<|tool_call_end|><|tool_calls_section_end|>"},
      {"openai", {"openai", "openai_gptoss"}, "<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>",
       "<|end|><|start|>assistant<|channel|>commentary to=functions.weather <|constrain|>json<|message|>" + arguments + "<|call|>"},
  };
  std::printf("%-16s %9s %12s %12s %12s\n", "format", "tokens", "detokenizer", "parser", "both");
  for (const Case& c : cases) measure(c, *tokenizer);
  return 0;
}

}  // namespace
}  // namespace braid

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: output_bench FOLDER\n");
    return 2;
  }
  return braid::run(words[1]);
}
