// SPDX-License-Identifier: Apache-2.0
// Any bytes as the output of a model, for every pair of parsers: whole and in pieces it gives the
// same, byte for byte. The first two bytes choose the parsers and the size of the pieces.
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "parse/parser.h"
#include "require.h"

namespace {

using namespace braid::parse;

constexpr std::pair<const char*, const char*> kParsers[] = {
    {"deepseek_v3", "deepseek_r1"}, {"deepseek_v31", "deepseek_v3"}, {"deepseek_v32", ""}, {"deepseek_v4", "deepseek_v4"},
    {"kimi_k2", "kimi_k2"},         {"hermes", "qwen3"},             {"qwen3_coder", ""},  {"glm45", "glm45"},
    {"mistral", "mistral"},         {"llama4_json", ""},             {"pythonic", ""},     {"openai", "openai_gptoss"},
};

std::string read(std::size_t which, std::string_view output, std::size_t size, bool cut) {
  Request request;
  request.types = ToolTypes(R"([{"type":"function","function":{"name":"f","parameters":{"properties":{"n":{"type":"integer"}}}}}])");
  auto parser = make_parser({kParsers[which].first, kParsers[which].second}, std::move(request));
  require(parser.ok(), "the names are known");
  std::string content, reasoning, calls;
  const auto add = [&](const Delta& delta) {
    content += delta.content;
    reasoning += delta.reasoning;
    for (const CallDelta& call : delta.calls) calls += call.id + call.name + call.arguments;
  };
  for (std::size_t at = 0; at < output.size(); at += size) add((*parser)->push(output.substr(at, size)));
  add((*parser)->finish(cut));
  return content + '\0' + reasoning + '\0' + calls;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view output(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t which = data[0] % std::size(kParsers);
  const bool cut = data[1] % 2 != 0;
  const std::string whole = read(which, output, output.size() + 1, cut);
  require(read(which, output, 1, cut) == whole, "bytes one by one give what the whole gives");
  require(read(which, output, 2 + data[1] % 9, cut) == whole, "pieces give what the whole gives");
  return 0;
}
