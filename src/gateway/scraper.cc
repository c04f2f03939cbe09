// SPDX-License-Identifier: Apache-2.0
#include "gateway/scraper.h"

#include <utility>

#include "base/log.h"
#include "gateway/collect.h"
#include "gateway/endpoint_list.h"

namespace braid::gateway {
namespace {

constexpr std::size_t kLongestPage = 16u << 20;

}  // namespace

Scraper::Scraper(net::EventLoop& loop, net::ClientPool& upstream, EndpointPool& endpoints, Metrics& metrics, ScraperOptions options, Hooks hooks)
    : loop_(loop), upstream_(upstream), endpoints_(endpoints), metrics_(metrics), options_(std::move(options)), hooks_(std::move(hooks)) {}

void Scraper::sync() {
  std::map<std::string, std::shared_ptr<Target>, std::less<>> kept;
  std::vector<std::shared_ptr<Target>> fresh;
  for (const router::EndpointId& id : endpoints_.addresses()) {
    auto& target = kept[id.host_port()];
    if (const auto known = targets_.find(id.host_port()); known != targets_.end()) {
      target = known->second;
    } else {
      target = std::make_shared<Target>(Target{.id = id, .host_port = id.host_port()});
      fresh.push_back(target);
    }
  }
  targets_ = std::move(kept);
  for (const auto& target : fresh) scrape(target);
}

EngineMetrics Scraper::engine_of(const router::Endpoint& endpoint) const {
  const std::string_view label = endpoint.label(options_.engine_label);
  const std::string_view type = label.empty() ? std::string_view(options_.default_engine) : label;
  if (const auto configured = options_.engines.find(type); configured != options_.engines.end()) return configured->second;
  if (auto known = engine_metrics(type)) return *known;
  return *engine_metrics("vllm");
}

void Scraper::scrape(const std::shared_ptr<Target>& target) {
  const auto known = targets_.find(target->host_port);
  if (known == targets_.end() || known->second != target) return;
  net::PoolRequest request;
  request.host = target->id.address;
  request.port = target->id.port;
  request.connect_timeout = request.silence_timeout = request.timeout = options_.timeout;
  request.target = options_.path;
  if (request.target.empty()) endpoints_.for_each_at(target->host_port, [&](router::Endpoint& e) { request.target = engine_of(e).path; });
  collect(upstream_, std::move(request), kLongestPage, [this, alive = alive_, target](Result<Collected> answer) {
    if (!*alive) return;
    answered(*target, std::move(answer));
    loop_.after(options_.interval, [this, alive, target] {
      if (*alive) scrape(target);
    });
  });
}

void Scraper::answered(Target& target, Result<Collected> answer) {
  if (!answer.ok()) return failed(target, answer.error());
  target.failures = 0;
  if (std::exchange(target.complained, false)) log_info("endpoint answers again", {{"endpoint", target.host_port}});
  if (answer->status == 200) read(target, answer->body);
  endpoints_.set_alive(target.host_port, true);
  hooks_.on_change();
}

void Scraper::failed(Target& target, const Error& error) {
  endpoints_.for_each_at(target.host_port, [&](router::Endpoint& e) { metrics_.poll_errors.with({e.id.name}).add(); });
  const bool nobody_listens = error.code == ErrorCode::kUnavailable;
  if (++target.failures < options_.failures_until_dead && !nobody_listens) return;
  if (!std::exchange(target.complained, true)) log_warning("endpoint does not answer", {{"endpoint", target.host_port}, {"why", error.message}});
  endpoints_.set_alive(target.host_port, false);
  hooks_.on_change();
}

void Scraper::read(Target& target, const std::string& page) {
  const auto before = target.started;
  bool restarted = false;
  endpoints_.for_each_at(target.host_port, [&](router::Endpoint& endpoint) {
    PageOptions options{.engine = engine_of(endpoint), .custom = options_.custom};
    if (!endpoint.label(kSharedPortLabel).empty()) options.rank = endpoint.id.rank;
    const PageFacts facts = read_page(page, options, endpoint.state);
    if (facts.told) endpoint.state.seen = std::chrono::steady_clock::now();
    else metrics_.extract_errors.with({endpoint.id.name}).add();
    if (facts.started && before && *facts.started != *before) {
      restarted = true;
      hooks_.on_restart(endpoint.id.name);
    }
    if (facts.started) target.started = facts.started;
  });
  if (restarted) endpoints_.returned(target.host_port);
}

}  // namespace braid::gateway
