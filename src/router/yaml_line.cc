// SPDX-License-Identifier: Apache-2.0
#include "router/config_reader.h"

namespace braid::router {
namespace {

struct Line {
  int number = 0;
  std::string text;  // spaces in place of the dashes that have been entered

  std::size_t indent() const { return text.find_first_not_of(' '); }
  bool item() const { return starts_with("- ") || text.substr(indent()) == "-"; }
  bool starts_with(std::string_view word) const { return text.compare(indent(), word.size(), word) == 0; }
  bool has_key(const std::string& key) const {
    return starts_with(key + ":") || starts_with("\"" + key + "\":") || starts_with("'" + key + "':");
  }
};

std::vector<Line> lines_of(std::string_view yaml) {
  std::vector<Line> lines;
  for (int number = 1; !yaml.empty(); ++number) {
    const std::size_t end = yaml.find('\n');
    std::string text(yaml.substr(0, end));
    yaml.remove_prefix(end == std::string_view::npos ? yaml.size() : end + 1);
    const std::size_t first = text.find_first_not_of(" \t\r");
    if (first == std::string::npos || text[first] == '#' || text.starts_with("---")) continue;
    lines.push_back({number, std::move(text)});
  }
  return lines;
}

// The lines of one value: [begin, end).
struct Region {
  std::size_t begin;
  std::size_t end;
};

std::optional<Region> enter_key(const std::vector<Line>& lines, Region region, const std::string& key) {
  const std::size_t indent = lines[region.begin].indent();
  for (std::size_t i = region.begin; i < region.end; ++i) {
    if (lines[i].indent() != indent || !lines[i].has_key(key)) continue;
    std::size_t end = i + 1;
    while (end < region.end &&
           (lines[end].indent() > indent || (lines[end].indent() == indent && lines[end].item()))) {
      ++end;
    }
    return Region{i, end};
  }
  return std::nullopt;
}

// `region` is an entered key: its value begins on the next line.
std::optional<Region> enter_item(std::vector<Line>& lines, Region region, std::size_t index) {
  if (region.begin + 1 >= region.end) return std::nullopt;
  const std::size_t indent = lines[region.begin + 1].indent();
  for (std::size_t i = region.begin + 1; i < region.end; ++i) {
    if (lines[i].indent() != indent || !lines[i].item() || index-- != 0) continue;
    std::size_t end = i + 1;
    while (end < region.end && lines[end].indent() > indent) ++end;
    lines[i].text[indent] = ' ';
    if (lines[i].indent() == std::string::npos) return std::nullopt;
    return Region{i, end};
  }
  return std::nullopt;
}

}  // namespace

int yaml_line(std::string_view yaml, const ConfigPath& path) {
  std::vector<Line> lines = lines_of(yaml);
  if (lines.empty()) return 0;
  Region region{0, lines.size()};
  bool inside_key = false;  // region.begin is the key's own line
  for (const auto& step : path) {
    std::optional<Region> next;
    if (const auto* index = std::get_if<std::size_t>(&step)) {
      next = enter_item(lines, region, *index);
      if (next) inside_key = false;
    } else {
      Region inner = region;
      if (inside_key) ++inner.begin;
      if (inner.begin < inner.end) next = enter_key(lines, inner, std::get<std::string>(step));
      if (next) inside_key = true;
    }
    if (!next) break;
    region = *next;
  }
  return lines[region.begin].number;
}

}  // namespace braid::router
