// SPDX-License-Identifier: Apache-2.0
// The visitor that fills a struct with describe() from JSON, strictly, and knows the line of every
// value in the YAML that the JSON came from.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "config/describe.h"

namespace braid::router {

// A step is a key or an index.
using ConfigPath = std::vector<std::variant<std::string, std::size_t>>;

std::string print_path(const ConfigPath& path);  // "plugins[2].parameters"

// The line (from 1) at which the value at `path` stands in a YAML text of block style; inside flow
// style ({...}) that of the value which the flow style begins with. 0: the text is empty.
int yaml_line(std::string_view yaml, const ConfigPath& path);

// The text that a configuration comes from: for messages.
struct ConfigSource {
  std::string file;
  std::string yaml;
  int first_line = 1;  // of the document within the file

  Error error(const ConfigPath& path, const std::string& what) const;
  int line(const ConfigPath& path) const;
};

// A part of a configuration that is read later (a plugin's parameters), as JSON text.
struct ConfigValue {
  std::string json;  // "" if absent
  ConfigPath path;
  std::shared_ptr<const ConfigSource> source;

  // The error that this value, or the field `name` of it, is wrong.
  Error error(const std::string& what, std::string_view name = {}) const;
};

// 1000, "1k", "1Gi", "1e3", "500m" (rounded up): as Kubernetes writes quantities.
struct Quantity {
  std::int64_t value = 0;
};
Result<std::int64_t> parse_quantity(std::string_view text);

// "60s", as Go writes durations.
struct DurationText {
  Duration value{};
};

// Reads `value` into `object` (a struct with describe, all fields optional). An absent value leaves
// the defaults.
template <class T>
Status read_config(const ConfigValue& value, T& object);

class ConfigReader {
 public:
  // `node`: a nlohmann::json object, or null; kept out of this header.
  ConfigReader(const void* node, ConfigPath path, std::shared_ptr<const ConfigSource> source);

  void field(std::string_view name, bool& value, const config::Spec& spec);
  void field(std::string_view name, int& value, const config::Spec& spec);
  void field(std::string_view name, std::int64_t& value, const config::Spec& spec);
  void field(std::string_view name, double& value, const config::Spec& spec);
  void field(std::string_view name, std::string& value, const config::Spec& spec);
  void field(std::string_view name, std::vector<std::string>& value, const config::Spec& spec);
  template <class T>
  void field(std::string_view name, std::optional<T>& value, const config::Spec& spec) {
    if (!present(name)) return;
    value.emplace();
    field(name, *value, spec);
  }

  void quantity(std::string_view name, std::optional<Quantity>& value, std::string_view help);
  void duration(std::string_view name, std::optional<DurationText>& value, std::string_view help);
  void strings(std::string_view name, std::map<std::string, std::string>& value, std::string_view help);
  void value(std::string_view name, ConfigValue& value, std::string_view help);
  // The line of the object itself.
  void line(int& value);

  template <class T>
  void object(std::string_view name, T& value, std::string_view help) {
    if (const void* child = object_child(name)) read_child(child, name, value);
  }
  template <class T>
  void optional(std::string_view name, std::optional<T>& value, std::string_view help) {
    if (const void* child = object_child(name)) read_child(child, name, value.emplace());
  }
  template <class T>
  void list(std::string_view name, std::vector<T>& value, std::string_view help) {
    const std::size_t size = list_size(name);
    value.resize(size);
    for (std::size_t i = 0; i < size && ok(); ++i) read_element(name, i, value[i]);
  }

  bool ok() const { return status_.ok(); }
  // The first error, or that the object has a key which nothing asked for.
  Status finish();

 private:
  template <class T>
  void read_child(const void* child, std::string_view name, T& value) {
    ConfigPath path = path_;
    path.emplace_back(std::string(name));
    nested(child, std::move(path), value);
  }
  template <class T>
  void read_element(std::string_view name, std::size_t index, T& value) {
    ConfigPath path = path_;
    path.emplace_back(std::string(name));
    path.emplace_back(index);
    if (const void* child = element(name, index, path)) nested(child, std::move(path), value);
  }
  template <class T>
  void nested(const void* child, ConfigPath path, T& value) {
    ConfigReader reader(child, std::move(path), source_);
    T::describe(value, reader);
    if (ok()) status_ = reader.finish();
  }

  bool present(std::string_view name);
  const void* object_child(std::string_view name);
  std::size_t list_size(std::string_view name);
  const void* element(std::string_view name, std::size_t index, const ConfigPath& path);
  void fail(std::string_view name, const std::string& what);

  const void* node_;
  ConfigPath path_;
  std::shared_ptr<const ConfigSource> source_;
  std::vector<std::string> known_;
  Status status_;
};

// Parses JSON text and keeps it for readers.
class ConfigDocument {
 public:
  explicit ConfigDocument(const std::string& json);
  ~ConfigDocument();
  ConfigDocument(const ConfigDocument&) = delete;
  ConfigDocument& operator=(const ConfigDocument&) = delete;
  bool is_object() const;
  const void* root() const;

 private:
  struct Node;
  std::unique_ptr<Node> node_;
};

template <class T>
Status read_config(const ConfigValue& value, T& object) {
  if (value.json.empty() || value.json == "null") return {};
  ConfigDocument document(value.json);
  if (!document.is_object()) return value.error("must be a mapping");
  ConfigReader reader(document.root(), value.path, value.source);
  T::describe(object, reader);
  return reader.finish();
}

}  // namespace braid::router
