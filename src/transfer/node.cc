// SPDX-License-Identifier: Apache-2.0
#include "transfer/node.h"

#include "base/log.h"

namespace braid::transfer {

Result<std::unique_ptr<Node>> Node::open(const Settings& settings, std::unique_ptr<fabric::Transport> transport, int rank, std::string model) {
  RETURN_IF_ERROR(check(settings));
  std::unique_ptr<Node> node(new Node(settings, std::move(transport), std::move(model)));
  node->engine_id_ = settings.engine_id.value_or(random_id());
  if (rank > 0) node->engine_id_ += "_dp" + std::to_string(rank);
  if (settings.produces()) {
    const int port = settings.kv_port == 0 ? 0 : settings.kv_port + rank;
    auto listener = fabric::Listener::open(settings.kv_ip, port, settings.kv_secret);
    if (!listener.ok()) return listener.error().within("kv-transfer-config (choose another kv_port)");
    node->listener_ = std::move(*listener);
    node->port_ = node->listener_->port();
  }
  log_info("exchange of keys and values", {{"rank", rank}, {"engine_id", node->engine_id_}, {"role", settings.kv_role.value_or("kv_both")},
                                           {"lends_at", node->port_ > 0 ? settings.kv_ip + ":" + std::to_string(node->port_) : "nowhere"}});
  return node;
}

Status Node::share(const kv::Layout& layout, std::int32_t blocks, int block_size) {
  Shape shape;
  shape.model = model_;
  shape.layers = layout.places();
  shape.groups = layout.groups.size();
  shape.row_bytes = static_cast<std::int64_t>(layout.row_bytes());
  shape.dtype = name_of(layout.dtype);
  shape.block_size = block_size;
  shape.blocks = blocks;
  ASSIGN_OR_RETURN(memory_, Memory::create(*transport_, std::move(shape), layout.groups));
  return {};
}

void Node::start(const std::function<void()>& changed) {
  const Duration lease = *lease_of(settings_);
  if (listener_) {
    lender_ = std::make_unique<Lender>(LenderOptions{engine_id_, settings_.kv_ip, lease}, std::move(listener_), *memory_, changed);
  }
  if (settings_.consumes()) {
    borrower_ = std::make_unique<Borrower>(BorrowerOptions{.secret = settings_.kv_secret, .lease = lease}, *transport_, *memory_, changed);
  }
}

void Node::stop() {
  borrower_.reset();
  lender_.reset();
}

}  // namespace braid::transfer
