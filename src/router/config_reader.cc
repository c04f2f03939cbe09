// SPDX-License-Identifier: Apache-2.0
#include "router/config_reader.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "config/suggest.h"
#include "config/values.h"
#include "router/request.h"

namespace braid::router {
namespace {

using Json = nlohmann::json;

const Json& json_of(const void* node) { return *static_cast<const Json*>(node); }

std::string printed(const Json& value) {
  const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() <= 60 ? text : text.substr(0, 57) + "...";
}

std::optional<std::int64_t> whole_number(const Json& value) {
  if (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (!value.is_number_float()) return std::nullopt;
  const double number = value.get<double>();
  if (std::floor(number) != number || std::abs(number) > 9e15) return std::nullopt;
  return static_cast<std::int64_t>(number);
}

std::string range_error(const config::Spec& spec, double value) {
  if (spec.min && !(value >= *spec.min)) {
    return config::print_number(value) + " is too small: it must be at least " + config::print_number(*spec.min);
  }
  if (spec.max && !(value <= *spec.max)) {
    return config::print_number(value) + " is too large: it must be at most " + config::print_number(*spec.max);
  }
  return {};
}

std::string choice_error(const config::Spec& spec, const std::string& value) {
  if (spec.choices.empty()) return {};
  std::vector<std::string> choices(spec.choices.begin(), spec.choices.end());
  if (std::find(choices.begin(), choices.end(), value) != choices.end()) return {};
  const std::string near = config::nearest(value, choices);
  if (!near.empty()) return "'" + value + "' is not known; did you mean '" + near + "'?";
  std::string list;
  for (const std::string& choice : choices) list += (list.empty() ? "" : ", ") + choice;
  return "'" + value + "' is not one of: " + list;
}

}  // namespace

std::string print_path(const ConfigPath& path) {
  std::string text;
  for (const auto& step : path) {
    if (const auto* key = std::get_if<std::string>(&step)) {
      text += (text.empty() ? "" : ".") + *key;
    } else {
      text += "[" + std::to_string(std::get<std::size_t>(step)) + "]";
    }
  }
  return text;
}

int ConfigSource::line(const ConfigPath& path) const {
  const int found = yaml_line(yaml, path);
  return found == 0 ? first_line : first_line + found - 1;
}

Error ConfigSource::error(const ConfigPath& path, const std::string& what) const {
  std::string message = file + " line " + std::to_string(line(path)) + ": ";
  if (!path.empty()) message += print_path(path) + ": ";
  return invalid_argument(message + what, print_path(path));
}

Error ConfigValue::error(const std::string& what, std::string_view name) const {
  ConfigPath whole = path;
  if (!name.empty()) whole.emplace_back(std::string(name));
  if (source == nullptr) return invalid_argument(print_path(whole) + ": " + what, print_path(whole));
  return source->error(whole, what);
}

Result<std::int64_t> parse_quantity(std::string_view text) {
  struct Suffix {
    std::string_view name;
    double factor;
  };
  static constexpr Suffix kSuffixes[] = {{"Ki", 0x1p10}, {"Mi", 0x1p20}, {"Gi", 0x1p30}, {"Ti", 0x1p40},
                                         {"Pi", 0x1p50}, {"Ei", 0x1p60}, {"n", 1e-9},    {"u", 1e-6},
                                         {"m", 1e-3},    {"k", 1e3},     {"M", 1e6},     {"G", 1e9},
                                         {"T", 1e12},    {"P", 1e15},    {"E", 1e18}};
  const std::string word(text);
  char* end = nullptr;
  const bool starts = !word.empty() && (std::isdigit(static_cast<unsigned char>(word[0])) || word[0] == '.');
  double number = starts ? std::strtod(word.c_str(), &end) : 0;
  const std::string_view rest = starts ? std::string_view(end) : std::string_view();
  bool known = starts && rest.empty();
  for (const Suffix& suffix : kSuffixes) {
    if (starts && !known && rest == suffix.name) {
      number *= suffix.factor;
      known = true;
    }
  }
  if (!known || !(number < 9.2e18) || word.find_first_of("xX") != std::string::npos) {
    return invalid_argument("'" + word + "' is not a quantity: write 5000, 1k or 1Gi");
  }
  return static_cast<std::int64_t>(std::ceil(number));
}

struct ConfigDocument::Node {
  Json json;
};

ConfigDocument::ConfigDocument(const std::string& json)
    : node_(std::make_unique<Node>(Node{Json::parse(json, nullptr, false)})) {}
ConfigDocument::~ConfigDocument() = default;
bool ConfigDocument::is_object() const { return node_->json.is_object(); }
const void* ConfigDocument::root() const { return &node_->json; }

ConfigReader::ConfigReader(const void* node, ConfigPath path, std::shared_ptr<const ConfigSource> source)
    : node_(node), path_(std::move(path)), source_(std::move(source)) {}

void ConfigReader::fail(std::string_view name, const std::string& what) {
  if (!status_.ok()) return;
  ConfigPath path = path_;
  path.emplace_back(std::string(name));
  status_ = source_->error(path, what);
}

bool ConfigReader::present(std::string_view name) {
  known_.emplace_back(name);
  if (!ok()) return false;
  const auto found = json_of(node_).find(name);
  return found != json_of(node_).end() && !found->is_null();
}

void ConfigReader::field(std::string_view name, bool& value, const config::Spec&) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  if (!json.is_boolean()) return fail(name, "must be true or false, not " + printed(json));
  value = json.get<bool>();
}

void ConfigReader::field(std::string_view name, std::int64_t& value, const config::Spec& spec) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  const auto number = whole_number(json);
  if (!number) return fail(name, "must be a whole number, not " + printed(json));
  const std::string wrong = range_error(spec, static_cast<double>(*number));
  if (!wrong.empty()) return fail(name, wrong);
  value = *number;
}

void ConfigReader::field(std::string_view name, int& value, const config::Spec& spec) {
  std::int64_t wide = value;
  field(name, wide, spec);
  if (wide > INT32_MAX || wide < INT32_MIN) return fail(name, std::to_string(wide) + " is too large");
  value = static_cast<int>(wide);
}

void ConfigReader::field(std::string_view name, double& value, const config::Spec& spec) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  if (!json.is_number()) return fail(name, "must be a number, not " + printed(json));
  const std::string wrong = range_error(spec, json.get<double>());
  if (!wrong.empty()) return fail(name, wrong);
  value = json.get<double>();
}

void ConfigReader::field(std::string_view name, std::string& value, const config::Spec& spec) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  if (!json.is_string()) return fail(name, "must be a text, not " + printed(json));
  const std::string wrong = choice_error(spec, json.get_ref<const std::string&>());
  if (!wrong.empty()) return fail(name, wrong);
  value = json.get<std::string>();
}

void ConfigReader::field(std::string_view name, std::vector<std::string>& value, const config::Spec& spec) {
  const std::size_t size = list_size(name);
  if (!ok() || size == 0) return;
  value.clear();
  for (const Json& item : json_of(node_)[std::string(name)]) {
    if (!item.is_string()) return fail(name, "must be a list of texts; " + printed(item) + " is none");
    const std::string wrong = choice_error(spec, item.get_ref<const std::string&>());
    if (!wrong.empty()) return fail(name, wrong);
    value.push_back(item.get<std::string>());
  }
}

void ConfigReader::quantity(std::string_view name, std::optional<Quantity>& value, std::string_view) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  const bool number = json.is_number_integer();
  if (!number && !json.is_string()) return fail(name, "must be a quantity such as 5000 or 1Gi, not " + printed(json));
  const auto parsed = parse_quantity(number ? json.dump() : json.get<std::string>());
  if (!parsed.ok()) return fail(name, parsed.error().message);
  value = Quantity{*parsed};
}

void ConfigReader::duration(std::string_view name, std::optional<DurationText>& value, std::string_view) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  if (!json.is_string()) return fail(name, "must be a duration such as 60s or 200ms, not " + printed(json));
  const auto parsed = parse_duration(json.get<std::string>());
  if (!parsed.ok()) return fail(name, parsed.error().message);
  value = DurationText{*parsed};
}

void ConfigReader::strings(std::string_view name, std::map<std::string, std::string>& value, std::string_view) {
  if (!present(name)) return;
  const Json& json = json_of(node_)[std::string(name)];
  if (!json.is_object()) return fail(name, "must map names to texts, not " + printed(json));
  for (const auto& [key, item] : json.items()) {
    if (!item.is_string()) return fail(name, "'" + key + "' must be a text, not " + printed(item));
    value[key] = item.get<std::string>();
  }
}

void ConfigReader::value(std::string_view name, ConfigValue& value, std::string_view) {
  value.path = path_;
  value.path.emplace_back(std::string(name));
  value.source = source_;
  if (present(name)) value.json = json_of(node_)[std::string(name)].dump();
}

void ConfigReader::line(int& value) { value = source_->line(path_); }

const void* ConfigReader::object_child(std::string_view name) {
  if (!present(name)) return nullptr;
  const Json& json = json_of(node_)[std::string(name)];
  if (json.is_object()) return &json;
  fail(name, "must be a mapping, not " + printed(json));
  return nullptr;
}

std::size_t ConfigReader::list_size(std::string_view name) {
  if (!present(name)) return 0;
  const Json& json = json_of(node_)[std::string(name)];
  if (json.is_array()) return json.size();
  fail(name, "must be a list, not " + printed(json));
  return 0;
}

const void* ConfigReader::element(std::string_view name, std::size_t index, const ConfigPath& path) {
  const Json& json = json_of(node_)[std::string(name)][index];
  if (json.is_object()) return &json;
  status_ = source_->error(path, "must be a mapping, not " + printed(json));
  return nullptr;
}

Status ConfigReader::finish() {
  if (!ok()) return status_;
  for (const auto& [key, value] : json_of(node_).items()) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string near = config::nearest(key, known_);
    std::string what = "there is no '" + key + "' here";
    if (!near.empty()) {
      what += "; did you mean '" + near + "'?";
    } else {
      what += known_.empty() ? ": nothing can be set" : "; known are:";
      for (const std::string& name : known_) what += " " + name;
    }
    fail(key, what);
  }
  return status_;
}

}  // namespace braid::router
