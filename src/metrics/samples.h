// SPDX-License-Identifier: Apache-2.0
// The samples of a Prometheus text, as a reader of one server's /metrics needs them.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace braid::metrics {

struct Sample {
  std::string name;
  std::map<std::string, std::string> labels;
  double value = 0;
};

class Samples {
 public:
  // Lines that are not samples are left out.
  static Samples parse(std::string_view text);

  const std::vector<Sample>& all() const { return all_; }
  std::vector<const Sample*> named(std::string_view name) const;
  // Sum over the samples called `name` whose `label` is `value`.
  double sum(std::string_view name, const std::string& label, const std::string& value) const;

 private:
  std::vector<Sample> all_;
};

// The histogram called `name`, summed over its labels, as JSON: [[upper bound, observations up to it], ...] with
// null for no bound.
std::string cumulative_json(const Samples& samples, const std::string& name);

}  // namespace braid::metrics
