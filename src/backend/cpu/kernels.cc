// SPDX-License-Identifier: Apache-2.0
// The CPU backend's kernels, operation by operation.
#include <vector>

#include "backend/cpu/backend.h"

namespace braid::cpu {
namespace {

struct Lists {
  std::vector<ops::Kernel<ops::Linear>> linear;
  std::vector<ops::Kernel<ops::GroupedMlp>> grouped_mlp;
  ops::KernelLists lists;
};

Lists make_lists() {
  Lists all;
  all.lists.linear = all.linear;
  all.lists.grouped_mlp = all.grouped_mlp;
  return all;
}

}  // namespace

const ops::KernelLists& kernels() {
  static const Lists all = make_lists();
  return all.lists;
}

std::unique_ptr<Stream> make_stream(const StreamOptions& options) {
  return std::make_unique<Stream>(options);
}

}  // namespace braid::cpu
