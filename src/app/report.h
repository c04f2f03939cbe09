// SPDX-License-Identifier: Apache-2.0
// What a server tells of itself in a bug report: version, configuration, what the dashboard shows, metrics and
// the last problems of its log; and no secret.
#pragma once

#include <string>
#include <vector>

#include "config/field.h"

namespace braid::app {

struct ReportParts {
  std::string configuration;         // JSON, as `braid config --json` prints it
  std::vector<std::string> secrets;  // what must not stand anywhere in the report
};

// Values of secret settings.
std::vector<std::string> secrets_of(const config::Table& table);
// The parts around `dashboard`, which is JSON. From any thread.
std::string report_of(const ReportParts& parts, const std::string& dashboard, const std::string& metrics);

}  // namespace braid::app
