// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "router/catalog.h"

namespace braid::router {
namespace {

struct PickerParameters {
  int count = 1;

  template <class Self, class Visitor>
  static void describe(Self& self, Visitor& v) {
    v.field("maxNumOfEndpoints", self.count, {.help = "How many are picked: the first, and fallbacks", .min = 1});
  }
};

// Places of the candidates in random order.
std::vector<std::size_t> shuffled(std::size_t count, Random& random) {
  std::vector<std::size_t> order(count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t j = random.below(i + 1);
    order[i] = order[j];
    order[j] = i;
  }
  return order;
}

class OrderPicker : public Plugin, public Picker {
 public:
  using Parameters = PickerParameters;
  explicit OrderPicker(Parameters parameters) : count_(static_cast<std::size_t>(parameters.count)) {}

  std::vector<EndpointIndex> pick(Context& context,
                                  std::span<const EndpointIndex> candidates,
                                  std::span<const double> totals) override {
    std::vector<std::size_t> order = shuffled(candidates.size(), context.random);
    arrange(order, totals, context.random);
    std::vector<EndpointIndex> picked;
    for (std::size_t i = 0; i < std::min(count_, order.size()); ++i) picked.push_back(candidates[order[i]]);
    return picked;
  }

 protected:
  virtual void arrange(std::vector<std::size_t>& order, std::span<const double> totals, Random& random) const = 0;

 private:
  std::size_t count_;
};

class MaxScorePicker final : public OrderPicker {
 public:
  using OrderPicker::OrderPicker;
  void arrange(std::vector<std::size_t>& order, std::span<const double> totals, Random&) const override {
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return totals[a] > totals[b]; });
  }
};

class RandomPicker final : public OrderPicker {
 public:
  using OrderPicker::OrderPicker;
  void arrange(std::vector<std::size_t>&, std::span<const double>, Random&) const override {}
};

// Weighted sampling without replacement: the largest U^(1/score) first.
class WeightedRandomPicker final : public OrderPicker {
 public:
  using OrderPicker::OrderPicker;
  void arrange(std::vector<std::size_t>& order, std::span<const double> totals, Random& random) const override {
    if (std::all_of(totals.begin(), totals.end(), [](double total) { return total <= 0; })) return;
    std::vector<double> keys(totals.size());
    for (std::size_t i = 0; i < totals.size(); ++i) {
      keys[i] = totals[i] > 0 ? std::log(random.uniform()) / totals[i] : -INFINITY;
    }
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return keys[a] > keys[b]; });
  }
};

constexpr PluginType kTypes[] = {
    plugin_type<MaxScorePicker>("max-score-picker", "The largest totals; random among equals."),
    plugin_type<RandomPicker>("random-picker", "Any, whatever the totals."),
    plugin_type<WeightedRandomPicker>("weighted-random-picker", "At random, in proportion to the totals: the largest U^(1/total); uniform if no total is above 0."),
};

}  // namespace

std::span<const PluginType> pickers() { return kTypes; }

}  // namespace braid::router
