// SPDX-License-Identifier: Apache-2.0
#include "app/ranks.h"

#include <algorithm>

#include "app/engine_host.h"
#include "base/log.h"
#include "engine/balanced_engine.h"
#include "engine/remote/remote_engine.h"
#include "engine/remote/wire.h"
#include "fabric/connection.h"
#include "metrics/merge.h"

namespace braid::app {
namespace {

constexpr Duration kLook = std::chrono::milliseconds(100);
constexpr Duration kSayEvery = std::chrono::seconds(2);
constexpr Duration kStartTime = std::chrono::minutes(60);
constexpr Duration kExitTime = std::chrono::seconds(5);

TimePoint now() { return std::chrono::steady_clock::now(); }

// Repeats a line while something is awaited.
class Waiting {
 public:
  void say(const std::string& for_whom) {
    if (now() < next_) return;
    log_info("waiting", {{"for", for_whom}});
    next_ = now() + kSayEvery;
  }

 private:
  TimePoint next_ = now() + kSayEvery;
};

class Ranks final : public EngineHost {
 public:
  explicit Ranks(const ServeSettings& settings) : settings_(settings), connections_(static_cast<std::size_t>(settings.parallel.size)) {}

  ~Ranks() override {
    for (auto& engine : engines_) engine->exit();
    processes_.wait(kExitTime);
  }

  Status start(Words words) {
    const ParallelSettings& p = settings_.parallel;
    const std::string secret = p.secret.empty() ? fabric::make_secret() : p.secret;
    const bool alone = p.local_size() == p.size;
    ASSIGN_OR_RETURN(const auto listener, fabric::Listener::open(p.address, alone ? 0 : p.rpc_port, secret));
    log_info("starting ranks", {{"ranks", p.size}, {"local", p.local_size()}, {"address", p.address}, {"port", listener->port()}});
    for (int i = 0; i < p.local_size(); ++i) {
      RETURN_IF_ERROR(processes_.start(p.start_rank + i, p.address, listener->port(), secret, words));
    }
    RETURN_IF_ERROR(meet(*listener));
    RETURN_IF_ERROR(bring_up());
    std::vector<engine::Engine*> all;
    for (int r = 0; r < p.size; ++r) {
      const auto i = static_cast<std::size_t>(r);
      engines_.push_back(engine::remote_engine("rank " + std::to_string(r), std::move(connections_[i]), max_model_len_, [] {}));
      all.push_back(engines_.back().get());
    }
    balanced_ = engine::balanced_engine(all);
    return Status::success();
  }

  engine::Engine& engine() override { return *balanced_; }

  std::string metrics_text() override {
    std::vector<std::string> texts;
    for (auto& engine : engines_) texts.push_back(engine->metrics_text());
    return metrics::merge(texts);
  }

 private:
  std::string missing() const {
    std::string text;
    for (std::size_t r = 0; r < connections_.size(); ++r) {
      if (!connections_[r]) text += (text.empty() ? "rank " : ", ") + std::to_string(r);
    }
    return text;
  }

  // Until every rank has connected.
  Status meet(fabric::Listener& listener) {
    Waiting waiting;
    const TimePoint deadline = now() + kStartTime;
    while (!missing().empty()) {
      if (now() > deadline) return Error{ErrorCode::kDeadlineExceeded, "not all ranks came: " + missing() + " missing", {}};
      if (const std::string ended = processes_.ended(); !ended.empty()) return internal_error(ended + " while starting; see its message above");
      waiting.say(missing());
      auto accepted = listener.accept(now() + kLook);
      if (!accepted.ok()) continue;
      ASSIGN_OR_RETURN(const int rank, rank_of(accepted->hello, settings_));
      auto& place = connections_[static_cast<std::size_t>(rank)];
      if (place) return invalid_argument("two processes say that they are rank " + std::to_string(rank) + "; check --data-parallel-start-rank");
      place = std::move(accepted->connection);
    }
    return Status::success();
  }

  // Serves the ranks' collectives until all are ready.
  Status bring_up() {
    for (;;) {
      std::vector<std::string> texts;
      std::size_t ready = 0;
      for (std::size_t r = 0; r < connections_.size(); ++r) {
        ASSIGN_OR_RETURN(const fabric::Frame frame, next_frame(r));
        if (static_cast<engine::FrameType>(frame.type) == engine::FrameType::kGather) {
          texts.push_back(frame.payload);
          continue;
        }
        engine::Ready message;
        if (!engine::from_bytes(frame.payload, message)) return internal_error("rank " + std::to_string(r) + " said something that cannot be read");
        if (!message.error.empty()) return internal_error(message.error).within("rank " + std::to_string(r));
        max_model_len_ = ready++ == 0 ? message.max_model_len : std::min(max_model_len_, message.max_model_len);
      }
      if (ready == connections_.size()) return Status::success();
      if (texts.size() != connections_.size()) return internal_error("the ranks disagree on how far they are; do all hosts run the same version?");
      for (auto& connection : connections_) {
        RETURN_IF_ERROR(connection->send(static_cast<std::uint8_t>(engine::FrameType::kGathered), engine::to_bytes(texts)));
      }
    }
  }

  Result<fabric::Frame> next_frame(std::size_t rank) {
    const std::string name = "rank " + std::to_string(rank);
    Waiting waiting;
    for (const TimePoint deadline = now() + kStartTime; now() < deadline;) {
      auto frame = connections_[rank]->receive(now() + kSayEvery);
      if (frame.ok()) return frame;
      if (frame.error().code != ErrorCode::kDeadlineExceeded) {
        const std::string ended = processes_.ended();
        return internal_error((ended.empty() ? name + " is gone" : ended) + " while loading");
      }
      waiting.say(name + " to load");
    }
    return Error{ErrorCode::kDeadlineExceeded, name + " did not finish loading in time", {}};
  }

  const ServeSettings settings_;
  RankProcesses processes_;
  std::vector<std::unique_ptr<fabric::Connection>> connections_;  // until bring_up() is over
  std::vector<std::unique_ptr<engine::RemoteEngine>> engines_;
  std::unique_ptr<engine::Engine> balanced_;
  std::int32_t max_model_len_ = 0;
};

}  // namespace

Result<std::unique_ptr<EngineHost>> start_ranks(const ServeSettings& settings, Words words) {
  auto ranks = std::make_unique<Ranks>(settings);
  RETURN_IF_ERROR(ranks->start(words));
  return std::unique_ptr<EngineHost>(std::move(ranks));
}

Status run_headless(const ServeSettings& settings, Words words) {
  const ParallelSettings& p = settings.parallel;
  if (p.secret.empty()) {
    return invalid_argument(std::string("--headless needs the secret of the deployment in ") + kSecretVariable + ", as on the leading host");
  }
  RankProcesses processes;
  for (int i = 0; i < p.local_size(); ++i) RETURN_IF_ERROR(processes.start(p.start_rank + i, p.address, p.rpc_port, p.secret, words));
  log_info("ranks of this host started", {{"first", p.start_rank}, {"ranks", p.local_size()}, {"leader", p.address}});
  while (processes.any()) {
    if (const std::string ended = processes.ended(); !ended.empty()) {
      log_info("a rank has ended", {{"which", ended}});
    } else {
      processes.wait_a_little();
    }
  }
  return Status::success();
}

}  // namespace braid::app
