// SPDX-License-Identifier: Apache-2.0
// The chat templates of published models give what transformers renders from them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace braid::text {
namespace {

using Json = nlohmann::ordered_json;

const std::string kGolden = std::string(BRAID_BINARY_DIR) + "/golden/";
const std::string kModel = std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m";

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return std::move(text).str();
}

Json expected(const std::string& family) { return Json::parse(content(kGolden + "templates/" + family + ".json")); }

// The families whose template is at hand; the default model brings its own.
std::vector<std::string> families() {
  std::vector<std::string> names{"lexicon_30m"};
  for (const auto& entry : std::filesystem::directory_iterator(kGolden + "jinja")) {
    if (entry.path().extension() == ".jinja") names.push_back(entry.path().stem());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::shared_ptr<const ChatTemplate> chat_template(const std::string& family) {
  const auto loaded = family == "lexicon_30m" ? load_chat_template(kModel)
                                              : compile_template(content(kGolden + "jinja/" + family + ".jinja"));
  EXPECT_TRUE(loaded.ok()) << loaded.error().message;
  return *loaded;
}

std::string request(const Json& golden, const Json& one) {
  Json input = {{"variables", golden["template_variables"]}, {"now", golden["now"]}};
  for (const auto& [name, value] : one.items()) input[name] = value;
  return input.dump();
}

class Templates : public testing::TestWithParam<std::string> {};

TEST_P(Templates, RenderAndRefuseAsTransformersDoes) {
  const Json golden = expected(GetParam());
  const auto chat = chat_template(GetParam());
  ASSERT_EQ(golden["cases"].size(), 50u);
  for (const auto& one : golden["cases"]) {
    SCOPED_TRACE(one["name"].get<std::string>());
    const auto text = chat->render_json(request(golden, one));
    if (one.contains("rendered")) {
      ASSERT_TRUE(text.ok()) << text.error().message;
      EXPECT_EQ(*text, one["rendered"].get<std::string>());
      continue;
    }
    ASSERT_FALSE(text.ok()) << *text;
    const Json& error = one["error"];
    if (error["kind"] == "raise_exception") {
      EXPECT_NE(text.error().message.find(error["message"].get<std::string>()), std::string::npos) << text.error().message;
    }
  }
}

TEST_P(Templates, SayWhetherTheyLoopOverContentParts) {
  const bool by_parts = expected(GetParam())["vllm_content_format"] == "openai";
  EXPECT_EQ(chat_template(GetParam())->content_format(), by_parts ? ContentFormat::kOpenAi : ContentFormat::kString);
}

INSTANTIATE_TEST_SUITE_P(Golden, Templates, testing::ValuesIn(families()), [](const auto& family) { return family.param; });

TEST(Families, OfTheRequiredModelsAreThere) {
  const auto all = families();
  for (const char* name : {"deepseek_v3", "deepseek_r1_vllm", "deepseek_v31", "kimi_k2", "qwen3", "lexicon_30m"}) {
    EXPECT_NE(std::find(all.begin(), all.end(), name), all.end()) << name;
  }
  EXPECT_EQ(all.size(), 27u);
}

// The prompts and answers of the model's own results: the token ids beside its renderings stem from
// another tokenizer.
TEST(Families, TheDefaultModelsPromptsAndAnswersHaveTheExpectedTokens) {
  const auto tokenizer = load_tokenizer(kModel);
  ASSERT_TRUE(tokenizer.ok());
  const Json golden = Json::parse(content(kGolden + "models/lexicon-30m/expected.json"));
  ASSERT_EQ(golden["questions"].size(), 24u);
  for (const auto& one : golden["questions"]) {
    using Ids = std::vector<std::int32_t>;
    EXPECT_EQ((*tokenizer)->encode(one["prompt"].get<std::string>(), false), one["prompt_ids"].get<Ids>());
    EXPECT_EQ((*tokenizer)->decode(one["answer_ids"].get<Ids>(), true), one["answer"].get<std::string>());
  }
}

}  // namespace
}  // namespace braid::text
