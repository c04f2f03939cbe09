// SPDX-License-Identifier: Apache-2.0
#include "metrics/samples.h"

#include <cmath>
#include <cstdio>

#include <cstdlib>
#include <optional>

namespace braid::metrics {
namespace {

// Takes `"text"` with its escapes off the front.
std::optional<std::string> take_quoted(std::string_view& rest) {
  if (rest.empty() || rest.front() != '"') return std::nullopt;
  std::string text;
  for (std::size_t i = 1; i < rest.size(); ++i) {
    if (rest[i] == '"') {
      rest.remove_prefix(i + 1);
      return text;
    }
    if (rest[i] == '\\' && ++i < rest.size()) text += rest[i] == 'n' ? '\n' : rest[i];
    else if (i < rest.size()) text += rest[i];
  }
  return std::nullopt;
}

bool take_labels(std::string_view& rest, std::map<std::string, std::string>& labels) {
  if (rest.empty() || rest.front() != '{') return true;
  rest.remove_prefix(1);
  while (!rest.empty() && rest.front() != '}') {
    const std::size_t equals = rest.find('=');
    if (equals == std::string_view::npos) return false;
    const std::string name(rest.substr(0, equals));
    rest.remove_prefix(equals + 1);
    auto value = take_quoted(rest);
    if (!value) return false;
    labels[name] = std::move(*value);
    if (rest.starts_with(',')) rest.remove_prefix(1);
  }
  if (rest.empty()) return false;
  rest.remove_prefix(1);
  return true;
}

std::optional<Sample> read(std::string_view line) {
  if (line.empty() || line.front() == '#') return std::nullopt;
  Sample sample;
  const std::size_t end = line.find_first_of("{ ");
  if (end == std::string_view::npos) return std::nullopt;
  sample.name = line.substr(0, end);
  line.remove_prefix(end);
  if (!take_labels(line, sample.labels)) return std::nullopt;
  const std::string number(line);
  char* after = nullptr;
  sample.value = std::strtod(number.c_str(), &after);
  if (after == number.c_str()) return std::nullopt;
  return sample;
}

}  // namespace

Samples Samples::parse(std::string_view text) {
  Samples samples;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (auto sample = read(text.substr(0, end))) samples.all_.push_back(std::move(*sample));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return samples;
}

std::vector<const Sample*> Samples::named(std::string_view name) const {
  std::vector<const Sample*> found;
  for (const Sample& sample : all_) {
    if (sample.name == name) found.push_back(&sample);
  }
  return found;
}

double Samples::sum(std::string_view name, const std::string& label, const std::string& value) const {
  double sum = 0;
  for (const Sample* sample : named(name)) {
    const auto found = sample->labels.find(label);
    if (found != sample->labels.end() && found->second == value) sum += sample->value;
  }
  return sum;
}

std::string cumulative_json(const Samples& samples, const std::string& name) {
  std::map<double, double> counts;
  for (const Sample* s : samples.named(name + "_bucket")) {
    if (const auto le = s->labels.find("le"); le != s->labels.end()) counts[std::strtod(le->second.c_str(), nullptr)] += s->value;
  }
  std::string json;
  for (const auto& [bound, count] : counts) {
    char text[64];
    if (std::isfinite(bound)) std::snprintf(text, sizeof text, "[%.9g,%.0f]", bound, count);
    else std::snprintf(text, sizeof text, "[null,%.0f]", count);
    json.append(json.empty() ? "" : ",").append(text);
  }
  return "[" + json + "]";
}

}  // namespace braid::metrics
