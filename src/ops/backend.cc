// SPDX-License-Identifier: Apache-2.0
#include "ops/backend.h"

#include <set>

namespace braid::ops {
namespace {

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

Status check_forced(const KernelLists& lists, const ForcedKernels& forced) {
  for (const auto& entry : forced) {
    const auto equals = entry.find('=');
    const std::string op = equals == std::string::npos ? "" : entry.substr(0, equals);
    const std::string name = equals == std::string::npos ? entry : entry.substr(equals + 1);
    std::set<std::string> ops, names;
    for_each_list(lists, [&]<class Op>(std::span<const Kernel<Op>> list) {
      ops.insert(Op::kName);
      if (!op.empty() && op != Op::kName) return;
      for (const auto& kernel : list) names.insert(kernel.name);
    });
    if (!op.empty() && !ops.contains(op)) {
      return invalid_argument("--kernel " + entry + ": there is no operation '" + op + "'; there are " + joined(ops), "kernel");
    }
    if (!names.contains(name)) {
      return invalid_argument("--kernel " + entry + ": there is no kernel '" + name + "'; there are " + joined(names), "kernel");
    }
  }
  return {};
}

}  // namespace braid::ops
