// SPDX-License-Identifier: Apache-2.0
#include "app/admission.h"

#include <unistd.h>

#include <array>
#include <cstdlib>
#include <sstream>

#include "app/ranks.h"
#include "config/field.h"
#include "engine/remote/wire.h"

namespace braid::app {
namespace {

constexpr const char* kHost = "host ";

// name=value of every setting that all ranks must share.
std::string shared_settings(const ServeSettings& settings) {
  std::string text;
  const auto add = [&](auto& group) {
    for (const config::Field& field : config::table_of(group).fields) text += "--" + field.name + " " + config::print_value(field) + "\n";
  };
  ModelSettings model = settings.model;
  model.model.clear();  // hosts may keep it in different folders
  model.tokenizer.reset();
  model.cpu_threads = 0;
  add(model);
  engine::Settings engine = settings.engine;
  engine.events = {};
  engine.transfer = {};
  add(engine);
  ParallelSettings parallel = settings.parallel;
  parallel.size_local.reset();
  parallel.start_rank = 0;
  parallel.headless = false;
  parallel.rank.reset();
  parallel.external_lb = parallel.hybrid_lb = parallel.multi_port_external_lb = false;
  parallel.supervisor_port = 0;
  parallel.probe_interval_seconds = parallel.probe_timeout_seconds = parallel.probe_failure_threshold = 0;
  parallel.host.clear();
  parallel.address.clear();
  parallel.secret.clear();
  add(parallel);
  return text;
}

// Compares the rest of a hello with the settings of the serving process.
Status same_settings(std::istringstream& theirs, const std::string& who, const ServeSettings& settings) {
  std::istringstream ours(shared_settings(settings));
  std::string their_line, our_line;
  while (std::getline(ours, our_line)) {
    std::getline(theirs, their_line);
    if (their_line == our_line) continue;
    return invalid_argument(who + " was started with " + their_line + ", the serving process with " + our_line +
                            "; all hosts need the same flags");
  }
  return Status::success();
}

std::string own_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unnamed";
}

Status wait_for_welcome(fabric::Connection& connection) {
  ASSIGN_OR_RETURN(const fabric::Frame frame, connection.receive(std::chrono::steady_clock::now() + std::chrono::minutes(1)));
  if (static_cast<engine::FrameType>(frame.type) == engine::FrameType::kWelcome) return Status::success();
  return invalid_argument(frame.payload);
}

Error not_let_in(const std::string& host, int port) {
  return invalid_argument(host + ":" + std::to_string(port) + " closed the connection without an answer, as it does to whoever has another "
                          "secret, and when it ends; set the same " + kSecretVariable + " on every host, then look at the leading host's log");
}

}  // namespace

std::string name_of_host(const RankRange& ranks) {
  return ranks.count > 0 ? "the host of " + name_of_rank(ranks.first) : "a host without ranks";
}

HostHello host_hello(const ParallelSettings& p) {
  return {p.host.empty() ? own_name() : p.host, {p.local_size() > 0 ? p.start_rank : 0, p.local_size()}};
}

std::string hello_of(const ServeSettings& settings, int rank) { return std::to_string(rank) + "\n" + shared_settings(settings); }

std::string hello_of(const ServeSettings& settings, const HostHello& host) {
  return kHost + std::to_string(host.ranks.first) + " " + std::to_string(host.ranks.count) + " " + host.name + "\n" + shared_settings(settings);
}

bool is_host(const std::string& hello) { return hello.starts_with(kHost); }

Result<int> rank_of(const std::string& hello, const ServeSettings& settings) {
  std::istringstream theirs(hello);
  std::string number;
  std::getline(theirs, number);
  const int rank = std::atoi(number.c_str());
  RETURN_IF_ERROR(same_settings(theirs, "rank " + number, settings));
  if (rank < 0 || rank >= settings.parallel.size) {
    return invalid_argument("rank " + number + " does not exist with --data-parallel-size " + std::to_string(settings.parallel.size));
  }
  return rank;
}

Result<HostHello> host_of(const std::string& hello, const ServeSettings& settings) {
  std::istringstream theirs(hello);
  std::string word;
  HostHello host;
  theirs >> word >> host.ranks.first >> host.ranks.count >> std::ws;
  std::getline(theirs, host.name);
  RETURN_IF_ERROR(same_settings(theirs, name_of_host(host.ranks), settings));
  return host;
}

Result<std::unique_ptr<fabric::Connection>> enter(const std::string& host, int port, const std::string& secret, const std::string& hello,
                                                  TimePoint deadline) {
  ASSIGN_OR_RETURN(auto connection, fabric::Connection::connect(host, port, secret, hello, deadline));
  const Status welcome = wait_for_welcome(*connection);
  if (welcome.ok()) return connection;
  return welcome.error().code == ErrorCode::kUnavailable ? not_let_in(host, port) : welcome.error();
}

}  // namespace braid::app
