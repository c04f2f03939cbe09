// SPDX-License-Identifier: Apache-2.0
#include "metrics/registry.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>
#include <utility>

#include "base/check.h"

namespace braid::metrics {
namespace {

// Integral values end in ".0", as the clients that scrape such servers are used to; le="1.0".
std::string number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char buffer[40];
  const bool plain = std::abs(value) < 1e6 && (value == 0 || std::abs(value) >= 1e-4);
  const auto format = plain ? std::chars_format::fixed : std::chars_format::scientific;
  const auto [end, error] = std::to_chars(buffer, buffer + sizeof(buffer), value, format);
  std::string text(buffer, end);
  if (plain && text.find('.') == std::string::npos) text += ".0";
  return text;
}

std::string escaped(std::string_view text, bool quotes) {
  std::string out;
  for (char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '"' && quotes) {
      out += "\\\"";
    } else {
      out += c;
    }
  }
  return out;
}

std::string braces(const Labels& labels) {
  if (labels.empty()) return "";
  std::string out = "{";
  for (const auto& [name, value] : labels) {
    out += (out.size() > 1 ? "," : "") + name + "=\"" + escaped(value, true) + "\"";
  }
  return out + "}";
}

Labels joined(Labels labels,
              const std::vector<std::string>& names,
              const std::vector<std::string>& values) {
  for (std::size_t i = 0; i < names.size(); ++i) labels.emplace_back(names[i], values[i]);
  return labels;
}

// Appends the samples of one metric.
struct SamplePrinter {
  const std::string& name;
  const Labels& labels;
  const std::vector<std::string>& renamed;
  std::string& out;

  void operator()(const Counter& counter) const { line(name + "_total", labels, counter.value()); }
  void operator()(const Gauge& gauge) const { line(name, labels, gauge.value()); }
  void operator()(const Histogram& histogram) const {
    const std::vector<std::uint64_t> counts = histogram.counts();
    std::uint64_t total = 0;
    for (std::size_t i = 0; i < counts.size(); ++i) {
      total += counts[i];
      const bool last = i == histogram.bounds().size();
      Labels bucket = labels;
      bucket.emplace_back("le", last ? "+Inf" : number(histogram.bounds()[i]));
      line(name + "_bucket", bucket, static_cast<double>(total));
    }
    line(name + "_sum", labels, histogram.sum());
    line(name + "_count", labels, static_cast<double>(total));
  }
  template <class Metric>
  void operator()(const Family<Metric>& family) const {
    family.for_each([&](const std::vector<std::string>& values, const Metric& metric) {
      const Labels all = joined(labels, renamed.empty() ? family.labels() : renamed, values);
      SamplePrinter{name, all, renamed, out}(metric);
    });
  }

 private:
  void line(const std::string& sample, const Labels& sample_labels, double value) const {
    out += sample + braces(sample_labels) + " " + number(value) + "\n";
  }
};

struct TypeOf {
  const char* operator()(const Counter&) const { return "counter"; }
  const char* operator()(const Gauge&) const { return "gauge"; }
  const char* operator()(const Histogram&) const { return "histogram"; }
  const char* operator()(const Family<Counter>&) const { return "counter"; }
  const char* operator()(const Family<Gauge>&) const { return "gauge"; }
  const char* operator()(const Family<Histogram>&) const { return "histogram"; }
};

struct LabelsOf {
  template <class Metric>
  std::vector<std::string> operator()(const Metric&) const {
    return {};
  }
  template <class Metric>
  std::vector<std::string> operator()(const Family<Metric>& family) const {
    return family.labels();
  }
};

template <class Visitor>
decltype(auto) visit_metric(const Entry& entry, const Visitor& visitor) {
  return std::visit([&](const auto* metric) { return visitor(*metric); }, entry.metric);
}

std::string wire_name(const Entry& entry) {
  const bool counter = std::string_view(visit_metric(entry, TypeOf())) == "counter";
  return counter ? entry.name + "_total" : entry.name;
}

}  // namespace

void Registry::add_former(std::string_view name, std::string former, std::vector<std::string> label_names, const Labels& more) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.name == name; });
  CHECK(found != entries_.end());
  Entry entry = *found;
  entry.help = "Former name of " + wire_name(entry) + ".";
  entry.name = std::move(former);
  entry.labels.insert(entry.labels.begin(), more.begin(), more.end());
  entry.label_names = std::move(label_names);
  entries_.push_back(std::move(entry));
}

std::string Registry::text() const {
  std::string out;
  std::set<std::string> printed;
  for (const Entry& entry : entries_) {
    if (!printed.insert(entry.name).second) continue;
    const std::string name = wire_name(entry);
    out += "# HELP " + name + " " + escaped(entry.help, false) + "\n";
    out += "# TYPE " + name + " " + visit_metric(entry, TypeOf()) + "\n";
    for (const Entry& other : entries_) {
      if (other.name == entry.name) {
        visit_metric(other, SamplePrinter{other.name, other.labels, other.label_names, out});
      }
    }
  }
  return out;
}

std::string Registry::markdown() const {
  std::string out = "| name | type | labels | meaning |\n|---|---|---|---|\n";
  std::set<std::string> printed;
  for (const Entry& entry : entries_) {
    if (!printed.insert(entry.name).second) continue;
    std::string labels;
    for (const auto& [name, value] : entry.labels) labels += (labels.empty() ? "" : ", ") + name;
    for (const std::string& name : visit_metric(entry, LabelsOf())) {
      labels += (labels.empty() ? "" : ", ") + name;
    }
    out += "| `" + wire_name(entry) + "` | " + visit_metric(entry, TypeOf()) + " | " + labels +
           " | " + entry.help + ". |\n";
  }
  return out;
}

}  // namespace braid::metrics
