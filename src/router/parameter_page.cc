// SPDX-License-Identifier: Apache-2.0
#include "router/parameter_page.h"

#include "config/values.h"

namespace braid::router {

void ParameterPage::row(std::string_view name, const std::string& value, std::string_view help) {
  rows_ += "| `" + prefix_ + std::string(name) + "` | " + value + " | " + std::string(help) + " |\n";
}

void ParameterPage::field(std::string_view name, const bool& value, const config::Spec& spec) {
  row(name, value ? "true" : "false", spec.help);
}
void ParameterPage::field(std::string_view name, const int& value, const config::Spec& spec) {
  row(name, std::to_string(value), spec.help);
}
void ParameterPage::field(std::string_view name, const std::int64_t& value, const config::Spec& spec) {
  row(name, std::to_string(value), spec.help);
}
void ParameterPage::field(std::string_view name, const double& value, const config::Spec& spec) {
  row(name, config::print_number(value), spec.help);
}
void ParameterPage::field(std::string_view name, const std::string& value, const config::Spec& spec) {
  row(name, value, spec.help);
}
void ParameterPage::field(std::string_view name, const std::vector<std::string>&, const config::Spec& spec) {
  row(name, "", spec.help);
}

}  // namespace braid::router
