// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/worker.h"

#include <poll.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "base/log.h"

namespace braid::transport::ucx {
namespace {

constexpr unsigned kMessages = 1;  // the one kind of active message
constexpr int kMostMoves = 64;  // before others may have the lock
constexpr Duration kLastBytes = std::chrono::seconds(1);

TimePoint now() { return std::chrono::steady_clock::now(); }

void broken(void* endpoint, ucp_ep_h, ucs_status_t) { static_cast<Endpoint*>(endpoint)->failed = true; }

// A message that comes by rendezvous.
struct Receiving {
  Worker* worker;
  Head head;
};

}  // namespace

// A message on its way; UCX reads it until sent().
struct Worker::Sending {
  std::shared_ptr<Endpoint> to;
  Worker* worker;
  Head head;
  std::string payload;
  std::size_t bytes;
  std::function<void()> done = {};

  void over(ucs_status_t status) {
    to->in_flight -= bytes;
    if (done) done();
    if (status != UCS_OK) to->failed = true;
  }
};

void Worker::sent(void* request, ucs_status_t status, void* of) {
  const std::unique_ptr<Sending> sending(static_cast<Sending*>(of));
  sending->over(status);
  sending->worker->library_.request_free(request);
  sending->worker->events_.sent();
}

void Worker::received(void* request, ucs_status_t status, std::size_t, void* of) {
  const std::unique_ptr<Receiving> receiving(static_cast<Receiving*>(of));
  receiving->worker->library_.request_free(request);
  receiving->worker->events_.placed(receiving->head, status == UCS_OK);
}

ucs_status_t Worker::arrived(void* of, const void* header, std::size_t header_bytes, void* data, std::size_t bytes, const ucp_am_recv_param_t* param) {
  auto& worker = *static_cast<Worker*>(of);
  Head head;
  if (header_bytes != sizeof head) return UCS_OK;
  std::memcpy(static_cast<void*>(&head), header, sizeof head);
  if (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) {
    std::byte* const to = worker.events_.place(head, bytes);
    if (to == nullptr) return UCS_OK;
    worker.defer([&worker, head, data, to, bytes] { worker.receive(head, data, to, bytes); });
    return UCS_INPROGRESS;
  }
  worker.events_.message(head, {static_cast<const std::byte*>(data), bytes});
  return UCS_OK;
}

Result<std::unique_ptr<Worker>> Worker::create(const std::string& devices, Duration every, Events events) {
  ASSIGN_OR_RETURN(const Library* library, ucx::library());
  std::unique_ptr<Worker> worker(new Worker(*library, every, std::move(events)));
  RETURN_IF_ERROR(worker->open(devices));
  worker->thread_ = std::thread([w = worker.get()] { w->run(); });
  return worker;
}

Status Worker::open(const std::string& devices) {
  ucp_config_t* config = nullptr;
  ucs_status_t status = library_.config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return failure("cannot read the settings of UCX", status);
  if (!std::getenv("UCX_NET_DEVICES")) library_.config_modify(config, "NET_DEVICES", devices.c_str());
  if (!std::getenv("UCX_TLS")) library_.config_modify(config, "TLS", "^posix,sysv,cma,xpmem,knem");
  ucp_params_t params{};
  params.field_mask = UCP_PARAM_FIELD_FEATURES;
  params.features = UCP_FEATURE_AM | UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP;
  status = library_.init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context_);
  library_.config_release(config);
  if (status != UCS_OK) return failure("UCX cannot use the network devices " + devices, status);

  ucp_worker_params_t worker_params{};
  worker_params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker_params.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  status = library_.worker_create(context_, &worker_params, &worker_);
  if (status != UCS_OK) return failure("UCX cannot start on " + devices, status);
  status = library_.worker_get_efd(worker_, &event_fd_);
  if (status != UCS_OK) return failure("UCX cannot wake a thread on " + devices, status);
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_FLAGS | UCP_AM_HANDLER_PARAM_FIELD_CB | UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kMessages;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = arrived;
  handler.arg = this;
  status = library_.worker_set_am_recv_handler(worker_, &handler);
  if (status != UCS_OK) return failure("UCX cannot receive messages", status);

  ucp_address_t* address = nullptr;
  std::size_t bytes = 0;
  status = library_.worker_get_address(worker_, &address, &bytes);
  if (status != UCS_OK) return failure("UCX has no address", status);
  address_.assign(reinterpret_cast<const char*>(address), bytes);
  library_.worker_release_address(worker_, address);
  return Status::success();
}

Worker::~Worker() {
  if (thread_.joinable()) {
    {
      const Lock held = lock();
      stopping_ = true;
      nudge();
    }
    thread_.join();
  }
  const Lock held = lock();
  if (worker_) {
    finish_closing(now() + kLastBytes);
    library_.worker_destroy(worker_);
  }
  if (context_) library_.cleanup(context_);
}

Result<std::shared_ptr<Endpoint>> Worker::connect(std::uint64_t peer, const std::string& label, const std::string& address) {
  auto endpoint = std::make_shared<Endpoint>();
  endpoint->peer = peer;
  endpoint->label = label;
  endpoint->heard = endpoint->used = now();
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE | UCP_EP_PARAM_FIELD_ERR_HANDLER;
  params.address = reinterpret_cast<const ucp_address_t*>(address.data());
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {broken, endpoint.get()};
  const ucs_status_t status = library_.ep_create(worker_, &params, &endpoint->ep);
  if (status != UCS_OK) return failure("UCX cannot reach " + label, status);
  return endpoint;
}

void Worker::send(const std::shared_ptr<Endpoint>& to, const Head& head, std::string payload) {
  if (to->failed) return;
  const std::size_t bytes = payload.size();
  auto sending = std::make_unique<Sending>(Sending{to, this, head, std::move(payload), bytes});
  const std::string& kept = sending->payload;
  post(std::move(sending), std::as_bytes(std::span(kept)), UCP_AM_SEND_FLAG_EAGER);
}

void Worker::lend(const std::shared_ptr<Endpoint>& to, const Head& head, std::span<const std::byte> memory, std::function<void()> done) {
  if (to->failed) return done();
  post(std::make_unique<Sending>(Sending{to, this, head, {}, memory.size(), std::move(done)}), memory, UCP_AM_SEND_FLAG_RNDV);
}

void Worker::post(std::unique_ptr<Sending> sending, std::span<const std::byte> payload, unsigned flags) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_FLAGS;
  param.cb.send = sent;
  param.user_data = sending.get();
  param.flags = flags;
  sending->to->in_flight += sending->bytes;
  const auto request = library_.am_send_nbx(sending->to->ep, kMessages, &sending->head, sizeof(Head), payload.data(), payload.size(), &param);
  if (UCS_PTR_IS_PTR(request)) {
    sending.release();  // sent() has it
    return nudge();
  }
  sending->over(UCS_PTR_STATUS(request));
}

void Worker::receive(const Head& head, void* offered, std::byte* to, std::size_t bytes) {
  auto receiving = std::make_unique<Receiving>(Receiving{this, head});
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = received;
  param.user_data = receiving.get();
  const auto request = library_.am_recv_data_nbx(worker_, offered, to, bytes, &param);
  if (UCS_PTR_IS_PTR(request)) {
    receiving.release();  // received() has it
    return nudge();
  }
  events_.placed(head, UCS_PTR_STATUS(request) == UCS_OK);
}

void Worker::close(std::shared_ptr<Endpoint> endpoint) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = endpoint->failed ? UCP_EP_CLOSE_FLAG_FORCE : 0;
  const auto request = library_.ep_close_nbx(endpoint->ep, &param);
  closing_.push_back({std::move(endpoint), UCS_PTR_IS_PTR(request) ? request : nullptr});
  nudge();
}

void Worker::finish_closing(TimePoint until) {
  do {
    while (library_.worker_progress(worker_)) {
    }
    closing_.remove_if([this](const Closing& c) {
      if (c.request && library_.request_check_status(c.request) == UCS_INPROGRESS) return false;
      if (c.request) library_.request_free(c.request);
      return true;
    });
  } while (!closing_.empty() && now() < until);
}

bool Worker::move() {
  const bool moved = library_.worker_progress(worker_) != 0 || !tasks_.empty();
  for (auto& task : std::exchange(tasks_, {})) task();
  return moved;
}

void Worker::progress() {
  if (move()) changed_.notify_all();
}

// False when there is nothing more to do until the event file says so.
bool Worker::step() {
  const Lock held = lock();
  int moves = 0;
  while (moves < kMostMoves && move()) ++moves;
  if (!closing_.empty()) finish_closing(TimePoint::min());
  changed_.notify_all();
  return moves == kMostMoves || stopping_ || library_.worker_arm(worker_) == UCS_ERR_BUSY;
}

void Worker::run() {
  TimePoint next_tick = now() + every_;
  while (!stopping_) {
    const bool again = step();
    if (!again) sleep(next_tick);
    if (now() < next_tick) continue;
    next_tick = now() + every_;
    const Lock held = lock();
    events_.tick();
  }
}

// Until the network has something to say.
void Worker::sleep(TimePoint until) {
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - now()).count();
  pollfd event{event_fd_, POLLIN, 0};
  poll(&event, 1, static_cast<int>(std::max<long long>(left + 1, 0)));
}

}  // namespace braid::transport::ucx
