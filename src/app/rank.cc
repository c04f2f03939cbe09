// SPDX-License-Identifier: Apache-2.0
// The process of one rank. Started by `braid serve`, never by hand:
//   braid rank RANK LEADER PORT SERVER_PORT [words of serve]      with the secret in the environment
// The leader, at LEADER:PORT, says who steps together. Requests come from there too, or from another
// process of this host, at SERVER_PORT.
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <thread>
#include <utility>

#include "app/admission.h"
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
#include "engine/remote/control_membership.h"
#include "engine/remote/remote_engine.h"
#include "engine/remote/wire.h"
#include "metrics/registry.h"
#include "moe/expert_parallel.h"

namespace braid::app {
namespace {

TimePoint in(Duration d) { return std::chrono::steady_clock::now() + d; }

// Tells a model which share of the experts to load before the rank meets the others.
class Share final : public fabric::Bootstrap {
 public:
  Share(int rank, int size) : rank_(rank), size_(size) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  Result<std::vector<std::string>> all_gather(const std::string&) override {
    return internal_error("the rank has not met the others yet");
  }

 private:
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

// The rank's connections; `server` is null when the leader serves it.
struct Ends {
  std::unique_ptr<fabric::Connection> leader;
  std::unique_ptr<fabric::Connection> server;
};

Status tell(fabric::Connection& connection, const engine::Ready& ready) {
  return connection.send(static_cast<std::uint8_t>(engine::FrameType::kReady), engine::to_bytes(ready));
}

// Serves both ends until one of them says goodbye or is lost.
Status serve_ends(engine::Engine& engine, Ends& ends, const engine::Reports& reports, engine::ControlMembership& membership) {
  if (!ends.server) return engine::serve_remote(engine, *ends.leader, reports, &membership);
  Status served;
  std::thread thread([&] {
    served = engine::serve_remote(engine, *ends.server, reports);
    ends.leader->close();
  });
  const Status led = engine::serve_remote(engine, *ends.leader, reports, &membership);
  ends.server->close();
  thread.join();
  return served.ok() ? served : led;
}

// It speaks for the processes that are started together.
bool first_here(const ParallelSettings& p, int rank) { return rank == p.rank.value_or(p.start_rank); }

struct Rank {
  ServeSettings settings;
  int rank = 0;
  Ends& ends;

  // `served`: it was ready when it ended.
  Status run(bool& served) {
    const ParallelSettings& p = settings.parallel;
    const int local = p.local_size();
    const int cores = static_cast<int>(cpu::allowed_cpus().size());
    if (settings.model.cpu_threads == 0) settings.model.cpu_threads = std::max(1, cores / local);
    const bool crowded = settings.model.cpu_threads * local > cores;
    take_processors((rank - p.start_rank) % local, settings.model.cpu_threads, local);

    const int length = settings.engine.scheduler.max_model_len;
    Share share(rank % p.size, p.size);
    const Duration spin = crowded ? Duration::zero() : std::chrono::microseconds(50);
    ASSIGN_OR_RETURN(const auto transport, rank_transport(p, ends.leader->local_address(), spin));
    moe::ExpertParallel experts;
    experts.bootstrap = &share;
    experts.transport = transport.get();
    ASSIGN_OR_RETURN(experts.backend, moe::parse_all2all(p.all2all_backend));
    ASSIGN_OR_RETURN(experts.payload, moe::parse_payload(p.all2all_payload));
    experts.buffer_tokens = p.moe_buffer_tokens;
    experts.deterministic = p.deterministic;
    experts.redundant_experts = p.eplb.num_redundant_experts;
    experts.balanced = p.enable_eplb;
    experts.timeout = std::chrono::seconds(p.step_timeout_seconds);
    Timeline timeline;
    model::Options options = model_options(settings, length);
    options.timeline = &timeline;
    if (p.enable_expert_parallel) options.experts = &experts;
    options.two_micro_batches = settings.engine.overlap.enable_dbo;
    ASSIGN_OR_RETURN(LoadedModel loaded, load_model(settings.model, options, first_here(p, rank), (rank - p.start_rank) % local,
                                                    memory_consent(settings.engine, length, rank)));
    if (loaded.stream->unified()) settings.engine.cache.memory_utilization = engine::host_share(settings.engine) / local;
    log_info("model loaded", {{"rank", rank}, {"seconds", loaded.seconds}, {"weight_mib", loaded.model->weight_bytes() >> 20},
                              {"device", loaded.stream->capabilities().device}, {"workers", loaded.stream->workers()}});
    RETURN_IF_ERROR(engine::check_cache(settings.engine, engine::cache_layout(settings.engine, loaded.model->cache_layout()), length, engine::available_memory(loaded.stream.get())));
    ASSIGN_OR_RETURN(const auto tokenizer, load_tokenizer(settings.model));
    engine::Vocabulary vocabulary = load_vocabulary(settings.model, loaded.model->config(), tokenizer);

    const SteadyClock clock;
    engine::Metrics metrics(length);
    metrics::Registry registry;
    const metrics::Labels labels{{"model_name", served_name(settings)}, {"engine", std::to_string(rank)}};
    registry.add(metrics, labels);
    // Another server hears that the rank is ready when it can step.
    engine::Ready ready;
    const auto tell_server = [this, &ready, told = false](const Status& formed) mutable {
      if (ends.server && formed.ok() && !std::exchange(told, true)) (void)tell(*ends.server, ready);
    };
    engine::ControlMembership membership(*ends.leader, rank, tell_server);
    std::unique_ptr<fabric::Transport> balance_transport;
    std::optional<ExpertBalance> balance;
    if (p.enable_eplb) {
      ASSIGN_OR_RETURN(balance_transport, rank_transport(p, ends.leader->local_address(), Duration::zero()));
      balance.emplace(p, rank, *balance_transport, *loaded.model, *loaded.stream, registry, labels);
    }
    std::unique_ptr<engine::Lockstep> lockstep;
    if (options.experts && loaded.model->config().moe.experts > 0) {
      const auto regroup = [model = loaded.model.get(), group = experts, &balance, &metrics, &p, first = true](fabric::Bootstrap& bootstrap) mutable -> Status {
        group.bootstrap = &bootstrap;
        ASSIGN_OR_RETURN(const auto firsts, bootstrap.all_gather(std::exchange(first, false) ? "first" : ""));
        if (std::count(firsts.begin(), firsts.end(), "first") == bootstrap.size()) {
          RETURN_IF_ERROR(report_paths(p, bootstrap, *group.transport));
        }
        if (balance) balance->rebalancer().leave();
        RETURN_IF_ERROR(model->regroup(group));
        metrics.group_ranks.set(bootstrap.size());
        return balance ? balance->rebalancer().join(bootstrap) : Status::success();
      };
      lockstep = std::make_unique<engine::Lockstep>(membership, *transport, experts.timeout, regroup);
    }
    ASSIGN_OR_RETURN(const auto events, event_publisher(settings.engine, rank));
    ASSIGN_OR_RETURN(const auto node, transfer_node(settings, loaded.model->config(), *loaded.stream, rank));
    ASSIGN_OR_RETURN(const auto engine, engine::start(std::move(loaded.model), std::move(vocabulary), settings.engine, metrics, clock,
                                                      {lockstep.get(), balance ? &balance->rebalancer() : nullptr, events.get(), node.get(), &timeline}));
    ready = {engine->max_model_len(), lockstep != nullptr, {}};
    RETURN_IF_ERROR(tell(*ends.leader, ready));
    if (!lockstep && ends.server) RETURN_IF_ERROR(tell(*ends.server, ready));
    served = true;
    const auto recent = [&timeline, this] { return trace_events(timeline.recent(), rank, name_of_rank(rank)); };
    return serve_ends(*engine, ends, {[&registry] { return registry.text(); }, recent}, membership);
  }
};

struct Arguments {
  int rank = 0;
  std::string leader;
  int leader_port = 0;
  int server_port = 0;
  std::string secret;
};

Result<Ends> meet(const Arguments& arguments, const std::string& hello, TimePoint deadline) {
  Ends ends;
  if (arguments.server_port > 0) {
    ASSIGN_OR_RETURN(ends.server, enter(kLoopback, arguments.server_port, arguments.secret, hello, deadline));
  }
  ASSIGN_OR_RETURN(ends.leader, enter(arguments.leader, arguments.leader_port, arguments.secret, hello, deadline));
  return ends;
}

Result<ServeSettings> settings_of(Words words) {
  ServeSettings settings;
  RETURN_IF_ERROR(config::parse(settings, words, parse_options()));
  ASSIGN_OR_RETURN(const model::Config config, model_config(settings.model.model));
  ASSIGN_OR_RETURN(settings.engine.scheduler.max_model_len, model_length(settings.model, settings.engine.scheduler.max_model_len, config));
  return settings;
}

int run(const Arguments& arguments, ServeSettings settings) {
  const auto patience = std::chrono::seconds(settings.parallel.rank_start_timeout_seconds);
  auto ends = meet(arguments, hello_of(settings, arguments.rank), in(patience));
  if (!ends.ok()) return fail(ends.error().within(name_of_rank(arguments.rank)));
  bool served = false;
  const Status status = Rank{std::move(settings), arguments.rank, *ends}.run(served);
  if (status.ok()) return 0;
  if (served) {
    log_warning("parted from a serving process", {{"rank", arguments.rank}, {"reason", status.error().message}});
    return kPartedStatus;
  }
  const engine::Ready failed{0, false, status.error().message};
  bool told = tell(*ends->leader, failed).ok();
  if (ends->server) told = tell(*ends->server, failed).ok() && told;
  return told ? 1 : fail(status.error());
}

}  // namespace

int rank(Words words) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() == 1) return 1;
  for (const int s : {SIGINT, SIGTERM, SIGPIPE, SIGHUP}) signal(s, SIG_IGN);  // `braid serve` decides when to end
  const char* secret = std::getenv(kSecretVariable);
  if (words.size() < 4 || !secret) return fail(invalid_argument("braid rank is started by braid serve --data-parallel-size N"));
  const Arguments arguments{std::atoi(words[0].c_str()), words[1], std::atoi(words[2].c_str()), std::atoi(words[3].c_str()), secret};
  auto settings = settings_of(words.subspan(4));
  if (!settings.ok()) return fail(settings.error());
  configure_serve_log(*settings, !first_here(settings->parallel, arguments.rank));
  return run(arguments, std::move(*settings));
}

}  // namespace braid::app
