// SPDX-License-Identifier: Apache-2.0
#include "app/engine_host.h"
#include "app/rank_transport.h"
#include "base/log.h"
#include "engine/cache_size.h"
#include "engine/memory_plan.h"
#include "engine/metrics.h"
#include "metrics/registry.h"

namespace braid::app {
namespace {

class LocalEngine final : public EngineHost {
 public:
  explicit LocalEngine(const ServeSettings& settings) : metrics_(settings.engine.scheduler.max_model_len) {
    registry_.add(metrics_, {{"model_name", served_name(settings)}, {"engine", "0"}});
  }
  Status start(const ServeSettings& settings, LoadedModel loaded, const engine::Vocabulary& vocabulary) {
    stream_ = std::move(loaded.stream);
    ASSIGN_OR_RETURN(events_, event_publisher(settings.engine, 0));
    ASSIGN_OR_RETURN(node_, transfer_node(settings, loaded.model->config(), *stream_, 0));
    ASSIGN_OR_RETURN(engine_, engine::start(std::move(loaded.model), vocabulary, settings.engine, metrics_, clock_,
                                            {.events = events_.get(), .node = node_.get(), .timeline = &timeline_}));
    return {};
  }
  engine::Engine& engine() override { return *engine_; }
  std::string metrics_text() override { return registry_.text(); }
  std::string timeline() override { return trace_file({trace_events(timeline_.recent(), 0, "rank 0")}); }
  // What the model is to be given.
  Timeline* recorder() { return &timeline_; }

 private:
  const SteadyClock clock_;
  Timeline timeline_;
  std::unique_ptr<Stream> stream_;
  engine::Metrics metrics_;
  metrics::Registry registry_;
  std::unique_ptr<events::Publisher> events_;
  std::unique_ptr<transfer::Node> node_;
  std::unique_ptr<engine::Engine> engine_;
};

}  // namespace

model::Options model_options(const ServeSettings& settings, int length) {
  model::Options options;
  options.max_model_len = length;
  options.max_batched_tokens = settings.engine.scheduler.max_num_batched_tokens;
  options.max_sequences = settings.engine.scheduler.max_num_seqs * (1 + settings.engine.speculation.tokens());
  options.draft_module = settings.engine.speculation.uses_draft_module();
  return options;
}

Consent memory_consent(engine::Settings& settings, int length, int rank) {
  return [&settings, length, rank](const model::Footprint& f, const Stream& stream) -> Status {
    const engine::DeviceMemory memory{stream.total_memory(), stream.available_memory(), static_cast<std::int64_t>(f.weights),
                                      static_cast<std::int64_t>(f.buffers), static_cast<std::int64_t>(f.graphs)};
    ASSIGN_OR_RETURN(const auto plan, engine::plan_memory(settings, engine::cache_layout(settings, f.cache), length, memory));
    log_info("memory plan", {{"rank", rank}, {"gpu_mib", memory.total >> 20}, {"free_mib", memory.free >> 20}, {"allowed_mib", plan.allowed >> 20},
                             {"weights_mib", memory.weights >> 20}, {"buffers_mib", memory.buffers >> 20}, {"graphs_mib", memory.graphs >> 20},
                             {"cache_mib", plan.cache >> 20}, {"blocks", plan.blocks}, {"longest_sequence", plan.tokens}});
    settings.cache.num_blocks_override = plan.blocks;
    return {};
  };
}

Result<std::unique_ptr<events::Publisher>> event_publisher(const engine::Settings& settings, int rank) {
  if (!settings.events.enabled()) return std::unique_ptr<events::Publisher>();
  return events::publisher(settings.events, settings.cache.block_size, rank);
}

std::string served_name(const ServeSettings& settings) {
  return settings.serve.served_model_name.empty() ? settings.model.model : settings.serve.served_model_name.front();
}

Result<std::unique_ptr<EngineHost>> start_engine(const ServeSettings& settings, Words words,
                                                 const engine::Vocabulary& vocabulary) {
  return settings.parallel.size > 1 || settings.parallel.enable_elastic_ep ? start_ranks(settings, words) : start_local_engine(settings, vocabulary);
}

Result<std::unique_ptr<EngineHost>> start_local_engine(const ServeSettings& wanted, const engine::Vocabulary& vocabulary) {
  ServeSettings settings = wanted;
  const int length = settings.engine.scheduler.max_model_len;
  auto host = std::make_unique<LocalEngine>(settings);
  model::Options options = model_options(settings, length);
  options.timeline = host->recorder();
  ASSIGN_OR_RETURN(LoadedModel loaded, load_model(settings.model, options, true, 0, memory_consent(settings.engine, length, 0)));
  log_info("model loaded", {{"model", settings.model.model}, {"seconds", loaded.seconds},
                            {"weight_mib", loaded.model->weight_bytes() >> 20}, {"device", loaded.stream->capabilities().device}, {"workers", loaded.stream->workers()}});
  RETURN_IF_ERROR(engine::check_cache(settings.engine, engine::cache_layout(settings.engine, loaded.model->cache_layout()), length, engine::available_memory(loaded.stream.get())));
  RETURN_IF_ERROR(host->start(settings, std::move(loaded), vocabulary));
  return std::unique_ptr<EngineHost>(std::move(host));
}

}  // namespace braid::app
