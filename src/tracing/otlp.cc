// SPDX-License-Identifier: Apache-2.0
#include "tracing/otlp.h"

#include <nlohmann/json.hpp>

#include "base/version.h"

namespace braid::tracing {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kFailed = 2;  // STATUS_CODE_ERROR

struct AnyValue {
  Json operator()(const std::string& v) const { return {{"stringValue", v}}; }
  Json operator()(std::int64_t v) const { return {{"intValue", std::to_string(v)}}; }  // 64 bits travel as text
  Json operator()(double v) const { return {{"doubleValue", v}}; }
  Json operator()(bool v) const { return {{"boolValue", v}}; }
};

Json attribute(const std::string& name, const Value& value) { return {{"key", name}, {"value", std::visit(AnyValue(), value)}}; }

std::string unix_nanoseconds(TimePoint at, TimePoint epoch) { return std::to_string((at - epoch).count()); }

Json to_json(const Span& span, TimePoint epoch) {
  Json json = {{"traceId", span.context.trace}, {"spanId", span.context.span}};
  if (!span.parent.empty()) json["parentSpanId"] = span.parent;
  json["name"] = span.name;
  json["kind"] = static_cast<int>(span.kind);
  json["startTimeUnixNano"] = unix_nanoseconds(span.begin, epoch);
  json["endTimeUnixNano"] = unix_nanoseconds(std::max(span.begin, span.end), epoch);
  json["attributes"] = Json::array();
  for (const auto& [name, value] : span.attributes) json["attributes"].push_back(attribute(name, value));
  if (span.error) json["status"] = {{"code", kFailed}, {"message", *span.error}};
  return json;
}

}  // namespace

std::string to_otlp(std::span<const Span> spans, const std::string& service, TimePoint epoch) {
  Json list = Json::array();
  for (const Span& span : spans) list.push_back(to_json(span, epoch));
  const Json resource = {{"attributes", Json::array({attribute("service.name", service), attribute("service.version", std::string(version()))})}};
  const Json scope = {{"scope", {{"name", "braid"}}}, {"spans", std::move(list)}};
  const Json whole = {{"resourceSpans", Json::array({{{"resource", resource}, {"scopeSpans", Json::array({scope})}}})}};
  return whole.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace braid::tracing
