// SPDX-License-Identifier: Apache-2.0
#include "app/top_frame.h"

#include <algorithm>
#include <cstdlib>
#include <set>

#include "app/top_text.h"

namespace braid::app {
namespace {

using metrics::Sample;
using metrics::Samples;

constexpr std::string_view kHeat = ".:-=+*#%@";
struct ByNumber {
  bool operator()(const std::string& a, const std::string& b) const { return std::atoi(a.c_str()) < std::atoi(b.c_str()); }
};

class Frame {
 public:
  Frame(const Samples& now, const Samples& before, double seconds) : now_(now), before_(before), seconds_(seconds) {
    for (const Sample* s : now.named("vllm:num_requests_running")) {
      if (const auto engine = s->labels.find("engine"); engine != s->labels.end()) ranks_.insert(engine->second);
      if (const auto model = s->labels.find("model_name"); model != s->labels.end()) model_ = model->second;
    }
  }

  std::vector<std::string> lines() {
    if (ranks_.empty()) return {"no rank tells anything"};
    std::size_t healthy = 0;
    for (const auto& rank : ranks_) healthy += now_.sum("vllm:engine_healthy", "engine", rank) > 0;
    lines_.push_back(model_ + ", " + std::to_string(ranks_.size()) + (ranks_.size() == 1 ? " rank" : " ranks") + ", " + std::to_string(healthy) + " healthy");
    lines_.emplace_back();
    ranks();
    experts();
    return std::move(lines_);
  }

 private:
  void ranks() {
    lines_.push_back(format("%5s %8s %8s  %-*s %12s %12s %14s", "rank", "running", "waiting", kBar + 7, "KV cache", "prompt tok/s", "output tok/s", "output tokens"));
    for (const auto& rank : ranks_) {
      const double cache = now_.sum("vllm:kv_cache_usage_perc", "engine", rank);
      const bool healthy = now_.sum("vllm:engine_healthy", "engine", rank) > 0;
      lines_.push_back(format("%5s %8.0f %8.0f  %s %3.0f %% %12s %12s %14.0f%s", rank.c_str(), now_.sum("vllm:num_requests_running", "engine", rank),
                              now_.sum("vllm:num_requests_waiting", "engine", rank), bar(cache).c_str(), 100 * cache,
                              rate("vllm:prompt_tokens_total", rank).c_str(), rate("vllm:generation_tokens_total", rank).c_str(),
                              now_.sum("vllm:generation_tokens_total", "engine", rank), healthy ? "" : "  dead"));
    }
  }

  std::string rate(const char* name, const std::string& rank) const {
    if (seconds_ <= 0) return "-";
    return format("%.0f", std::max(0.0, now_.sum(name, "engine", rank) - before_.sum(name, "engine", rank)) / seconds_);
  }

  void experts() {
    lines_.emplace_back();
    const auto balance = now_.named("braid:eplb_balancedness");
    const auto heat = sorted("braid:eplb_expert_rows", "expert");
    if (balance.empty() || heat.empty()) {
      lines_.emplace_back("experts: no loads are measured; the server's --enable-eplb does");
      return;
    }
    const Sample* worst = balance.front();
    double mean = 0;
    for (const Sample* s : balance) {
      mean += s->value / static_cast<double>(balance.size());
      if (s->value < worst->value) worst = s;
    }
    const auto layer = worst->labels.find("layer");
    lines_.push_back(format("experts: balance %.2f on average, %.2f in layer %s", mean, worst->value, layer == worst->labels.end() ? "?" : layer->second.c_str()));
    shares();
    map(heat);
  }

  void shares() {
    const auto loads = sorted("braid:eplb_rank_rows", "rank");
    double sum = 0;
    for (const auto& [rank, rows] : loads) sum += rows;
    for (const auto& [rank, rows] : loads) {
      const double share = sum > 0 ? rows / sum : 0;
      lines_.push_back(format("%5s  %s %3.0f %% of rows", rank.c_str(), bar(share).c_str(), 100 * share));
    }
  }

  // One character an expert.
  void map(const std::vector<std::pair<std::string, double>>& heat) {
    double most = 0;
    for (const auto& [expert, rows] : heat) most = std::max(most, rows);
    for (std::size_t i = 0; i < heat.size(); ++i) {
      if (i % 64 == 0) lines_.push_back(format("%5s  ", heat[i].first.c_str()));
      const double share = most > 0 ? heat[i].second / most : 0;
      lines_.back() += share > 0 ? kHeat[static_cast<std::size_t>(share * static_cast<double>(kHeat.size() - 1))] : ' ';
    }
    lines_.push_back("       an expert each: blank for no rows, then " + std::string(kHeat) + format(" up to %.0f rows", most));
  }

  std::vector<std::pair<std::string, double>> sorted(const char* name, const char* label) const {
    std::map<std::string, double, ByNumber> by_label;
    for (const Sample* s : now_.named(name)) {
      if (const auto l = s->labels.find(label); l != s->labels.end()) by_label[l->second] += s->value;
    }
    return {by_label.begin(), by_label.end()};
  }

  const Samples& now_;
  const Samples& before_;
  const double seconds_;
  std::set<std::string, ByNumber> ranks_;
  std::string model_;
  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> top_frame(const Samples& now, const Samples& before, double seconds, int width) {
  auto lines = is_router(now) ? top_route(now, before, seconds) : Frame(now, before, seconds).lines();
  for (auto& line : lines) {
    if (line.size() > static_cast<std::size_t>(width)) line.resize(static_cast<std::size_t>(width));
  }
  return lines;
}

}  // namespace braid::app
