// SPDX-License-Identifier: Apache-2.0
#include "metrics/merge.h"

#include <sstream>
#include <unordered_map>

namespace braid::metrics {

std::string merge(const std::vector<std::string>& texts) {
  struct Metric {
    std::string comments, samples;
  };
  std::vector<Metric> metrics;
  std::unordered_map<std::string, std::size_t> by_name;
  for (const std::string& text : texts) {
    std::istringstream lines(text);
    std::string line, name, word;
    std::size_t at = 0;
    bool first_time = false;
    while (std::getline(lines, line)) {
      if (line.starts_with("# HELP ") || line.starts_with("# TYPE ")) {
        std::istringstream words(line.substr(7));
        words >> word;
        if (word != name) {
          name = word;
          const auto [entry, added] = by_name.try_emplace(name, metrics.size());
          if (added) metrics.emplace_back();
          at = entry->second;
          first_time = added;
        }
        if (first_time) metrics[at].comments += line + "\n";
      } else if (!line.empty() && !metrics.empty()) {
        metrics[at].samples += line + "\n";
      }
    }
  }
  std::string merged;
  for (const Metric& m : metrics) merged += m.comments + m.samples;
  return merged;
}

}  // namespace braid::metrics
