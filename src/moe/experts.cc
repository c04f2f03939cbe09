// SPDX-License-Identifier: Apache-2.0
#include "moe/experts.h"

#include <algorithm>

#include "base/check.h"

namespace braid::moe {
namespace {

Matrix<const float> run_grouped(const ExpertsArgs& a, ExpertsScratch& s, Stream& stream) {
  const Dispatched& d = *a.dispatched;
  s.groups.clear();
  for (const auto& expert : a.experts) s.groups.push_back(&expert);
  if (a.shared) s.groups.push_back(a.shared);
  const Matrix<float> out = s.results(d.rows());
  a.kernel->run({d.x, s.groups, d.offsets.data(), d.row_token.data(), out, s.mlp()}, stream);
  return {out.data, out.rows, out.cols};
}

// Every slab is a group of its rows and a gap.
Matrix<const float> run_batched(const ExpertsArgs& a, ExpertsScratch& s, Stream& stream) {
  CHECK(a.shared == nullptr, "slabs hold rows of the local experts only");
  const Dispatched& d = *a.dispatched;
  s.groups.clear();
  s.offsets.clear();
  for (std::size_t slot = 0; slot < a.experts.size(); ++slot) {
    s.groups.insert(s.groups.end(), {&a.experts[slot], nullptr});
    s.offsets.insert(s.offsets.end(), {d.first(slot), d.first(slot) + d.count(slot)});
  }
  s.offsets.push_back(d.first(a.experts.size()));
  const Matrix<float> out = s.results(d.rows());
  a.kernel->run({d.x, s.groups, s.offsets.data(), nullptr, out, s.mlp()}, stream);
  return {out.data, out.rows, out.cols};
}

constexpr Experts kExperts[] = {
    {"grouped", Format::kRagged, run_grouped},
    {"batched", Format::kPadded, run_batched},
};

}  // namespace

std::string_view name_of(Format format) { return format == Format::kPadded ? "padded" : "ragged"; }

Matrix<float> ExpertsScratch::results(std::int64_t count) {
  const auto bytes = static_cast<std::size_t>(count * hidden_) * sizeof(float);
  if (rows_.size() < bytes) {
    rows_ = stream_.allocate(bytes);
    mlp_ = stream_.allocate(ops::GroupedMlp::scratch_bytes(count, max_inter_));
  }
  return {rows_.as<float>(), count, hidden_};
}

std::span<const Experts> experts_list() { return kExperts; }

const Experts& experts_for(Format format) {
  return *std::find_if(std::begin(kExperts), std::end(kExperts), [&](const Experts& e) { return e.format == format; });
}

}  // namespace braid::moe
