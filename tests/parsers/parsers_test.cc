// SPDX-License-Identifier: Apache-2.0
// Outputs of models, read as their formats' definitions and vLLM agree, however they are cut into pieces.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "parse/parse_lines.h"

namespace braid::parse {
namespace {

using Json = nlohmann::json;

const std::string kGolden = std::string(BRAID_BINARY_DIR) + "/golden/parsers/";

std::vector<std::string> names() {
  std::vector<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(kGolden)) found.push_back(entry.path().stem());
  std::sort(found.begin(), found.end());
  return found;
}

std::string text_or_empty(const Json& object, const char* name) {
  return object.contains(name) && object[name].is_string() ? object[name].get<std::string>() : "";
}

std::string trimmed(std::string text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

Json comparable_arguments(const std::string& text) {
  const Json value = Json::parse(text, nullptr, false);
  return value.is_discarded() ? Json(trimmed(text)) : value;
}

// What the cases say is to be compared.
Json comparable(const Json& answer, bool cut) {
  Json calls = Json::array();
  for (const Json& call : answer.value("tool_calls", Json::array())) {
    Json one = {{"name", call["name"]}};
    if (!cut) one["arguments"] = comparable_arguments(text_or_empty(call, "arguments"));
    calls.push_back(one);
  }
  return {{"content", trimmed(text_or_empty(answer, "content"))}, {"reasoning", trimmed(text_or_empty(answer, "reasoning"))}, {"calls", calls}};
}

Json line_of(const Json& golden, const Json& one, const std::vector<std::string>& pieces) {
  Json line = {{"pieces", pieces}, {"prompt", one["prompt"]}, {"request", one["request"]}, {"finish", one["finish"]}};
  line["tools"] = golden["tools"];
  line["chat_template_kwargs"] = one["chat_template_kwargs"];
  return line;
}

std::vector<std::string> characters(const std::string& text) {
  std::vector<std::string> result;
  for (const char c : text) {
    if (result.empty() || (static_cast<unsigned char>(c) & 0xC0) != 0x80) result.emplace_back();
    result.back() += c;
  }
  return result;
}

// The output in pieces of 1, 2, 3, … characters, and in two at every place.
std::vector<std::vector<std::string>> splits(const std::string& text) {
  const auto all = characters(text);
  std::vector<std::vector<std::string>> result = {{text}};
  const auto join = [&](std::size_t from, std::size_t to) {
    std::string piece;
    for (std::size_t i = from; i < std::min(to, all.size()); ++i) piece += all[i];
    return piece;
  };
  for (const std::size_t size : {1, 2, 3, 7}) {
    result.emplace_back();
    for (std::size_t i = 0; i < all.size(); i += size) result.back().push_back(join(i, i + size));
  }
  for (std::size_t cut = 1; cut < all.size(); ++cut) result.push_back({join(0, cut), join(cut, all.size())});
  return result;
}

std::vector<Json> parsed(const ParserNames& names, const std::vector<Json>& lines) {
  std::stringstream in, out;
  for (const Json& line : lines) in << line.dump() << '\n';
  const Status status = parse_lines(names, in, out);
  EXPECT_TRUE(status.ok());
  std::vector<Json> answers;
  for (std::string text; std::getline(out, text);) answers.push_back(Json::parse(text));
  return answers;
}

// The name of a call comes once and before its arguments, and the deltas add up to the answer.
void expect_consistent(const Json& answer) {
  Json sum = {{"content", ""}, {"reasoning", ""}, {"tool_calls", Json::array()}};
  for (const Json& step : answer["deltas"]) {
    for (const char* name : {"content", "reasoning"}) sum[name] = text_or_empty(sum, name) + text_or_empty(step[1], name);
    for (const Json& call : step[1].value("tool_calls", Json::array())) {
      const std::size_t index = call["index"];
      if (call.contains("name")) {
        ASSERT_EQ(index, sum["tool_calls"].size());
        sum["tool_calls"].push_back({{"id", call["id"]}, {"name", call["name"]}, {"arguments", ""}});
      }
      ASSERT_LT(index, sum["tool_calls"].size());
      auto& arguments = sum["tool_calls"][index]["arguments"];
      arguments = arguments.get<std::string>() + text_or_empty(call, "arguments");
    }
  }
  for (const auto& [name, value] : sum.items()) EXPECT_EQ(answer[name], value);
}

class Parsers : public testing::TestWithParam<std::string> {
 protected:
  const Json golden_ = Json::parse(std::ifstream(kGolden + GetParam() + ".json"));

  ParserNames names_for(const Json& one) const {
    const bool calls = GetParam().starts_with("tools_");
    return {text_or_empty(golden_["peer"], "tool_parser"), text_or_empty(calls ? one : golden_["peer"], "reasoning_parser")};
  }
};

// vLLM shows a message header that the length limit cut as content; by the format it is none.
bool shows_markup(const std::string& file, const Json& one) { return file == "tools_harmony" && one["name"] == "header_cut"; }

TEST_P(Parsers, GiveWhatIsExpectedForEverySplit) {
  ASSERT_FALSE(golden_["cases"].empty());
  for (const Json& one : golden_["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    std::string text;
    for (const Json& token : one["tokens"]) text += token[1].get<std::string>();
    std::vector<Json> lines;
    for (const auto& pieces : splits(text)) lines.push_back(line_of(golden_, one, pieces));
    const auto answers = parsed(names_for(one), lines);
    ASSERT_EQ(answers.size(), lines.size());
    const bool cut = one["finish"] == "length";
    const Json& expected = shows_markup(GetParam(), one) ? one["by_definition"] : one["expected"];
    EXPECT_EQ(comparable(answers[0], cut), comparable(expected, cut));
    for (const Json& answer : answers) {
      for (const char* field : {"content", "reasoning", "tool_calls"}) ASSERT_EQ(answer[field], answers[0][field]);
      expect_consistent(answer);
    }
  }
}

// A server has one reasoning parser for all requests, also those whose model did not reason.
TEST_P(Parsers, GiveTheSameWithTheReasoningParserOfTheFile) {
  for (const Json& one : golden_["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    std::vector<std::string> pieces;
    for (const Json& token : one["tokens"]) pieces.push_back(token[1]);
    const ParserNames names = {text_or_empty(golden_["peer"], "tool_parser"), text_or_empty(golden_["peer"], "reasoning_parser")};
    const auto answers = parsed(names, {line_of(golden_, one, pieces)});
    ASSERT_EQ(answers.size(), 1u);
    const bool cut = one["finish"] == "length";
    const Json& expected = shows_markup(GetParam(), one) ? one["by_definition"] : one["expected"];
    EXPECT_EQ(comparable(answers[0], cut), comparable(expected, cut));
  }
}

INSTANTIATE_TEST_SUITE_P(Golden, Parsers, testing::ValuesIn(names()), [](const auto& name) { return name.param; });

TEST(ParserNames, ThatAreUnknownAreRefusedWithTheKnownOnes) {
  const Status status = check_names({"hermes2", ""});
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.error().message.find("hermes,"), std::string::npos) << status.error().message;
}

}  // namespace
}  // namespace braid::parse
