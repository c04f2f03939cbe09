// SPDX-License-Identifier: Apache-2.0
// A settings struct says once what its fields are:
//
//   struct CacheSettings {
//     int block_size = 16;
//     template <class Self, class Visitor>
//     static void describe(Self& self, Visitor& v) {
//       v.field("block-size", self.block_size,
//               {.help = "Tokens per cache block", .unit = "tokens", .min = 1});
//     }
//   };
//
// Everything else follows from it: flags, files and environment (config/parse.h), validation,
// --help, sources and the reference page (config/reference.h).
//
// A visitor has three methods:
//   v.field(name, member, Spec)       one setting; the name is in kebab-case
//   v.group(title, nested)            another struct's fields, flat, under a heading of their own
//   v.section(name, nested, help)     another struct's fields, nested: --name.field, --name '{...}'
//
// Field types: bool, int, std::int64_t, double, std::string, std::vector<std::string>,
// config::JsonObject, and std::optional of the first six.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace braid::config {

struct Spec {
  std::string_view help;
  std::string_view unit = "";
  std::optional<double> min = std::nullopt;
  std::optional<double> max = std::nullopt;
  std::vector<std::string_view> choices = {};
  std::string_view short_name = "";   // "tp" for -tp
  std::string_view environment = "";  // another variable that sets it, beside BRAID_<NAME>
  bool human_size = false;            // accepts 1k (1000), 1K (1024), 2GiB, 1.5G ...
  std::vector<std::string_view> aliases = {};               // other spellings of the name
  std::optional<std::int64_t> auto_value = std::nullopt;    // what the word "auto" stands for
  bool secret = false;                                      // never printed, only whether it is set
};

// A setting that is itself an open set of keys, kept as the text of a JSON object.
// Flags reach into it: --hf-overrides.rope_scaling.factor 4, --x.list+ value.
struct JsonObject {
  std::string text = "{}";
  friend bool operator==(const JsonObject&, const JsonObject&) = default;
};

}  // namespace braid::config
