// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <iterator>

#include "base/check.h"
#include "moe/placement/placement.h"

namespace braid::moe {
namespace {

class Around {
 public:
  Around(int experts, const std::vector<std::vector<std::int32_t>>& held, int redundant)
      : experts_(experts), ranks_(static_cast<int>(held.size())),
        capacity_(static_cast<std::size_t>((experts + redundant + ranks_ - 1) / ranks_)),
        holders_(static_cast<std::size_t>(experts)), slots_(held.size()), added_(held.size()) {
    for (std::size_t r = 0; r < held.size(); ++r) {
      for (const std::int32_t e : held[r]) {
        if (e >= 0 && e < experts && !holds(r, e)) take(r, e);
      }
    }
  }

  // Gives up what is too much: those that most ranks hold, the last of equals.
  void trim() {
    for (auto& slots : slots_) {
      while (slots.size() > capacity_) {
        auto worst = slots.begin();
        for (auto e = slots.begin(); e != slots.end(); ++e) {
          if (holders(*e) >= holders(*worst)) worst = e;
        }
        --holders(*worst);
        slots.erase(worst);
      }
    }
  }

  void add_missing() {
    for (std::int32_t e = 0; e < experts_; ++e) {
      if (holders(e) > 0) continue;
      const std::size_t free = freest(e), r = free < slots_.size() ? free : make_room();
      take(r, e);
      ++added_[r];
    }
  }

  void add_replicas(int redundant) {
    std::size_t filled = 0;
    for (const auto& slots : slots_) filled += slots.size();
    const auto wanted = static_cast<std::size_t>(experts_ + redundant);
    for (std::int32_t tried = 0, e = 0; filled < wanted && tried < experts_; e = (e + 1) % experts_) {
      const std::size_t r = freest(e);
      const bool fits = r < slots_.size();
      tried = fits ? 0 : tried + 1;
      if (!fits) continue;
      take(r, e);
      ++filled;
    }
  }

  Placement result() const {
    std::vector<std::int32_t> all;
    for (auto slots : slots_) {
      slots.resize(capacity_, -1);
      all.insert(all.end(), slots.begin(), slots.end());
    }
    return Placement(experts_, ranks_, std::move(all));
  }

 private:
  int& holders(std::int32_t e) { return holders_[static_cast<std::size_t>(e)]; }
  bool holds(std::size_t r, std::int32_t e) const { return std::find(slots_[r].begin(), slots_[r].end(), e) != slots_[r].end(); }
  void take(std::size_t r, std::int32_t e) {
    slots_[r].push_back(e);
    ++holders(e);
  }
  // The rank with the most free slots that does not hold `e`; the number of ranks when there is none.
  std::size_t freest(std::int32_t e) const {
    std::size_t best = slots_.size();
    for (std::size_t r = 0; r < slots_.size(); ++r) {
      if (slots_[r].size() >= capacity_ || holds(r, e)) continue;
      if (best == slots_.size() || slots_[r].size() < slots_[best].size()) best = r;
    }
    return best;
  }

  // Where all slots are full: a rank that now has a free one, because it gave up what others hold too.
  // Ranks take turns, so that none has much more to load than others.
  std::size_t make_room() {
    const auto spare = [this](std::int32_t e) { return holders(e) > 1; };
    std::size_t best = slots_.size();
    for (std::size_t r = 0; r < slots_.size(); ++r) {
      if (std::none_of(slots_[r].begin(), slots_[r].end(), spare)) continue;
      if (best == slots_.size() || added_[r] < added_[best]) best = r;
    }
    CHECK(best < slots_.size(), "more experts than slots");
    const auto given_up = std::find_if(slots_[best].rbegin(), slots_[best].rend(), spare);
    --holders(*given_up);
    slots_[best].erase(std::next(given_up).base());
    return best;
  }

  const int experts_;
  const int ranks_;
  const std::size_t capacity_;                    // slots of a rank
  std::vector<int> holders_;                      // by expert
  std::vector<std::vector<std::int32_t>> slots_;  // by rank
  std::vector<int> added_;                        // experts to load, by rank
};

}  // namespace

Placement Placement::around(int experts, const std::vector<std::vector<std::int32_t>>& held, int redundant) {
  Around around(experts, held, redundant);
  around.trim();
  around.add_missing();
  around.add_replicas(redundant);
  return around.result();
}

}  // namespace braid::moe
