// SPDX-License-Identifier: Apache-2.0
// Arguments that a model writes as bare text become the JSON that the tool's schema asks for.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "parse/request.h"

namespace braid::parse {
namespace {

using Json = nlohmann::json;

// What `text` is as the parameter "p" with this schema.
Json value_as(const std::string& schema, const std::string& text) {
  const Json parameters = {{"type", "object"},
                           {"$defs", {{"Count", {{"type", "integer"}}}, {"Loop", {{"$ref", "#/$defs/Loop"}}}, {"Far", {{"$ref", "#/$defs/Count"}}}}},
                           {"properties", {{"p", Json::parse(schema)}}}};
  const ToolTypes types(Json::array({{{"type", "function"}, {"function", {{"name", "f"}, {"parameters", parameters}}}}}).dump());
  const Json value = Json::parse(types.value("f", "p", text), nullptr, false);
  EXPECT_FALSE(value.is_discarded()) << schema << ' ' << text;
  return value;
}

struct Case {
  const char* schema;
  const char* text;
  Json expected;
};

TEST(ToolTypes, OfValuesAreThoseThatTheSchemaAllows) {
  const Case cases[] = {
      {R"({"type":"integer"})", " 007 ", 7},
      {R"({"type":"integer"})", "+1_000", 1000},
      {R"({"type":"integer"})", "1__0", "1__0"},
      {R"({"type":"integer"})", "12345678901234567890", 12345678901234567890u},
      {R"({"type":"integer"})", "many", "many"},
      {R"({"type":"integer"})", "null", nullptr},
      {R"({"type":"int"})", "5", 5},
      {R"({"type":"number"})", "-.5", -0.5},
      {R"({"type":"number"})", "5.", 5.0},
      {R"({"type":"number"})", "1e400", "1e400"},
      {R"({"type":"number"})", "nan", "nan"},
      {R"({"type":"number"})", "0x10", "0x10"},
      {R"({"type":"number"})", "+-1", "+-1"},
      {R"({"type":"boolean"})", "TRUE", true},
      {R"({"type":"boolean"})", "0", false},
      {R"({"type":"object"})", "{\"a\": [1e999]}", "{\"a\": [1e999]}"},
      {R"({"type":"object"})", " {\"a\": 1} ", {{"a", 1}}},
      {R"({"type":"string"})", "5", "5"},
      {R"({"type":"string"})", "null", "null"},
      {R"({"type":["string","null"]})", "null", nullptr},
      {R"({"anyOf":[{"type":"string"},{"type":"integer"}]})", "5", 5},
      {R"({"anyOf":[{"type":"string"},{"type":"integer"}]})", "five", "five"},
      {R"({"anyOf":[{"type":"integer"},{}]})", "[5]", "[5]"},
      {R"({"oneOf":[{"anyOf":[{"type":"boolean"}]},{"type":"array"}]})", "[1]", Json::array({1})},
      {R"({"allOf":[{"type":"number"}]})", "1.5", 1.5},
      {R"({"enum":[1,2,"auto"]})", "2", 2},
      {R"({"enum":[1,2,"auto"]})", "auto", "auto"},
      {R"({"const":true})", "true", true},
      {R"({})", "5", "5"},
      {R"({"$ref":"#/$defs/Count"})", "5", 5},
      {R"({"anyOf":[{"$ref":"#/$defs/Far"},{"type":"null"}]})", "5", 5},
      {R"({"$ref":"#/$defs/Loop"})", "5", "5"},
      {R"({"$ref":"#/$defs/Missing"})", "5", "5"},
      {R"({"$ref":"https://example.com/schema"})", "5", "5"},
  };
  for (const Case& one : cases) EXPECT_EQ(value_as(one.schema, one.text), one.expected) << one.schema << ' ' << one.text;
}

TEST(ToolTypes, OfWhatIsNotDeclaredAreStrings) {
  const ToolTypes types(R"([{"name": "f", "parameters": {"properties": {"p": {"type": "integer"}}}}])");
  EXPECT_EQ(types.value("f", "p", "5"), "5");
  EXPECT_EQ(types.value("f", "q", "5"), "\"5\"");
  EXPECT_EQ(types.value("g", "p", "5"), "\"5\"");
}

}  // namespace
}  // namespace braid::parse
