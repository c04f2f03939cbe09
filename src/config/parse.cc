// SPDX-License-Identifier: Apache-2.0
#include "config/parse.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>

#include "config/flags.h"

namespace braid::config {
namespace {

using Json = nlohmann::json;

// "--port: 70000 is out of range: ... (from file serve.yaml)"
Error located(const Error& error, const std::string& name, const Origin& origin) {
  std::string label = "--" + name;
  std::string source;
  if (origin.source == Source::kFlag && !origin.detail.empty()) label = origin.detail;
  if (origin.source == Source::kFile || origin.source == Source::kEnvironment) {
    source = " (from " + describe_origin(origin) + ")";
  }
  return {error.code, label + ": " + error.message + source, name};
}

class Applier {
 public:
  Applier(const Table& table, Parsed& parsed, bool vllm_names)
      : table_(table), parsed_(parsed), vllm_names_(vllm_names) {}

  // The members of a JSON object, names under `prefix`.
  Status apply_object(const Json& object, const std::string& prefix, const Origin& origin) {
    for (const auto& [key, value] : object.items()) {
      RETURN_IF_ERROR(apply_member(prefix + canonical_name(key), value, origin));
    }
    return {};
  }

  Status apply_text(const Field& field, std::string_view text, const Origin& origin) {
    if (const Status status = set_from_text(field, text); !status.ok()) {
      return located(status.error(), field.name, origin);
    }
    parsed_.origins[field.name] = origin;
    return {};
  }

  Status apply_use(const FlagUse& use) {
    const Origin origin{Source::kFlag, use.typed};
    if (use.field == nullptr) return apply_section(use, origin);
    const Field& field = *use.field;
    if (!use.json_path.empty()) {
      const Status status = set_json_path(field, use.json_path, use.values[0], use.append);
      if (!status.ok()) return located(status.error(), field.name, origin);
      parsed_.origins[field.name] = origin;
      return {};
    }
    // A flag given twice adds to its list; the first use replaces what files and defaults said.
    bool append = use.append || (field.is_list() && seen_.contains(&field));
    seen_.insert(&field);
    for (const std::string& value : use.values) {
      const Status status = append ? append_text(field, value) : set_from_text(field, value);
      if (!status.ok()) return located(status.error(), field.name, origin);
      append = true;
    }
    parsed_.origins[field.name] = origin;
    return {};
  }

 private:
  Status apply_member(const std::string& name, const Json& value, const Origin& origin) {
    const Field* field = table_.find(name);
    if (field == nullptr && table_.find_section(name) != nullptr) {
      if (value.is_object()) return apply_object(value, name + ".", origin);
      if (value.is_null()) return {};
      return located(invalid_argument("needs an object"), name, origin);
    }
    if (field == nullptr) {
      const Error error = unknown_name(table_, name, "", vllm_names_);
      return Error{error.code, error.message + " (from " + describe_origin(origin) + ")", name};
    }
    const std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (const Status status = set_from_json(*field, text); !status.ok()) {
      return located(status.error(), field->name, origin);
    }
    parsed_.origins[field->name] = origin;
    return {};
  }

  Status apply_section(const FlagUse& use, const Origin& origin) {
    const Json json = Json::parse(use.values[0], nullptr, false);
    if (!json.is_object()) {
      return located(invalid_argument("'" + use.values[0] + "' is not a JSON object"),
                     use.section->name,
                     origin);
    }
    return apply_object(json, use.section->name + ".", origin);
  }

  const Table& table_;
  Parsed& parsed_;
  const bool vllm_names_;
  std::set<const Field*> seen_;
};

Result<std::string> read_from_disk(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return invalid_argument("cannot be opened");
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) return invalid_argument("cannot be read");
  return text;
}

Result<Json> load_file(const std::string& path, const ParseOptions& options) {
  const auto located_in_file = [&](const Error& e) { return e.within("--config " + path); };
  const auto text = options.read_file ? options.read_file(path) : read_from_disk(path);
  if (!text.ok()) return located_in_file(text.error());
  auto json_text = options.yaml_to_json ? options.yaml_to_json(*text) : *text;
  if (!json_text.ok()) return located_in_file(json_text.error());
  Json json = Json::parse(*json_text, nullptr, false);
  if (json.is_null()) return Json::object();  // an empty YAML document
  if (!json.is_object()) return located_in_file(invalid_argument("is not a mapping of settings"));
  return json;
}

std::string environment_name(const std::string& prefix, const std::string& field) {
  std::string name = prefix;
  for (char c : field) {
    const bool word = std::isalnum(static_cast<unsigned char>(c)) != 0;
    name += word ? static_cast<char>(std::toupper(static_cast<unsigned char>(c))) : '_';
  }
  return name;
}

Status apply_environment(const Table& table, const ParseOptions& options, Applier& applier) {
  if (!options.environment) return {};
  for (const Field& field : table.fields) {
    std::vector<std::string> names;
    if (!field.spec.environment.empty()) names.emplace_back(field.spec.environment);
    names.push_back(environment_name(options.environment_prefix, field.name));
    for (const std::string& name : names) {
      const auto value = options.environment(name);
      if (!value) continue;
      RETURN_IF_ERROR(applier.apply_text(field, *value, {Source::kEnvironment, name}));
    }
  }
  return {};
}

Status apply_words(const Table& table,
                   const ParseOptions& options,
                   const std::vector<std::string>& words,
                   Applier& applier) {
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (i >= options.positional_fields.size()) {
      return invalid_argument("unexpected argument '" + words[i] + "'; flags begin with --");
    }
    const Field* field = table.find(options.positional_fields[i]);
    CHECK(field != nullptr, "a positional field that is not described");
    RETURN_IF_ERROR(applier.apply_text(*field, words[i], {Source::kFlag, field->name}));
  }
  return {};
}

}  // namespace

std::string describe_origin(const Origin& origin) {
  switch (origin.source) {
    case Source::kDefault:
      return "default";
    case Source::kFile:
      return "file " + origin.detail;
    case Source::kEnvironment:
      return "environment " + origin.detail;
    case Source::kFlag:
      return "flag " + origin.detail;
  }
  return "default";
}

Origin Parsed::origin(const std::string& field) const {
  const auto found = origins.find(field);
  return found == origins.end() ? Origin() : found->second;
}

Result<Parsed> parse_into(const Table& table,
                          std::span<const std::string> args,
                          const ParseOptions& options) {
  Parsed parsed;
  for (const std::string& arg : args) {
    if (arg == "--") break;
    if (arg == "--help" || arg == "-h") {
      parsed.help = true;
      return parsed;
    }
  }
  ASSIGN_OR_RETURN(CommandLine line, read_command_line(table, args, options));
  Applier applier(table, parsed, options.vllm_names);
  for (const std::string& path : line.config_files) {
    ASSIGN_OR_RETURN(const Json file, load_file(path, options));
    RETURN_IF_ERROR(applier.apply_object(file, "", {Source::kFile, path}));
  }
  RETURN_IF_ERROR(apply_environment(table, options, applier));
  for (const FlagUse& use : line.uses) RETURN_IF_ERROR(applier.apply_use(use));
  if (options.positional_fields.empty()) {
    parsed.positionals = std::move(line.words);
  } else {
    RETURN_IF_ERROR(apply_words(table, options, line.words, applier));
  }
  return parsed;
}

Status parse_json_into(const Table& table, std::string_view json_text) {
  const Json json = Json::parse(json_text, nullptr, false);
  if (!json.is_object()) return invalid_argument("needs a JSON object");
  Parsed parsed;
  return Applier(table, parsed, false).apply_object(json, "", {});
}

std::optional<std::string> process_environment(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

}  // namespace braid::config
