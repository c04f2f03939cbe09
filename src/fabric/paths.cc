// SPDX-License-Identifier: Apache-2.0
#include "fabric/paths.h"

#include <algorithm>

namespace braid::fabric {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 20;
constexpr std::uint64_t kPieces = 4;
constexpr double kTolerated = 8;  // times slower than expected
enum Word { kArrived, kSeen };

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Pieces go to `to`, each acknowledged before the next, while those of `from` come and are acknowledged.
Result<double> exchange(Window& window, Rank to, Rank from, std::span<const std::byte> data, Duration timeout) {
  const auto arrived = [&] { return window.seen(2 * from + kArrived); };
  const auto acknowledged = [&] { return window.seen(2 * to + kSeen); };
  const TimePoint deadline = std::chrono::steady_clock::now() + timeout;
  std::uint64_t sent = 0, done = 0, taken = 0;
  double best = 0, start = 0;
  while (done < kPieces || taken < kPieces) {
    if (arrived() > taken) {
      taken = arrived();
      RETURN_IF_ERROR(window.signal(from, 2 * window.rank() + kSeen, taken));
    } else if (acknowledged() > done) {
      done = acknowledged();
      best = std::max(best, static_cast<double>(data.size()) / (now() - start));
    } else if (sent == done && sent < kPieces) {
      start = now();
      RETURN_IF_ERROR(window.put(to, 0, data));
      RETURN_IF_ERROR(window.signal(to, 2 * window.rank() + kArrived, ++sent));
    } else if (!window.wait_until([&] { return arrived() > taken || acknowledged() > done; }, deadline)) {
      return Error{ErrorCode::kDeadlineExceeded, "rank " + std::to_string(window.rank()) + " measures the path to rank " + std::to_string(to) +
                   ": it or rank " + std::to_string(from) + " did not answer in time", {}};
    }
  }
  return best;
}

}  // namespace

Result<std::vector<MeasuredPath>> measure_paths(Bootstrap& bootstrap, Transport& transport, Duration timeout) {
  const int size = bootstrap.size();
  const Rank rank = bootstrap.rank();
  std::vector<MeasuredPath> paths(static_cast<std::size_t>(size));
  if (size == 1) return paths;
  // Many ranks move as many bytes in all as a few.
  const std::size_t piece = std::max<std::size_t>(kPiece * 4 / static_cast<std::size_t>(std::max(4, size)), 64 << 10);
  ASSIGN_OR_RETURN(const auto window, create_window(bootstrap, transport, "paths", piece, timeout));
  const std::vector<std::byte> data(piece);
  for (int step = 1; step < size; ++step) {
    const Rank to = (rank + step) % size, from = (rank + size - step) % size;
    MeasuredPath& path = paths[static_cast<std::size_t>(to)];
    ASSIGN_OR_RETURN(path.measured, exchange(*window, to, from, data, timeout));
    const Path there = window->path(to);
    path.name = there.name;
    path.expected = there.rated;
  }
  RETURN_IF_ERROR(bootstrap.all_gather("measured"));
  return paths;
}

bool suspicious(const MeasuredPath& path) { return path.measured * kTolerated < path.expected; }

}  // namespace braid::fabric
