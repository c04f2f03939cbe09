// SPDX-License-Identifier: Apache-2.0
// The process of one rank. Started by `braid serve`, never by hand:
//   braid rank RANK HOST PORT [words of serve]      with the secret in the environment
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "app/commands.h"
#include "app/engine_host.h"
#include "app/expert_balance.h"
#include "app/parse.h"
#include "app/rank_transport.h"
#include "app/ranks.h"
#include "backend/cpu/pool.h"
#include "base/log.h"
#include "engine/cache_size.h"
#include "engine/metrics.h"
#include "engine/remote/remote_engine.h"
#include "engine/remote/wire.h"
#include "metrics/registry.h"
#include "moe/expert_parallel.h"

namespace braid::app {
namespace {

constexpr Duration kStartTime = std::chrono::minutes(60);  // the slowest rank loads a large model

TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }

// Collectives over the control connection: the serving process gathers.
class ControlBootstrap final : public fabric::Bootstrap {
 public:
  ControlBootstrap(fabric::Connection& connection, int rank, int size) : connection_(connection), rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Result<std::vector<std::string>> all_gather(const std::string& mine) override {
    RETURN_IF_ERROR(connection_.send(static_cast<std::uint8_t>(engine::FrameType::kGather), mine));
    ASSIGN_OR_RETURN(const fabric::Frame frame, connection_.receive(in(kStartTime)));
    std::vector<std::string> all;
    if (static_cast<engine::FrameType>(frame.type) != engine::FrameType::kGathered || !engine::from_bytes(frame.payload, all) ||
        all.size() != static_cast<std::size_t>(size_)) {
      return internal_error("the serving process answered a collective of the ranks with something else");
    }
    return all;
  }

 private:
  fabric::Connection& connection_;
  const int rank_;
  const int size_;
};

// Binds the process to its share of the processors, when there are enough.
void take_processors(int local_index, int threads, int ranks) {
  const auto cpus = cpu::allowed_cpus();
  if (static_cast<int>(cpus.size()) < threads * ranks) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (int i = 0; i < threads; ++i) CPU_SET(cpus[static_cast<std::size_t>(local_index * threads + i)], &set);
  sched_setaffinity(0, sizeof set, &set);
}

struct Rank {
  ServeSettings settings;
  int rank = 0;
  fabric::Connection& connection;

  Status run() {
    const ParallelSettings& p = settings.parallel;
    const int local = p.local_size();
    const int cores = static_cast<int>(cpu::allowed_cpus().size());
    if (settings.model.cpu_threads == 0) settings.model.cpu_threads = std::max(1, cores / local);
    const bool crowded = settings.model.cpu_threads * local > cores;
    take_processors((rank - p.start_rank) % local, settings.model.cpu_threads, local);
    settings.engine.cache.memory_utilization /= local;

    const int length = settings.engine.scheduler.max_model_len;
    ControlBootstrap bootstrap(connection, rank, p.size);
    const Duration spin = crowded ? Duration::zero() : std::chrono::microseconds(50);
    ASSIGN_OR_RETURN(const auto transport, rank_transport(p, connection.local_address(), spin));
    if (p.enable_expert_parallel) RETURN_IF_ERROR(report_paths(p, bootstrap, *transport));
    moe::ExpertParallel experts;
    experts.bootstrap = &bootstrap;
    experts.transport = transport.get();
    ASSIGN_OR_RETURN(experts.backend, moe::parse_all2all(p.all2all_backend));
    ASSIGN_OR_RETURN(experts.payload, moe::parse_payload(p.all2all_payload));
    experts.buffer_tokens = p.moe_buffer_tokens;
    experts.deterministic = p.deterministic;
    experts.redundant_experts = p.eplb.num_redundant_experts;
    experts.timeout = std::chrono::seconds(p.rank_timeout_seconds);
    model::Options options = model_options(settings, length);
    if (p.enable_expert_parallel) options.experts = &experts;
    options.two_micro_batches = settings.engine.overlap.enable_dbo;
    ASSIGN_OR_RETURN(LoadedModel loaded, load_model(settings.model, options, rank == p.start_rank, (rank - p.start_rank) % local));
    log_info("model loaded", {{"rank", rank}, {"seconds", loaded.seconds}, {"weight_mib", loaded.model->weight_bytes() >> 20},
                              {"device", loaded.stream->capabilities().device}, {"workers", loaded.stream->workers()}});
    RETURN_IF_ERROR(engine::check_cache(settings.engine, loaded.model->cache_layout(), length, engine::available_memory(loaded.stream.get())));
    ASSIGN_OR_RETURN(const auto tokenizer, load_tokenizer(settings.model));
    engine::Vocabulary vocabulary = load_vocabulary(settings.model, loaded.model->config(), tokenizer);

    const SteadyClock clock;
    engine::Metrics metrics(length);
    metrics::Registry registry;
    const metrics::Labels labels{{"model_name", served_name(settings)}, {"engine", std::to_string(rank)}};
    registry.add(metrics, labels);
    std::unique_ptr<engine::Lockstep> lockstep;
    if (options.experts && loaded.model->config().moe.experts > 0) {
      ASSIGN_OR_RETURN(lockstep, engine::Lockstep::create(bootstrap, *transport, experts.timeout));
    }
    std::unique_ptr<fabric::Transport> balance_transport;
    std::optional<ExpertBalance> balance;
    if (p.enable_eplb) {
      ASSIGN_OR_RETURN(balance_transport, rank_transport(p, connection.local_address(), Duration::zero()));
      balance.emplace(p, rank, *balance_transport, *loaded.model, registry, labels);
      RETURN_IF_ERROR(balance->rebalancer().join(bootstrap));
    }
    const auto engine = engine::start(std::move(loaded.model), std::move(vocabulary), settings.engine, metrics, clock, lockstep.get(),
                                      balance ? &balance->rebalancer() : nullptr);
    const engine::Ready ready{engine->max_model_len(), {}};
    RETURN_IF_ERROR(connection.send(static_cast<std::uint8_t>(engine::FrameType::kReady), engine::to_bytes(ready)));
    return engine::serve_remote(*engine, connection, [&registry] { return registry.text(); });
  }
};

}  // namespace

int rank(Words words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) return 1;
  for (const int s : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) signal(s, SIG_IGN);  // `braid serve` decides when to end
  const char* secret = std::getenv(kSecretVariable);
  if (words.size() < 3 || !secret) return fail(invalid_argument("braid rank is started by braid serve --data-parallel-size N"));
  const int number = std::atoi(words[0].c_str());
  ServeSettings settings;
  const auto parsed = config::parse(settings, words.subspan(3), parse_options());
  if (!parsed.ok()) return fail(parsed.error());
  configure_serve_log(settings, number != settings.parallel.start_rank);
  const auto config = model_config(settings.model.model);
  if (!config.ok()) return fail(config.error());
  const auto length = model_length(settings.engine.scheduler.max_model_len, *config);
  if (!length.ok()) return fail(length.error());
  settings.engine.scheduler.max_model_len = *length;
  const auto connection = fabric::Connection::connect(words[1], std::atoi(words[2].c_str()), secret,
                                                      hello_of(settings, number), in(std::chrono::minutes(10)));
  if (!connection.ok()) return fail(connection.error().within("rank " + words[0]));
  const Status status = Rank{std::move(settings), number, **connection}.run();
  if (status.ok()) return 0;
  const engine::Ready failed{0, status.error().message};
  if (!(*connection)->send(static_cast<std::uint8_t>(engine::FrameType::kReady), engine::to_bytes(failed)).ok()) return fail(status.error());
  return 1;
}

}  // namespace braid::app
