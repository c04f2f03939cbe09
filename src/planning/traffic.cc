// SPDX-License-Identifier: Apache-2.0
#include "planning/traffic.h"

#include <algorithm>
#include <fstream>
#include <nlohmann/json.hpp>
#include <random>

namespace braid::planning {
namespace {

constexpr std::uint64_t kQuestions = 1ULL << 32;  // ids of ladders' questions are from here on
constexpr std::uint64_t kCopies = 1ULL << 40;  // ids of copied prompts are from here on

}  // namespace

Result<std::vector<TrafficRequest>> read_trace(const std::string& path, double speed) {
  std::ifstream file(path);
  if (!file) return Error{ErrorCode::kNotFound, "can't read the trace " + path, "trace"};
  std::vector<TrafficRequest> requests;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    TrafficRequest request;
    try {
      const auto row = nlohmann::json::parse(line);
      request.arrival = row.at("timestamp").get<double>() / 1e3 / speed;
      request.input = row.at("input_length").get<int>();
      request.output = row.at("output_length").get<int>();
      request.blocks = row.at("hash_ids").get<std::vector<std::uint64_t>>();
    } catch (const nlohmann::json::exception&) {
      request.input = 0;
    }
    const bool whole = request.input > 0 && request.input <= 1 << 24 && request.output > 0 && request.output <= 1 << 24 &&
                       request.blocks.size() == static_cast<std::size_t>((request.input + kTraceBlock - 1) / kTraceBlock);
    if (!whole) {
      return invalid_argument(path + " line " + std::to_string(number) + ": expected {\"timestamp\": ms, \"input_length\", "
                              "\"output_length\", \"hash_ids\": [one for each 512 tokens]}", "trace");
    }
    requests.push_back(std::move(request));
  }
  if (requests.empty()) return invalid_argument(path + " has no request", "trace");
  std::stable_sort(requests.begin(), requests.end(), [](const auto& a, const auto& b) { return a.arrival < b.arrival; });
  return requests;
}

std::vector<TrafficRequest> poisson_traffic(const PoissonTraffic& traffic) {
  std::mt19937_64 random(traffic.seed);
  std::exponential_distribution<double> gap(traffic.rate);
  std::vector<TrafficRequest> requests;
  std::uint64_t next = 0;
  for (double t = gap(random); t < traffic.seconds; t += gap(random)) {
    TrafficRequest request{t, traffic.input, traffic.output, {}};
    for (int at = 0; at < traffic.input; at += kTraceBlock) request.blocks.push_back(next++);
    requests.push_back(std::move(request));
  }
  return requests;
}

std::vector<TrafficRequest> ladder_traffic(const LadderTraffic& ladder) {
  std::mt19937_64 random(ladder.seed);
  std::uniform_int_distribution<int> group_of(0, ladder.groups - 1);
  const int shared_blocks = ladder.shared / kTraceBlock, own_blocks = (ladder.own + kTraceBlock - 1) / kTraceBlock;
  std::vector<TrafficRequest> requests;
  std::uint64_t question = kQuestions;
  double begin = 0;
  for (const double rate : ladder.rates) {
    std::exponential_distribution<double> gap(rate);
    for (double t = gap(random); t < ladder.rung_seconds; t += gap(random)) {
      TrafficRequest request{begin + t, shared_blocks * kTraceBlock + ladder.own, ladder.output, {}};
      const int first = group_of(random) * shared_blocks;
      for (int i = 0; i < shared_blocks; ++i) request.blocks.push_back(static_cast<std::uint64_t>(first + i));
      for (int i = 0; i < own_blocks; ++i) request.blocks.push_back(question++);
      requests.push_back(std::move(request));
    }
    begin += ladder.rung_seconds;
  }
  return requests;
}

std::vector<TrafficRequest> with_burst(const std::vector<TrafficRequest>& requests, double begin, double seconds, double factor) {
  std::vector<TrafficRequest> all;
  double owed = 0;
  std::uint64_t copies = 0;
  for (const TrafficRequest& request : requests) {
    all.push_back(request);
    if (request.arrival < begin || request.arrival >= begin + seconds) continue;
    for (owed += factor - 1; owed >= 1; owed -= 1) {
      ++copies;
      TrafficRequest copy = request;
      for (std::uint64_t& block : copy.blocks) block += kCopies * copies;
      all.push_back(std::move(copy));
    }
  }
  return all;
}

}  // namespace braid::planning
