// SPDX-License-Identifier: Apache-2.0
#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace braid::text {
namespace {

const std::string kModel = std::string(BRAID_SOURCE_DIR) + "/models/lexicon-30m";

// What a template makes of one message, or the error's words.
std::string rendered(const std::string& source, const std::string& message = R"({"role":"user","content":"x"})") {
  const auto chat = compile_template(source);
  if (!chat.ok()) return chat.error().message;
  const auto text = (*chat)->render_json(R"({"now":"2026-01-31T12:00:00","messages":[)" + message + "]}");
  return text.ok() ? *text : text.error().message;
}

TEST(ChatTemplate, RendersTheDefaultModelsTemplate) {
  const auto chat = load_chat_template(kModel);
  ASSERT_TRUE(chat.ok()) << chat.error().message;
  RenderInput input;
  input.messages = R"([{"role":"user","content":"What is a river?"}])";
  EXPECT_EQ(*(*chat)->render(input), "<｜begin▁of▁sentence｜><｜User｜>What is a river?<｜Assistant｜>");
  EXPECT_EQ((*chat)->content_format(), ContentFormat::kString);
}

TEST(ChatTemplate, PrintsValuesAsPythonDoes) {
  const auto chat = compile_template("{{ messages[0].x }}|{{ messages[0].x | tojson }}|{{ none }}|{{ 1e20 }}");
  RenderInput input;
  input.messages = R"([{"x":{"a":[1,true,null,"q'"],"b":1.0}}])";
  EXPECT_EQ(*(*chat)->render(input),
            R"({'a': [1, True, None, "q'"], 'b': 1.0}|{"a": [1, true, null, "q'"], "b": 1.0}|None|1e+20)");
}

TEST(ChatTemplate, ContinuesTheFinalMessage) {
  const auto chat = compile_template("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}");
  RenderInput input;
  input.messages = R"([{"role":"assistant","content":"a river is "}])";
  input.kwargs = R"({"continue_final_message":true})";
  input.add_generation_prompt = false;
  EXPECT_EQ(*(*chat)->render(input), "[a river is");
}

TEST(ChatTemplate, EndlessLoopsAndDeepValuesAreErrors) {
  RenderInput input;
  input.messages = R"([{"role":"user","content":"x"}])";
  const auto endless = compile_template("{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}");
  EXPECT_FALSE((*endless)->render(input).ok());
  input.messages = "[" + std::string(5000, '[') + std::string(5000, ']') + "]";
  EXPECT_FALSE((*endless)->render(input).ok());
  EXPECT_FALSE(compile_template("{{ " + std::string(20000, '(') + " }}").ok());
}


TEST(ChatTemplate, ComputesAsPythonDoes) {
  const std::string message =
      R"({"content":"héllo","i":{"j":{"k":7}},"p":[{"a":1},{"a":2}],"n":null,"l":["a",1,null],"d":{"items":{"type":"x"},"big":123456789012345678901234567890123456789012345}})";
  const std::pair<const char*, const char*> cases[] = {
      {"m.l ~ m.n ~ 1e-7 ~ true", "['a', 1, None]None1e-07True"},
      {"m.l | join(',')", "a,1,None"},
      {"m.content[::-1] ~ ''[::-1] ~ [][::-1]", "olléh[]"},
      {"m.content[-3:] ~ m.content.find('o')", "llo4"},
      {"m.l[1:] + [2]", "[1, None, 2]"},
      {"m.d.big ~ (m.d | tojson)",
       "123456789012345678901234567890123456789012345{\"items\": {\"type\": \"x\"}, \"big\": 123456789012345678901234567890123456789012345}"},
      {"m.d.items.type is defined", "False"},
      {"m.d['items'].type", "x"},
      {"m.d.items() | length > 0 if false else (m.d.keys() | list)", "['items', 'big']"},
      {"'%s and %d' % ('a', 2)", "a and 2"},
      {"'abc'.count('') ~ ' a  b '.split() ~ 'a,b,c'.rsplit(',', maxsplit=1)", "4['a', 'b']['a,b', 'c']"},
      {"(m.zz is iterable) ~ (m.n is iterable) ~ (m.content is sequence) ~ (true is number)", "TrueFalseTrueTrue"},
      {"'7' | int + ('x' | int(5))", "12"},
      {"strftime_now('%d %b %Y')", "31 Jan 2026"},
      {"'%s %s|%5s|%-3s|' | format(123456.789, 5e-324, 'a', none)", "123456.789 5e-324|    a|None|"},
      {"'%d %.1f %r %(a)s' | format(3.7, 2, 'x') if false else '%d %.1f %r' % [3.7, 2, 'x']", "3 2.0 'x'"},
      {"'%(a)s%%' % {'a': 0.1}", "0.1%"},
      {"(m.d.big is integer) ~ (m.d.big is number) ~ -m.l.zz | default('', true) if false else -m.i.j.k", "-7"},
      {"m.d.items() | length ~ range(3) | length", "23"},
      {"2.5 | round ~ 2.675 | round(2) ~ 2.1 | round(method='ceil') ~ 155 | round(-1)", "2.02.673.0160.0"},
      {"[3, 1] | sort(true) ~ [2, 9] | max ~ m.p | max(attribute='a') ~ m.p | sum(attribute='a')", "[3, 1]9{'a': 2}3"},
      {"'ff' | int(0, 16) ~ ({'a': 1} | tojson(false, 1))", "255{\n \"a\": 1\n}"},
      {"('<\"' | e) ~ ('a bc def' | truncate(6, leeway=0))", "&lt;&#34;a..."},
      {"('<b>' | safe) + '<'", "<b>&lt;"},
  };
  for (const auto& [expression, want] : cases) {
    EXPECT_EQ(rendered("{% set m = messages[0] %}{{ " + std::string(expression) + " }}", message), want) << expression;
  }
  EXPECT_EQ(rendered("{% for c in 'ab' %}{{ c ~ loop.last }}{% endfor %}"), "aFalsebTrue");
  EXPECT_EQ(rendered("{% for c in ['a', 'b'] | map('upper') %}{{ c ~ loop.last ~ loop.length }}{% endfor %}"), "AFalse2BTrue2");
  EXPECT_EQ(rendered("a\r\nb{% if true %}\r\nc{% endif %}\r\n"), "a\nbc");
}

TEST(ChatTemplate, RefusesWhatPythonRefuses) {
  const std::pair<const char*, const char*> cases[] = {
      {"{% for x in none %}{% endfor %}", "'NoneType' object is not iterable"},
      {"{{ 'a' + messages[0].n }}", "unsupported operand type(s) for +"},
      {"{{ messages[0].zz + 'a' }}", "undefined"},
      {"{{ messages[0].zz | tojson }}", "Undefined is not JSON serializable"},
      {"{{ messages | map('string') | tojson }}", "generator is not JSON serializable"},
      {"{{ 'x' in messages[0].n }}", "'NoneType' is not iterable"},
      {"{{ messages[0].content < 1 }}", "not supported between instances of 'str' and 'int'"},
      {"{{ messages[0].n[1:] }}", "not subscriptable"},
      {"{{ ', '.join([1]) }}", "expected str instance, int found"},
      {"{{ '%s' | format('a', 'b') }}", "not all arguments converted"},
      {"{{ '%d' | format('a') }}", "a number is required, not str"},
      {"{{ raise_exception('no ' ~ messages[0].role) }}", "no user"},
  };
  for (const auto& [source, want] : cases) {
    const std::string words = rendered(source, R"({"role":"user","content":"x","n":null})");
    EXPECT_NE(words.find(want), std::string::npos) << source << ": " << words;
  }
}

TEST(ChatTemplate, WhatATemplateMakesIsLimited) {
  const char* bombs[] = {
      "{{ 'a' * 1000000000 }}",
      "{{ messages[0].content * 1000000000 }}",
      "{{ ([1] * 1000000000) | join }}",
      "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(s=[1]) %}{% for i in range(60) %}{% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}",
      "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = ns.s | replace('x', ns.s) %}{% endfor %}",
      "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set ns.s = [ns.s, ns.s] | join %}{% endfor %}",
      "{% set ns = namespace(s='xx') %}{% for i in range(60) %}{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}",
      "{% set ns = namespace(a=[]) %}{% for i in range(99999) %}{% set ns.a = ns.a + ['x' * (1000000 + i)] %}{% endfor %}",
      "{{ '%99999999d' % 1 }}",
      "{{ 'x'.center(1000000000) }}",
      "{{ 'x\n' | indent(1000000000) }}",
      "{% set ns = namespace() %}{% set ns.a = ns %}{% set ns.b = ns %}{{ ns }}",
      "{% for i in range(100000) %}{% for j in range(100000) %}x{% endfor %}{% endfor %}",
  };
  for (const char* source : bombs) {
    const auto chat = compile_template(source);
    if (!chat.ok()) {
      EXPECT_NE(chat.error().message.find("constants"), std::string::npos) << chat.error().message;
      continue;
    }
    const auto text = (*chat)->render_json(R"({"messages":[{"content":"x"}]})");
    ASSERT_FALSE(text.ok()) << source;
    EXPECT_EQ(text.error().message.find("text core failed"), std::string::npos) << text.error().message;
  }
  EXPECT_NE(rendered(bombs[1]).find("a value of more than 64 MiB"), std::string::npos) << rendered(bombs[1]);
}

TEST(ChatTemplate, FindsLoopsOverContentParts) {
  const std::pair<const char*, bool> cases[] = {
      {"{% for m in messages %}{{ m.content }}{% endfor %}", false},
      {"{% for m in messages %}{% for p in m.content %}{{ p.text }}{% endfor %}{% endfor %}", true},
      {"{% for m in messages[1:] %}{% for p in m['content'] | list %}{{ p.text }}{% endfor %}{% endfor %}", true},
      {"{% set rest = messages %}{% for m in rest %}{% for p in m.content %}{% endfor %}{% endfor %}", true},
      {"{% set ns = namespace(all=messages) %}{% for m in ns.all %}{% for p in m.content %}{% endfor %}{% endfor %}", true},
      {"{% macro show(c) %}{% for p in c %}{% endfor %}{% endmacro %}{% for m in messages %}{{ show(m.content) }}{% endfor %}", true},
      {"{% macro show(c) %}{% for p in c %}{% endfor %}{% endmacro %}{% for m in messages %}{{ show(m.role) }}{% endfor %}", false},
      {"{% for m in messages %}{% for c in m.tool_calls %}{% endfor %}{% endfor %}", false},
      {"{% for m in others %}{% for p in m.content %}{% endfor %}{% endfor %}", false},
  };
  for (const auto& [source, by_parts] : cases) {
    EXPECT_EQ((*compile_template(source))->content_format() == ContentFormat::kOpenAi, by_parts) << source;
  }
}

}  // namespace
}  // namespace braid::text
