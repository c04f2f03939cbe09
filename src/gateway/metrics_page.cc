// SPDX-License-Identifier: Apache-2.0
#include "gateway/metrics_page.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstring>

namespace braid::gateway {
namespace {

constexpr std::string_view kStarted = "process_start_time_seconds";

// Whether `line` is a sample called `name`.
bool is_sample(std::string_view line, std::string_view name) {
  if (line.size() <= name.size() || std::memcmp(line.data(), name.data(), name.size()) != 0) return false;
  const char next = line[name.size()];
  return next == '{' || next == ' ';
}

std::string_view labels_of(std::string_view line, std::size_t name_size) {
  if (line[name_size] != '{') return {};
  const std::size_t end = line.rfind('}');
  return end == line.npos || end < name_size ? std::string_view() : line.substr(name_size + 1, end - name_size - 1);
}

std::optional<double> value_of(std::string_view line, std::size_t name_size) {
  std::size_t at = line[name_size] == '{' ? line.rfind('}') : name_size;
  if (at == line.npos) return std::nullopt;
  at = line.find_first_not_of(' ', at + 1);
  double value = 0;
  if (at == line.npos || std::from_chars(line.data() + at, line.data() + line.size(), value).ec != std::errc()) return std::nullopt;
  return std::isfinite(value) ? std::optional(value) : std::nullopt;
}

// The text of a label between its quotes, as it stands there.
std::optional<std::string_view> label(std::string_view labels, std::string_view name) {
  for (std::size_t at = labels.find(name); at != labels.npos; at = labels.find(name, at + 1)) {
    const bool begins = at == 0 || labels[at - 1] == ',' || labels[at - 1] == ' ';
    const std::string_view rest = labels.substr(at + name.size());
    if (!begins || !rest.starts_with("=\"")) continue;
    const std::size_t end = rest.find('"', 2);
    if (end == rest.npos) return std::nullopt;
    return rest.substr(2, end - 2);
  }
  return std::nullopt;
}

std::int64_t number(std::optional<std::string_view> text) {
  std::int64_t value = 0;
  if (text) std::from_chars(text->data(), text->data() + text->size(), value);
  return value;
}

std::vector<std::string> names(std::optional<std::string_view> list) {
  std::vector<std::string> out;
  while (list && !list->empty()) {
    const std::size_t comma = list->find(',');
    std::string_view name = list->substr(0, comma);
    while (name.starts_with(' ')) name.remove_prefix(1);
    while (name.ends_with(' ')) name.remove_suffix(1);
    if (!name.empty()) out.emplace_back(name);
    list->remove_prefix(comma == list->npos ? list->size() : comma + 1);
  }
  return out;
}

bool has_labels(std::string_view labels, const MetricSpec& spec) {
  for (const auto& [name, value] : spec.labels) {
    if (label(labels, name) != value) return false;
  }
  return true;
}

class PageReader {
 public:
  PageReader(const PageOptions& options, router::EndpointState& state) : options_(options), state_(state) {
    for (const auto& [metric, spec] : options.engine.load) begin_wanted(spec.name);
    for (const auto& [attribute, spec] : options.custom) begin_wanted(spec.name);
    begin_wanted(kStarted);
  }

  PageFacts read(std::string_view page) {
    const char* at = page.data();
    const char* const end = at + page.size();
    while (at < end) {
      const void* const newline = std::memchr(at, '\n', static_cast<std::size_t>(end - at));
      const char* const line_end = newline != nullptr ? static_cast<const char*>(newline) : end;
      if (first_[static_cast<unsigned char>(*at)]) line({at, static_cast<std::size_t>(line_end - at)});
      at = line_end + 1;
    }
    commit();
    return facts_;
  }

 private:
  void begin_wanted(std::string_view name) { first_[static_cast<unsigned char>(name.front())] = true; }

  void line(std::string_view line) {
    for (const auto& [attribute, spec] : options_.custom) {
      if (!is_sample(line, spec.name) || !has_labels(labels_of(line, spec.name.size()), spec)) continue;
      if (const auto value = value_of(line, spec.name.size())) state_.attributes[attribute] = *value;
    }
    for (const auto& [metric, spec] : options_.engine.load) {
      if (is_sample(line, spec.name)) return take(metric, spec, line);
    }
    if (is_sample(line, kStarted)) facts_.started = value_of(line, kStarted.size());
  }

  void take(LoadMetric metric, const MetricSpec& spec, std::string_view line) {
    const std::string_view labels = labels_of(line, spec.name.size());
    if (options_.rank) {
      const auto engine = label(labels, "engine");
      if (engine && number(engine) != *options_.rank) return;
    }
    const auto value = value_of(line, spec.name.size());
    if (!value || !has_labels(labels, spec)) return;
    switch (metric) {
      case LoadMetric::kWaiting: waiting_ = waiting_.value_or(0) + *value; break;
      case LoadMetric::kRunning: running_ = running_.value_or(0) + *value; break;
      case LoadMetric::kCacheUse:
        cache_use_ += *value;
        ++cache_uses_;
        break;
      case LoadMetric::kAdapters: adapters(labels, *value); break;
      case LoadMetric::kCacheConfig: cache_config(labels); break;
      case LoadMetric::kBlockTokens: state_.block_size = static_cast<int>(*value); break;
      case LoadMetric::kBlocks: state_.num_blocks = static_cast<std::int64_t>(*value); break;
    }
  }

  // The value of each sample is the time at which it was true: the latest counts.
  void adapters(std::string_view labels, double when) {
    if (when < adapters_when_) return;
    adapters_when_ = when;
    state_.active_adapters = names(label(labels, "running_lora_adapters"));
    state_.waiting_adapters = names(label(labels, "waiting_lora_adapters"));
    state_.max_adapters = static_cast<int>(number(label(labels, "max_lora")));
  }

  void cache_config(std::string_view labels) {
    const auto either = [&](std::string_view name, std::string_view other) {
      const auto value = label(labels, name);
      return number(value ? value : label(labels, other));
    };
    const std::int64_t tokens = either("block_size", "page_size"), blocks = either("num_gpu_blocks", "num_pages");
    if (tokens > 0) state_.block_size = static_cast<int>(tokens);
    if (blocks > 0) state_.num_blocks = blocks;
  }

  void commit() {
    if (waiting_) state_.waiting = waiting_;
    if (running_) state_.running = running_;
    if (cache_uses_ > 0) state_.kv_usage = cache_use_ / cache_uses_;
    facts_.told = waiting_ || running_ || cache_uses_ > 0;
  }

  const PageOptions& options_;
  router::EndpointState& state_;
  std::array<bool, 256> first_{};  // letters that wanted names begin with
  PageFacts facts_;
  std::optional<double> waiting_, running_;
  double cache_use_ = 0;
  int cache_uses_ = 0;
  double adapters_when_ = -1;
};

}  // namespace

std::optional<EngineMetrics> engine_metrics(std::string_view engine_type) {
  using M = LoadMetric;
  if (engine_type == "vllm") {
    return EngineMetrics{.load = {{M::kWaiting, {"vllm:num_requests_waiting", {}}}, {M::kRunning, {"vllm:num_requests_running", {}}},
                                  {M::kCacheUse, {"vllm:kv_cache_usage_perc", {}}}, {M::kAdapters, {"vllm:lora_requests_info", {}}},
                                  {M::kCacheConfig, {"vllm:cache_config_info", {}}}}};
  }
  if (engine_type == "sglang") {
    return EngineMetrics{.load = {{M::kWaiting, {"sglang:num_queue_reqs", {}}}, {M::kRunning, {"sglang:num_running_reqs", {}}},
                                  {M::kCacheUse, {"sglang:token_usage", {}}}, {M::kCacheConfig, {"sglang:cache_config_info", {}}}}};
  }
  if (engine_type == "trtllm-serve") {
    return EngineMetrics{.path = "/prometheus/metrics",
                         .load = {{M::kWaiting, {"trtllm_num_requests_waiting", {}}}, {M::kRunning, {"trtllm_num_requests_running", {}}},
                                  {M::kCacheUse, {"trtllm_kv_cache_utilization", {}}},
                                  {M::kBlockTokens, {"trtllm_kv_cache_tokens_per_block", {}}}, {M::kBlocks, {"trtllm_kv_cache_max_blocks", {}}}}};
  }
  return std::nullopt;
}

Result<MetricSpec> parse_metric_spec(std::string_view text) {
  const std::size_t brace = text.find('{');
  MetricSpec spec{std::string(text.substr(0, brace)), {}};
  const Error wrong = invalid_argument("'" + std::string(text) + "' is not a metric: write name or name{label=value}");
  if (spec.name.empty()) return wrong;
  if (brace == text.npos) return spec;
  if (!text.ends_with('}')) return wrong;
  std::string_view rest = text.substr(brace + 1, text.size() - brace - 2);
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    const std::string_view pair = rest.substr(0, comma);
    const std::size_t equals = pair.find('=');
    if (equals == pair.npos || equals == 0) return wrong;
    std::string_view value = pair.substr(equals + 1);
    if (value.size() >= 2 && value.front() == '"' && value.back() == '"') value = value.substr(1, value.size() - 2);
    spec.labels.emplace_back(pair.substr(0, equals), value);
    rest.remove_prefix(comma == rest.npos ? rest.size() : comma + 1);
  }
  return spec;
}

PageFacts read_page(std::string_view page, const PageOptions& options, router::EndpointState& state) {
  return PageReader(options, state).read(page);
}

}  // namespace braid::gateway
