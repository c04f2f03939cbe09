// SPDX-License-Identifier: Apache-2.0
// The visitor that prints what a struct with describe() takes, as rows of a Markdown table.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/describe.h"
#include "router/config_reader.h"

namespace braid::router {

class ParameterPage {
 public:
  const std::string& rows() const { return rows_; }

  void field(std::string_view name, const bool& value, const config::Spec& spec);
  void field(std::string_view name, const int& value, const config::Spec& spec);
  void field(std::string_view name, const std::int64_t& value, const config::Spec& spec);
  void field(std::string_view name, const double& value, const config::Spec& spec);
  void field(std::string_view name, const std::string& value, const config::Spec& spec);
  void field(std::string_view name, const std::vector<std::string>& value, const config::Spec& spec);
  template <class T>
  void field(std::string_view name, const std::optional<T>&, const config::Spec& spec) {
    row(name, "", spec.help);
  }
  void quantity(std::string_view name, const std::optional<Quantity>&, std::string_view help) { row(name, "", help); }
  void duration(std::string_view name, const std::optional<DurationText>&, std::string_view help) { row(name, "", help); }
  void strings(std::string_view name, const std::map<std::string, std::string>&, std::string_view help) { row(name, "", help); }
  void value(std::string_view name, const ConfigValue&, std::string_view help) { row(name, "", help); }
  void line(int&) {}

  template <class T>
  void object(std::string_view name, T& value, std::string_view help) {
    row(name, "", help);
    nested(std::string(name) + ".", value);
  }
  template <class T>
  void optional(std::string_view name, std::optional<T>&, std::string_view help) {
    T value;
    object(name, value, help);
  }
  template <class T>
  void list(std::string_view name, std::vector<T>&, std::string_view help) {
    row(name, "", help);
    T value;
    nested(std::string(name) + "[].", value);
  }

 private:
  template <class T>
  void nested(const std::string& step, T& value) {
    const std::size_t size = prefix_.size();
    prefix_ += step;
    T::describe(value, *this);
    prefix_.resize(size);
  }
  void row(std::string_view name, const std::string& value, std::string_view help);

  std::string prefix_;
  std::string rows_;
};

}  // namespace braid::router
