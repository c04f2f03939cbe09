// SPDX-License-Identifier: Apache-2.0
#include "transfer/memory.h"

namespace braid::transfer {
namespace {

constexpr std::size_t kPage = 4096;

std::size_t pages(std::size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

}  // namespace

std::size_t Shape::layer_bytes() const {
  return pages(static_cast<std::size_t>(blocks) * static_cast<std::size_t>(block_size) * static_cast<std::size_t>(row_bytes));
}

std::size_t Shape::layer_offset(int layer) const {
  return pages(static_cast<std::size_t>(blocks) * sizeof(std::uint64_t)) + static_cast<std::size_t>(layer) * layer_bytes();
}

std::string mismatch(const Shape& ours, const Shape& theirs) {
  const auto differs = [](const std::string& what, const auto& a, const auto& b) { return what + " is " + a + " there and " + b + " here"; };
  if (ours.model != theirs.model) return differs("the model", theirs.model, ours.model);
  if (ours.groups != theirs.groups) {
    return differs("the number of groups of layers", std::to_string(theirs.groups), std::to_string(ours.groups)) +
           "; set --disable-hybrid-kv-cache-manager on both or on neither";
  }
  if (ours.layers != theirs.layers) {
    return differs("the number of cached layers", std::to_string(theirs.layers), std::to_string(ours.layers)) + "; set the same --speculative-config";
  }
  if (ours.dtype != theirs.dtype) return differs("the cache's data type", theirs.dtype, ours.dtype) + "; set the same --dtype and --kv-cache-dtype";
  if (ours.row_bytes != theirs.row_bytes) return differs("the size of a cached row", std::to_string(theirs.row_bytes), std::to_string(ours.row_bytes));
  return {};
}

Result<std::unique_ptr<Memory>> Memory::create(fabric::Transport& transport, Shape shape, kv::LayerGroups groups) {
  ASSIGN_OR_RETURN(auto region, transport.register_memory(shape.bytes()));
  return std::unique_ptr<Memory>(new Memory(std::move(shape), std::move(groups), std::move(region)));
}

void Memory::set_generation(std::uint32_t word, std::uint64_t number) {
  auto* place = reinterpret_cast<std::uint64_t*>(at(Shape::generation_offset(word)));
  std::atomic_ref(*place).store(number, std::memory_order_seq_cst);
  std::atomic_thread_fence(std::memory_order_seq_cst);
}

}  // namespace braid::transfer
