// SPDX-License-Identifier: Apache-2.0
// Prometheus texts of several processes as one: samples of a metric stand together under one HELP and
// TYPE, as the format wants. The texts are our own (metrics/registry.h); their labels tell them apart.
#pragma once

#include <string>
#include <vector>

namespace braid::metrics {

std::string merge(const std::vector<std::string>& texts);

}  // namespace braid::metrics
