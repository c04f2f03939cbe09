// SPDX-License-Identifier: Apache-2.0
#include "router/documents.h"

#include <nlohmann/json.hpp>

#include "text/yaml.h"

namespace braid::router {
namespace {

struct Part {
  std::string yaml;
  int first_line;
};

std::vector<Part> parts_of(const std::string& yaml) {
  std::vector<Part> parts{{"", 1}};
  int number = 1;
  for (std::size_t at = 0; at < yaml.size(); ++number) {
    const std::size_t end = std::min(yaml.find('\n', at), yaml.size());
    const std::string_view line = std::string_view(yaml).substr(at, end - at);
    if (line.starts_with("---") && (line.size() == 3 || line[3] == ' ' || line[3] == '\r')) {
      parts.push_back({"", number + 1});
    } else {
      parts.back().yaml.append(line).push_back('\n');
    }
    at = end + 1;
  }
  return parts;
}

}  // namespace

Result<std::vector<ConfigValue>> split_documents(const std::string& yaml, const std::string& file) {
  std::vector<ConfigValue> documents;
  for (Part& part : parts_of(yaml)) {
    if (yaml_line(part.yaml, {}) == 0) continue;
    auto json = text::yaml_to_json(part.yaml);
    if (!json.ok()) {
      const std::string where = part.first_line == 1 ? file : file + " (the document from line " + std::to_string(part.first_line) + ")";
      return json.error().within(where);
    }
    auto source = std::make_shared<ConfigSource>(ConfigSource{file, std::move(part.yaml), part.first_line});
    ConfigValue document{std::move(*json), {}, std::move(source)};
    if (!document.json.starts_with('{')) return document.error("a mapping is expected");
    documents.push_back(std::move(document));
  }
  return documents;
}

std::string kind_of(const ConfigValue& document) {
  const auto json = nlohmann::json::parse(document.json, nullptr, false);
  if (!json.is_object()) return {};
  const auto found = json.find("kind");
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace braid::router
