// SPDX-License-Identifier: Apache-2.0
#include "app/report.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "base/log_history.h"
#include "base/version.h"

namespace braid::app {
namespace {

using Json = nlohmann::ordered_json;

struct Texts {
  std::vector<std::string>& found;
  void operator()(const std::string& text) const {
    if (!text.empty()) found.push_back(text);
  }
  void operator()(const std::vector<std::string>& texts) const {
    for (const std::string& text : texts) (*this)(text);
  }
  template <class T>
  void operator()(const std::optional<T>& value) const {
    if (value) (*this)(*value);
  }
  template <class T>
  void operator()(const T&) const {}
};

// Wherever it came from: a log line, a label, the path of a request.
std::string without(std::string text, const std::vector<std::string>& secrets) {
  for (const std::string& secret : secrets) {
    for (std::size_t at = text.find(secret); at != text.npos; at = text.find(secret, at)) text.replace(at, secret.size(), "(hidden)");
  }
  return text;
}

// Of each text in it, names too.
Json without(const Json& json, const std::vector<std::string>& secrets) {
  if (json.is_string()) return without(json.get<std::string>(), secrets);
  Json clean = json;
  if (json.is_array()) {
    for (Json& item : clean) item = without(item, secrets);
  } else if (json.is_object()) {
    clean.clear();
    for (const auto& [name, value] : json.items()) clean[without(name, secrets)] = without(value, secrets);
  }
  return clean;
}

}  // namespace

std::vector<std::string> secrets_of(const config::Table& table) {
  std::vector<std::string> found;
  for (const config::Field& field : table.fields) {
    if (field.spec.secret) std::visit([&](const auto* value) { Texts{found}(*value); }, field.value);
  }
  return found;
}

std::string report_of(const ReportParts& parts, const std::string& dashboard, const std::string& metrics) {
  const auto read = [](const std::string& text) {
    Json json = Json::parse(text, nullptr, false);
    return json.is_discarded() ? Json(text) : json;
  };
  const Json report = {{"version", version()},
                       {"configuration", read(parts.configuration)},
                       {"problems", last_problems()},
                       {"state", read(dashboard)},
                       {"metrics", metrics}};
  return without(report, parts.secrets).dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace braid::app
