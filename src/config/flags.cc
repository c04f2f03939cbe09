// SPDX-License-Identifier: Apache-2.0
#include "config/flags.h"

#include <cctype>
#include <optional>

#include "config/suggest.h"
#include "config/vllm_flags.h"

namespace braid::config {
namespace {

// What the name of a flag refers to.
struct Match {
  const Field* field = nullptr;
  const Section* section = nullptr;
  std::string json_path;
  std::optional<bool> fixed;  // a boolean's spelling decides its value
};

std::optional<Match> match_boolean(const Table& table, const std::string& name) {
  struct Spelling {
    std::string_view typed, stored;
    bool value;
  };
  constexpr Spelling kSpellings[] = {
      {"", "", true},
      {"no-", "", false},
      {"disable-", "enable-", false},
      {"enable-", "disable-", false},
  };
  for (const Spelling& spelling : kSpellings) {
    if (!name.starts_with(spelling.typed)) continue;
    const std::string rest = name.substr(spelling.typed.size());
    const Field* field = table.find(std::string(spelling.stored) + rest);
    if (field != nullptr && field->is_bool()) return Match{field, nullptr, "", spelling.value};
  }
  // --section.no-field
  const std::size_t dot = name.rfind(".no-");
  if (dot != std::string::npos) {
    const Field* field = table.find(name.substr(0, dot + 1) + name.substr(dot + 4));
    if (field != nullptr && field->is_bool()) return Match{field, nullptr, "", false};
  }
  return std::nullopt;
}

std::optional<Match> match_long(const Table& table, std::string_view typed) {
  const std::string name = canonical_name(typed);
  if (auto match = match_boolean(table, name)) return match;
  if (const Field* field = table.find(name)) return Match{field, nullptr, "", std::nullopt};
  if (const Section* section = table.find_section(name)) {
    return Match{nullptr, section, "", std::nullopt};
  }
  for (std::size_t dot = name.find('.'); dot != std::string::npos; dot = name.find('.', dot + 1)) {
    const Field* field = table.find(name.substr(0, dot));
    if (field != nullptr && field->is_json()) {
      return Match{field, nullptr, std::string(typed.substr(dot + 1)), std::nullopt};
    }
  }
  return std::nullopt;
}

std::optional<Match> match_short(const Table& table, std::string_view name) {
  for (const Field& field : table.fields) {
    if (field.spec.short_name.empty() || field.spec.short_name != name) continue;
    Match match{&field, nullptr, "", std::nullopt};
    if (field.is_bool()) match.fixed = true;
    return match;
  }
  return std::nullopt;
}

bool looks_like_flag(std::string_view word) {
  if (word.size() < 2 || word[0] != '-') return false;
  return word[1] == '-' || std::isalpha(static_cast<unsigned char>(word[1]));
}

class Reader {
 public:
  Reader(const Table& table, std::span<const std::string> args, const ParseOptions& options)
      : table_(table), args_(args), options_(options) {}

  Result<CommandLine> read() {
    bool flags_ended = false;
    while (at_ < args_.size()) {
      const std::string& word = args_[at_++];
      if (flags_ended || !looks_like_flag(word)) {
        line_.words.push_back(word);
      } else if (word == "--") {
        flags_ended = true;
      } else if (word == "--help" || word == "-h") {
        line_.help = true;
      } else {
        RETURN_IF_ERROR(read_flag(word));
      }
    }
    return std::move(line_);
  }

 private:
  Status read_flag(const std::string& word) {
    const std::size_t equals = word.find('=');
    std::string typed = word.substr(0, equals);
    std::optional<std::string> inline_value;
    if (equals != std::string::npos) inline_value = word.substr(equals + 1);
    const bool is_long = typed.starts_with("--");
    std::string_view name = std::string_view(typed).substr(is_long ? 2 : 1);
    if (is_long && name == "config" && options_.config_files) {
      ASSIGN_OR_RETURN(std::string path, one_value(typed, inline_value));
      line_.config_files.push_back(std::move(path));
      return {};
    }
    const bool append = name.ends_with('+');
    if (append) name.remove_suffix(1);
    const auto match = is_long ? match_long(table_, name) : match_short(table_, name);
    if (!match) {
      return unknown_name(table_, name, is_long ? "--" : "-", options_.vllm_names);
    }
    FlagUse use{match->field, match->section, typed, match->json_path, append, {}};
    RETURN_IF_ERROR(read_values(use, match->fixed, inline_value));
    line_.uses.push_back(std::move(use));
    return {};
  }

  Status read_values(FlagUse& use,
                     std::optional<bool> fixed,
                     const std::optional<std::string>& inline_value) {
    if (fixed) {
      const bool flip = inline_value && (*inline_value == "false" || *inline_value == "False");
      if (inline_value && !flip && *inline_value != "true" && *inline_value != "True") {
        return flag_error(use.typed, "'" + *inline_value + "' is neither true nor false");
      }
      use.values = {*fixed != flip ? "true" : "false"};
      return {};
    }
    ASSIGN_OR_RETURN(std::string first, one_value(use.typed, inline_value));
    use.values.push_back(std::move(first));
    const bool many = use.field != nullptr && use.field->is_list() && !inline_value;
    while (many && at_ < args_.size() && !looks_like_flag(args_[at_])) {
      use.values.push_back(args_[at_++]);
    }
    return {};
  }

  Result<std::string> one_value(const std::string& typed,
                                const std::optional<std::string>& inline_value) {
    if (inline_value) return *inline_value;
    if (at_ >= args_.size() || looks_like_flag(args_[at_])) {
      return flag_error(typed, "needs a value");
    }
    return args_[at_++];
  }

  static Error flag_error(const std::string& typed, const std::string& message) {
    return invalid_argument(typed + ": " + message,
                            canonical_name(typed.substr(typed.find_first_not_of('-'))));
  }

  const Table& table_;
  std::span<const std::string> args_;
  const ParseOptions& options_;
  std::size_t at_ = 0;
  CommandLine line_;
};

}  // namespace

Result<CommandLine> read_command_line(const Table& table,
                                      std::span<const std::string> args,
                                      const ParseOptions& options) {
  return Reader(table, args, options).read();
}

Error unknown_name(const Table& table,
                   std::string_view typed,
                   std::string_view dashes,
                   bool vllm_names) {
  const std::string name = canonical_name(typed);
  const std::string shown = std::string(dashes) + name;
  const std::string first = name.substr(0, name.find('.'));
  if (vllm_names && table.find_section(first) == nullptr && is_vllm_flag(name)) {
    return invalid_argument(
        shown + " is a vLLM flag that Braid does not have yet; leave it out to start without it",
        name);
  }
  std::vector<std::string> known;
  for (const Field& field : table.fields) known.push_back(field.name);
  for (const Section& section : table.sections) known.push_back(section.name);
  const bool negated = name.starts_with("no-");
  std::string guess = nearest(negated ? name.substr(3) : name, known);
  if (negated && !guess.empty()) guess = "no-" + guess;
  const std::string what = dashes.empty() ? "setting '" : "flag ";
  std::string message = "unknown " + what + shown + (dashes.empty() ? "'" : "");
  if (!guess.empty()) {
    message += "; did you mean " + std::string(dashes.empty() ? "" : "--") + guess + "?";
  } else if (!dashes.empty()) {
    message += "; --help lists the flags there are";
  }
  return invalid_argument(message, name);
}

}  // namespace braid::config
