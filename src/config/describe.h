// SPDX-License-Identifier: Apache-2.0
// A settings struct says once what its fields are:
//
//   struct CacheSettings {
//     int block_size = 16;
//     template <class Self, class Visitor>
//     static void describe(Self& self, Visitor& v) {
//       v.field("block-size", self.block_size, {.help = "Tokens per cache block", .unit = "tokens", .min = 1});
//     }
//   };
//
// Visitors (config/flags.h, config/yaml.h, config/reference.h) do the rest: flags, files, --help,
// validation, sources, documentation. Field types: bool, int, std::int64_t, double, std::string,
// std::vector<std::string>, std::optional of these, and nested settings structs through
// v.section("name", self.nested, "help").
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace braid::config {

struct Spec {
  std::string_view help;
  std::string_view unit = "";
  std::optional<double> min = std::nullopt;
  std::optional<double> max = std::nullopt;
  std::vector<std::string_view> choices = {};
  std::string_view short_name = "";   // "-tp"
  std::string_view environment = "";  // environment variable that sets it
  bool human_size = false;            // accepts 1k, 1K, 2GiB, ...
};

}  // namespace braid::config
